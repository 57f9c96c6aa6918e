"""Declarations, checked and laid out: enums, consts, TLVs, params, events."""

from __future__ import annotations

from collections.abc import Sequence

from nfc.sema import typed, types
from nfc.sema.expressions import Checker
from nfc.sema.headers import META_NAME
from nfc.sema.hooks import HOOKS
from nfc.sema.reach import known
from nfc.sema.scope import Scope
from nfc.sema.tables import declare_counter, declare_states, declare_table
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostics

MAX_TLV_SIZE = 257  # type, length, and the 255 bytes that a length byte can say
MAX_EVENT_SIZE = 256  # bytes; a record is made on the 512-byte stack
MAX_EVENT_PACKET = 2048  # bytes of a packet that an event can hold


def declare(
    files: Sequence[tree.File], diagnostics: Diagnostics, *, incomplete: bool = False
) -> Scope:
    """Check and lay out all declarations of a program's files (the main file first).

    `incomplete` says that a file which they use could not be read.
    """
    scope = Scope(diagnostics, incomplete=incomplete)
    scope.broken = {name for file in files for name in file.broken}
    groups = [
        [
            item
            for item in file.items
            if isinstance(item, tree.Use | tree.Function)
            or scope.claim(item.name, type(item).__name__.lower())
        ]
        for file in files
    ]
    items = [item for group in groups for item in group]
    for item in items:
        if isinstance(item, tree.Enum):
            _enum(item, scope)
    for item in items:
        if isinstance(item, tree.Define):
            _define(item, scope)
    # A file's consts may be made of those of the files that it uses.
    for item in (item for group in reversed(groups) for item in group):
        if isinstance(item, tree.Const):
            _const(item, scope)
    for item in items:
        if isinstance(item, tree.Tlv):
            _tlv(item, scope)
        elif isinstance(item, tree.Param):
            _param(item, scope)
        elif isinstance(item, tree.Event):
            _event(item, scope)
        elif isinstance(item, tree.Counter):
            if item.entries is None:
                scope.counters[item.name.text] = item.span
            else:
                declare_counter(item, evaluate(item.entries, types.Int(32), scope), scope)
        elif isinstance(item, tree.Table):
            declare_table(item, evaluate(item.entries, types.Int(32), scope), scope)
    declare_states([item for item in items if isinstance(item, tree.State)], scope)
    for item in items:
        if isinstance(item, _DECLARED) and not _is_declared(item, scope):
            scope.broken.add(item.name.text)
    scope.params_size = -(-scope.params_size // 8) * 8
    return scope


_DECLARED = tree.Tlv | tree.Param | tree.Event | tree.Counter | tree.Table | tree.State


def _is_declared(
    item: tree.Tlv | tree.Param | tree.Event | tree.Counter | tree.Table | tree.State, scope: Scope
) -> bool:
    kinds = (scope.tlvs, scope.params, scope.events, scope.counters, scope.keyed, scope.tables)
    return any(item.name.text in kind for kind in (*kinds, scope.states))


def _define(item: tree.Define, scope: Scope) -> None:
    """Note a definition; its value is checked where it is used, with what it is given."""
    names: set[str] = set()
    for argument in item.arguments:
        if argument.name.text in names:
            scope.diagnostics.error(
                argument.name.span, f"'{argument.name.text}' is in these arguments twice"
            )
        names.add(argument.name.text)
        scope.type_of(argument.type)
    scope.type_of(item.type)
    scope.definitions[item.name.text] = item


def check_definitions(scope: Scope) -> None:
    """Check every definition by itself, with unknown values for its arguments: so that mistakes
    show in those that nothing uses yet."""
    for definition in scope.definitions.values():
        check_definition(definition, scope)


def check_definition(definition: tree.Define, scope: Scope) -> None:
    """Check one definition by itself."""
    local: dict[str, typed.Expr] = {}
    for argument in definition.arguments:
        type_ = scope.type_of(argument.type)
        if type_ is not None:
            unknown = typed.Param(argument.span, argument.name.text, type_, 0, 0)
            local[argument.name.text] = typed.ParamRead(argument.span, type_, unknown)
    wanted = scope.type_of(definition.type)
    if wanted is not None and len(local) == len(definition.arguments):
        name = definition.name.text
        checker = Checker(scope, HOOKS["endpoint"], local=local, within=(name,))
        checker.definition(definition.value, wanted, draws=True)


def _enum(item: tree.Enum, scope: Scope) -> None:
    base = types.builtin(item.type.text)
    if not isinstance(base, types.Int):
        scope.broken |= {item.name.text, *(m.name.text for m in item.members)}
        scope.diagnostics.error(item.type.span, "an enum is made of u1 to u64")
        return
    members: dict[str, int] = {}
    for member in item.members:
        value = evaluate(member.value, base, scope)
        if member.name.text in members:
            scope.diagnostics.error(member.name.span, f"'{member.name.text}' is in this enum twice")
        if value is not None:
            members[member.name.text] = value
    if not item.members:
        scope.diagnostics.error(item.name.span, "an enum needs at least one member")
    scope.enums[item.name.text] = types.Enum(item.name.text, base.bits, tuple(members.items()))


def _const(item: tree.Const, scope: Scope) -> None:
    type_ = scope.type_of(item.type) if item.type else _literal_type(item.value)
    if type_ is None:
        scope.broken.add(item.name.text)
        if item.type is None:
            scope.diagnostics.error(
                item.value.span, "say this const's type", f"const {item.name.text}: u32 = …"
            )
        return
    value = evaluate(item.value, type_, scope)
    if value is None:
        scope.broken.add(item.name.text)
    else:
        scope.consts[item.name.text] = typed.Const(item.span, type_, value)


def _literal_type(value: tree.Expr) -> types.Type | None:
    if isinstance(value, tree.Address):
        return types.Ipv6()
    if isinstance(value, tree.Duration):
        return types.Duration()
    if isinstance(value, tree.Bool):
        return types.Bool()
    return None


def _param(item: tree.Param, scope: Scope) -> None:
    type_ = scope.type_of(item.type)
    if type_ is None:
        return
    if isinstance(type_, types.Timestamp):
        scope.diagnostics.error(item.type.span, "a param cannot be a timestamp")
        return
    default = evaluate(item.default, type_, scope)
    if default is None:
        return
    size, unit = types.memory_size(type_), types.alignment(type_)
    offset = -(-scope.params_size // unit) * unit
    scope.params[item.name.text] = typed.Param(item.span, item.name.text, type_, default, offset)
    scope.params_size = offset + size


def _tlv(item: tree.Tlv, scope: Scope) -> None:
    number = item.number.value
    if not 1 <= number <= 255 or number == 4:
        scope.diagnostics.error(
            item.number.span,
            f"a TLV cannot have type {number}",
            "types are 1 to 255; 0 and 4 are padding, which is the compiler's business",
        )
        return
    fields: list[typed.TlvField] = []
    bit = 16
    names: set[str] = set()
    for part in item.fields:
        type_ = scope.type_of(part.type)
        if type_ is None:
            return
        if isinstance(type_, types.Duration):
            scope.diagnostics.error(
                part.type.span,
                "a duration has no form on the wire",
                "use a u32 or u64 and say its unit in its name",
            )
            return
        default = 0
        if part.default is not None:
            if isinstance(type_, types.Timestamp):
                scope.diagnostics.error(
                    part.default.span,
                    "a time has no default",
                    "say it where the TLV is built, for example with now()",
                )
            default = evaluate(part.default, type_, scope) or 0
        if part.name is not None:
            if part.name.text in names:
                scope.diagnostics.error(part.name.span, f"'{part.name.text}' is in this TLV twice")
            names.add(part.name.text)
        if types.is_raw(type_) and bit % 8:
            scope.diagnostics.error(part.span, f"{type_} starts at a whole byte")
            return
        fields.append(typed.TlvField(part.name.text if part.name else None, type_, bit, default))
        bit += type_.bits
    if bit % 8:
        scope.diagnostics.error(
            item.name.span,
            f"this TLV's fields end in the middle of a byte ({bit - 16} bits)",
            f"add reserved: u{8 - bit % 8}",
        )
        return
    if bit // 8 > MAX_TLV_SIZE:
        scope.diagnostics.error(
            item.name.span, f"a TLV has at most 255 bytes of value, this has {bit // 8 - 2}"
        )
        return
    scope.tlvs[item.name.text] = typed.Tlv(
        item.span, item.name.text, number, bit // 8, tuple(fields)
    )


def _event(item: tree.Event, scope: Scope) -> None:
    fields: list[typed.Member] = []
    names: set[str] = set()
    offset = 8  # the event's index comes first
    packet_bytes = 0
    for part in item.fields:
        if isinstance(part, tree.EventBytes):
            if part.what.text != META_NAME or packet_bytes:
                scope.diagnostics.error(
                    part.span, "an event holds bytes of the packet, once", f"{META_NAME}[128]"
                )
                return
            packet_bytes = part.count.value
            if not 1 <= packet_bytes <= MAX_EVENT_PACKET:
                scope.diagnostics.error(
                    part.count.span, f"an event holds 1 to {MAX_EVENT_PACKET} bytes of the packet"
                )
                return
            continue
        type_ = scope.type_of(part.type)
        if type_ is None:
            return
        if part.name.text in names:
            scope.diagnostics.error(part.name.span, f"'{part.name.text}' is in this event twice")
            return
        names.add(part.name.text)
        size, unit = types.memory_size(type_), types.alignment(type_)
        offset = -(-offset // unit) * unit
        fields.append(typed.Member(part.name.text, type_, offset, size))
        offset += size
    size = -(-offset // 8) * 8
    if size > MAX_EVENT_SIZE:
        scope.diagnostics.error(
            item.name.span, f"this event takes {size} bytes; the limit is {MAX_EVENT_SIZE}"
        )
        return
    index = len(scope.events)
    scope.events[item.name.text] = typed.Event(
        item.span, item.name.text, index, tuple(fields), size, packet_bytes
    )


def evaluate(expr: tree.Expr, type_: types.Type, scope: Scope) -> int | None:
    """The value of a constant expression of that type, or None after an error."""
    value = Checker(scope, hook=None).check(expr, type_)
    if value is None:
        return None
    if isinstance(value, typed.Const):
        return value.value
    holds = known(value)
    if holds is None:
        scope.diagnostics.error(
            expr.span, "this value must be known when the file is compiled", "use a const"
        )
        return None
    return int(holds)
