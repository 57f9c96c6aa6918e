"""Types of expressions. A literal takes the type that its place asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from nfc.sema import operators, references, typed, types
from nfc.sema.inplace import MAX_NESTING, MAX_VALUES, measure
from nfc.sema.kinds import a_kind, beside, is_literal
from nfc.sema.place import Place
from nfc.syntax import tree
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span

FUNCTIONS = ("now()", "every(n)", "sample(1 in n)")


@dataclass
class Checker(Place):
    """Checks the expressions that stand at one place."""

    # ---- entry points -----------------------------------------------------------------------

    def check(self, expr: tree.Expr, wanted: types.Type) -> typed.Expr | None:
        """The expression as a value of type `wanted`, or None after an error."""
        value = self.infer(expr, wanted)
        return None if value is None else self._noted(expr, operators.convert(self, value, wanted))

    def condition(
        self, expr: tree.Expr, *, binds: bool = True, draws: bool = True
    ) -> typed.Expr | None:
        """A guard: `has … as` may bind where every conjunct must hold (`binds`); sample() and
        every() may stand where it is clear how often they are asked (`draws`)."""
        return self._noted(expr, self._condition(expr, binds=binds, draws=draws))

    def _condition(self, expr: tree.Expr, *, binds: bool, draws: bool) -> typed.Expr | None:
        match expr:
            case tree.Logic(span, op, left, right):
                keep = binds and op == "and"
                a = self.condition(left, binds=keep, draws=draws)
                b = self.condition(right, binds=keep, draws=draws)
                if a is None or b is None:
                    return None
                return typed.Logic(span, types.Bool(), op, a, b)
            case tree.Not(span, operand):
                inner = self.condition(operand, binds=False, draws=draws)
                return None if inner is None else typed.Not(span, types.Bool(), inner)
            case tree.Has():
                return references.has_tlv(self, expr, binds)
            case tree.HasEntry():
                return self._has_entry(expr, binds)
            case _:
                value = self._test(expr) if draws else self.infer(expr, types.Bool())
                if value is not None and not isinstance(value.type, types.Bool):
                    self.error(
                        expr.span,
                        f"a condition is needed here, this is {a_kind(value)}",
                        "compare it, for example with '!= 0'",
                    )
                    return None
                return value

    def _test(self, expr: tree.Expr) -> typed.Expr | None:
        """A condition that is one value, perhaps drawn."""
        match expr:
            case tree.Sample():
                return self._sample(expr)
            case tree.Call(function=tree.Ident(text="every")):
                return self._every(expr)
            case tree.Call(function=function) if function.text in self.scope.definitions:
                return self._defined(expr, self.scope.definitions[function.text], draws=True)
        return self.infer(expr, types.Bool())

    def definition(self, value: tree.Expr, wanted: types.Type, draws: bool) -> typed.Expr | None:
        """The value of a definition; one that is a condition may draw where its call may."""
        if draws and isinstance(wanted, types.Bool):
            return self.condition(value, binds=False)
        return self.check(value, wanted)

    # ---- by form ----------------------------------------------------------------------------

    def infer(self, expr: tree.Expr, wanted: types.Type | None) -> typed.Expr | None:
        """The expression's value; `wanted` guides literals and enum members only."""
        return self._noted(expr, self._infer(expr, wanted))

    def _noted(self, expr: tree.Expr, value: typed.Expr | None) -> typed.Expr | None:
        """The value, of which an editor may want to know where it was written."""
        if value is not None and self.scope.values is not None:
            self.scope.values.append((expr.span, value))
        return value

    def _infer(self, expr: tree.Expr, wanted: types.Type | None) -> typed.Expr | None:
        match expr:
            case tree.Integer(span, value):
                return self._integer(span, value, wanted)
            case tree.Address(span, value):
                return typed.Const(span, types.Ipv6(), value)
            case tree.Duration(span, value):
                return typed.Const(span, types.Duration(), value)
            case tree.Bool(span, value):
                return typed.Const(span, types.Bool(), int(value))
            case tree.Name(span, name):
                return references.name_value(self, span, name, wanted)
            case tree.FieldRef():
                return references.field_value(self, expr)
            case tree.Element():
                return references.segment(self, expr)
            case tree.Call():
                return self._call(expr)
            case tree.Sample():
                self._drawn(expr.span, "sample(1 in n)")
                return None
            case tree.Binary():
                return operators.binary(self, expr, *self._sides(expr))
            case tree.Compare():
                return operators.compare(self, expr, *self._sides(expr))
            case tree.InPrefix(span, operand, address, length, width):
                kind: types.Type = types.Ipv6() if width == 128 else types.Int(32)
                inner = self.check(operand, kind)
                if inner is None:
                    return None
                return typed.InPrefix(span, types.Bool(), inner, address, length, width)
            case tree.Not() | tree.Logic() | tree.Has() | tree.HasEntry():
                return self.condition(expr, binds=False, draws=False)

    def _sides(
        self, expr: tree.Binary | tree.Compare
    ) -> tuple[typed.Expr | None, typed.Expr | None]:
        """Both sides; a literal on one side takes the other side's type. What the whole is for
        does not matter to them: it is held against that when it is computed."""
        left, right = expr.left, expr.right
        if is_literal(left) and not is_literal(right):
            b = self.infer(right, None)
            return self.infer(left, beside(b, expr.op)), b
        a = self.infer(left, None)
        return a, self.infer(right, beside(a, expr.op))

    def _integer(self, span: Span, value: int, wanted: types.Type | None) -> typed.Expr | None:
        numeric = types.Int | types.Enum | types.Timestamp | types.Bytes
        type_ = wanted if isinstance(wanted, numeric) else None
        if isinstance(wanted, types.Duration):
            if value == 0:
                return typed.Const(span, wanted, 0)
            self.error(
                span, "a duration needs a unit", f"{value}ms, {value}us, {value}ns, {value}s"
            )
            return None
        if isinstance(wanted, types.Timestamp) and value != 0:
            self.error(
                span, "a timestamp cannot be written as a number, except 0", "the time is now()"
            )
            return None
        bits = type_.bits if type_ else max(1, value.bit_length())
        most = bits if isinstance(type_, types.Bytes) else min(bits, 64)
        if value.bit_length() > most:
            limit = (1 << most) - 1
            self.error(span, f"{value} does not fit {type_ or 'u64'} (at most {limit})")
            return None
        return typed.Const(span, type_ or types.Int(bits), value)

    def _call(self, expr: tree.Call) -> typed.Expr | None:
        name = expr.function.text
        if name == "every":
            self._drawn(expr.span, "every(n)")
            return None
        if name in self.scope.definitions:
            return self._defined(expr, self.scope.definitions[name])
        if name != "now":
            if not self.scope.excused(name):
                known = [f.partition("(")[0] for f in FUNCTIONS] + list(self.scope.definitions)
                self.error(
                    expr.function.span,
                    f"there is no function '{name}'",
                    nearest(name, known) or f"there are: {', '.join(FUNCTIONS)}",
                )
            return None
        if expr.arguments:
            self.error(expr.arguments[0].span, "now() takes nothing")
            return None
        if self.hook is None:
            self.error(expr.span, "the time is not known when the file is compiled")
            return None
        return typed.Now(expr.span, types.Timestamp())

    def _drawn(self, span: Span, what: str) -> None:
        self.error(
            span,
            f"{what} stands in a rule's condition, by itself",
            f"when {what} and … {{ … }}",
        )

    def _defined(
        self, expr: tree.Call, definition: tree.Define, draws: bool = False
    ) -> typed.Expr | None:
        """What a definition stands for, with the call's arguments in it."""
        name = definition.name.text
        if name in self.within:
            path = " → ".join([*self.within, name])
            self.error(expr.span, f"'{name}' is defined by itself ({path})")
            return None
        if not self.measured:
            size = measure(expr, self.scope.definitions, self.local, self.within, self.budget[0])
            if size is None:
                self.error(
                    expr.span,
                    "with its definitions in place this is too large",
                    f"a rule has room for {MAX_VALUES} values, {MAX_NESTING} deep",
                )
                return None
            self.budget[0] -= size
        wanted, given = len(definition.arguments), len(expr.arguments)
        if wanted != given:
            shown = ", ".join(f"{a.name.text}: {a.type.text}" for a in definition.arguments)
            self.error(
                expr.span,
                f"{name} takes {wanted} value{'s' * (wanted != 1)}, not {given}",
                f"{name}({shown})",
            )
            return None
        local: dict[str, typed.Expr] = {}
        for argument, value in zip(definition.arguments, expr.arguments, strict=True):
            type_ = self.scope.type_of(argument.type)
            checked = None if type_ is None else self.check(value, type_)
            if checked is None:
                return None
            if isinstance(checked, typed.Const):
                checked = replace(checked, exact=False)
            local[argument.name.text] = checked
        type_ = self.scope.type_of(definition.type)
        if type_ is None:
            return None
        inside = Checker(
            self.scope,
            self.hook,
            local=local,
            within=(*self.within, name),
            lookups=self.lookups,
            measured=True,
        )
        result = inside.definition(definition.value, type_, draws)
        return replace(result, exact=False) if isinstance(result, typed.Const) else result

    def _every(self, expr: tree.Call) -> typed.Expr | None:
        if len(expr.arguments) != 1:
            self.error(expr.span, "every so many packets?", "every(1000)")
            return None
        of = self.check(expr.arguments[0], types.Int(32))
        return None if of is None else typed.Every(expr.span, types.Bool(), of)

    def _sample(self, expr: tree.Sample) -> typed.Expr | None:
        if expr.count.value != 1:
            self.error(expr.count.span, "sampling takes 1 packet in so many", "sample(1 in 1000)")
            return None
        of = self.check(expr.of, types.Int(32))
        return None if of is None else typed.Sample(expr.span, types.Bool(), of)

    # ---- tables -----------------------------------------------------------------------------

    def key(
        self, table: typed.Table, exprs: Sequence[tree.Expr], span: Span
    ) -> tuple[typed.Expr, ...] | None:
        """A key's values in the order in which they are declared; None after an error."""
        if len(exprs) != len(table.keys):
            shown = ", ".join(f"{m.name}: {m.type}" for m in table.keys)
            self.error(
                span,
                f"{table.name} is looked up by {len(table.keys)}, not {len(exprs)}",
                f"[{shown}]",
            )
            return None
        values = [self.check(e, m.type) for e, m in zip(exprs, table.keys, strict=True)]
        found = tuple(v for v in values if v is not None)
        return found if len(found) == len(values) else None

    def _has_entry(self, expr: tree.HasEntry, binds: bool) -> typed.Expr | None:
        """`table has [key] as alias`."""
        table = references.looked_up(self, expr, binds)
        if table is None:
            return None
        key = self.key(table, expr.key, expr.span)
        if key is None:
            if expr.alias is not None:
                self.scope.broken.add(expr.alias.text)
            return None
        entry = typed.Entry(self.lookups[0], table, key)
        self.lookups[0] += 1
        if expr.alias is not None:
            self.entries[expr.alias.text] = entry
        return typed.HasEntry(expr.span, types.Bool(), entry)
