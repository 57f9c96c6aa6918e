"""What a value of a packet test comes to, for a field of a known type."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from nfc.compiler import type_name, value_text
from nfc.nft import tree
from nfc.sema import typed, types
from nfc.sema.scope import Scope
from nfc.syntax.diagnostics import Diagnostics, nearest
from nfc.syntax.source import Span

_NS = 1_000_000_000
MAX_STEPS = 1000


@dataclass(frozen=True)
class Wanted:
    """The numbers that a field may have: from `low` to `high`, both among them.

    Addresses and bytes are numbers, timestamps nanoseconds of TAI.
    """

    low: int
    high: int

    @property
    def exact(self) -> bool:
        """Whether there is just one."""
        return self.low == self.high

    def takes(self, value: int) -> bool:
        """Whether a value is one of them."""
        return self.low <= value <= self.high


@dataclass
class Values:
    """Evaluates values. `now` is the earliest and latest that the clock can have shown; where
    `expecting`, `_` and ranges may stand. Errors go to `diagnostics`, and the value is None."""

    scope: Scope
    diagnostics: Diagnostics
    consts: Mapping[str, tree.Const]
    params: dict[str, int] = field(default_factory=dict)
    now: tuple[int, int] = (0, 0)
    expecting: bool = False
    _within: tuple[str, ...] = ()  # consts that are being worked out
    _steps: int = 0  # consts that the value at hand is made of

    def error(self, span: Span, message: str, hint: str | None = None) -> None:
        """Note an error."""
        self.diagnostics.error(span, message, hint)

    def one(self, value: tree.Value, type_: types.Type, what: str) -> int | None:
        """A value that is one number. None after an error."""
        found = self.wanted(value, type_, what)
        if found is None:
            return None
        if not found.exact and not _has_now(value):
            self.error(value.span, f"{what} has to be one value here", "say which")
            return None
        return found.low

    def wanted(self, value: tree.Value, type_: types.Type, what: str) -> Wanted | None:
        """The values that fit. None after an error."""
        self._steps = 0
        top = (1 << type_.bits) - 1
        match value:
            case tree.Anything(span=span):
                if not self.expecting:
                    self.error(span, f"{what} has to be said here", "'_' is for what is expected")
                    return None
                return Wanted(0, top)
            case tree.Between(low=low, high=high, span=span):
                if not self.expecting:
                    self.error(span, f"{what} has to be one value here")
                    return None
                first, last = self.wanted(low, type_, what), self.wanted(high, type_, what)
                if first is None or last is None:
                    return None
                if first.low > last.high:
                    self.error(span, "this range is empty: its first value is the larger one")
                    return None
                return Wanted(first.low, last.high)
        found = self._sum(value, type_, what)
        if found is None:
            return None
        low_, high_ = found
        if low_ < 0 or high_ > top:
            shown = show(high_ if high_ > top else low_, types.Int(64))
            self.error(value.span, f"{shown} does not fit {what}, which is {_name(type_)}")
            return None
        return Wanted(low_, high_)

    def _sum(self, value: tree.Value, type_: types.Type, what: str) -> tuple[int, int] | None:
        if not isinstance(value, tree.Sum):
            return self._atom(value, type_, what)
        if isinstance(type_, types.Ipv6 | types.Bool | types.Bytes):
            self.error(value.span, f"there is no sum of {what}, which is {_name(type_)}")
            return None
        left, right = self._sum(value.left, type_, what), self._sum(value.right, type_, what)
        if left is None or right is None:
            return None
        if value.op == "+":
            return left[0] + right[0], left[1] + right[1]
        return left[0] - right[1], left[1] - right[0]

    def _atom(self, value: tree.Value, type_: types.Type, what: str) -> tuple[int, int] | None:
        match value:
            case tree.Name():
                return self._name(value, type_, what)
            case tree.Now(span=span):
                if isinstance(type_, types.Timestamp):
                    return self.now
                self.error(span, f"now is a time; {what} is {_name(type_)}")
                return None
            case tree.Number(value=number, text=text, span=span):
                if isinstance(type_, types.Bytes):
                    if not text.startswith("0x") or len(text) != 2 + 2 * type_.count:
                        hint = f"two hexadecimal digits a byte: 0x{'00' * type_.count}"
                        self.error(span, f"{what} is {type_.count} bytes", hint)
                        return None
                elif isinstance(type_, types.Ipv6 | types.Bool):
                    self.error(span, f"{what} is {_name(type_)}, not a number")
                    return None
                elif isinstance(type_, types.Timestamp | types.Duration) and number:
                    self.error(
                        span, f"{what} is {_name(type_)}: say in what unit", f"{text}ns, {text}s"
                    )
                    return None
                return number, number
            case tree.Address(value=number, bits=bits, span=span):
                wide = isinstance(type_, types.Ipv6)
                if wide == (bits == 128) and (wide or type_ == types.Int(32)):
                    return number, number
            case tree.Duration(value=number):
                if isinstance(type_, types.Timestamp | types.Duration):
                    return number, number
            case tree.Truth(value=truth):
                if isinstance(type_, types.Bool) or type_ == types.Int(1):
                    return int(truth), int(truth)
            case tree.Prefix(span=span):
                self.error(span, f"{what} is not a prefix")
                return None
        self.error(value.span, f"this does not fit {what}, which is {_name(type_)}")
        return None

    def _name(self, name: tree.Name, type_: types.Type, what: str) -> tuple[int, int] | None:
        text = name.text
        if text in self._within:
            self.error(name.span, f"{text} is made of itself")
            return None
        if text in self.consts:
            self._steps += 1
            if self._steps > MAX_STEPS:
                if self._steps == MAX_STEPS + 1:
                    self.error(name.span, f"this is made of more than {MAX_STEPS} consts")
                return None
            within, self._within = self._within, (*self._within, text)
            found = self._sum(self.consts[text].value, type_, what)
            self._within = within
            return found
        if isinstance(type_, types.Enum) and text in dict(type_.members):
            number = dict(type_.members)[text]
            return number, number
        if text in self.scope.params:
            param = self.scope.params[text]
            if type(param.type) is not type(type_):
                self.error(name.span, f"the param {text} is {_name(param.type)}, {what} is not")
                return None
            number = self.params.get(text, param.default)
            return number, number
        if text in self.scope.consts:
            number = self.scope.consts[text].value
            return number, number
        members = self.scope.members(text)
        if members and isinstance(type_, types.Int):
            return members[0][1], members[0][1]
        own = [m for m, _ in type_.members] if isinstance(type_, types.Enum) else []
        known = [*own, *self.consts, *self.scope.params, *self.scope.consts]
        self.error(name.span, f"there is no value '{text}' for {what}", nearest(text, known))
        return None

    # ---- fields by name ---------------------------------------------------------------------

    def fields(
        self,
        given: Sequence[tree.Assign],
        known: Mapping[str, types.Type],
        of: str,
    ) -> dict[str, Wanted] | None:
        """Fields by name. None after an error."""
        found: dict[str, Wanted] = {}
        good = True
        for assign in given:
            name = assign.name.text
            if name not in known:
                hint = nearest(name, known) or f"its fields: {', '.join(known) or 'none'}"
                self.error(assign.name.span, f"{of} has no field '{name}'", hint)
                good = False
                continue
            if name in found:
                self.error(assign.name.span, f"'{name}' is said twice")
            value = self.wanted(assign.value, known[name], f"{of}.{name}")
            good = good and value is not None
            if value is not None:
                found[name] = value
        return found if good else None

    def key(self, table: typed.Table, given: Sequence[tree.Value], span: Span) -> Key | None:
        """A table's key: a prefix's with its length first. None after an error."""
        if len(given) != len(table.keys):
            of = ", ".join(m.name for m in table.keys)
            self.error(span, f"a key of {table.name} has {len(table.keys)} values: {of}")
            return None
        found: list[int] = []
        for value, member in zip(given, table.keys, strict=True):
            if table.kind == "prefix":
                if isinstance(value, tree.Prefix) and value.bits == member.type.bits:
                    return (value.length, value.value)
                found.append(member.type.bits)
            number = self.one(value, member.type, f"{table.name}.{member.name}")
            if number is None:
                return None
            found.append(number)
        return tuple(found)


Key = tuple[int, ...]


def _has_now(value: tree.Value) -> bool:
    match value:
        case tree.Now():
            return True
        case tree.Sum(left=left, right=right):
            return _has_now(left) or _has_now(right)
    return False


def _name(type_: types.Type) -> str:
    """A type with its article."""
    name = type_.name if isinstance(type_, types.Enum) else type_name(type_)
    return f"an {name}" if name[0] in "aeio" else f"a {name}"


def show(value: int, type_: types.Type) -> str:
    """A value as it is written in a test."""
    match type_:
        case types.Timestamp():
            seconds, rest = divmod(value, _NS)
            return f"{seconds}s + {rest}ns" if rest else f"{seconds}s"
        case types.Enum(members=members):
            names = [n for n, v in members if v == value]
            return f"{value} ({names[0]})" if names else str(value)
    return value_text(type_, value)


def show_wanted(wanted: Wanted, type_: types.Type) -> str:
    """What is wanted, as it is written."""
    if wanted.exact:
        return show(wanted.low, type_)
    if (wanted.low, wanted.high) == (0, (1 << type_.bits) - 1):
        return "_"
    return f"{show(wanted.low, type_)} .. {show(wanted.high, type_)}"
