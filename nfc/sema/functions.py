"""Functions and rules: one verdict each, nothing edited twice, only what the hook allows."""

from __future__ import annotations

from nfc.sema import tables, typed, types
from nfc.sema.expressions import Checker
from nfc.sema.fields import assignments, once
from nfc.sema.headers import HEADERS, HMAC_FLAG, HMAC_TLV, META, META_NAME, HeaderField
from nfc.sema.hooks import HOOKS, VERDICTS, Hook
from nfc.sema.scope import Scope
from nfc.syntax import tree
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span

# linux/rtnetlink.h, RT_TABLE_*
TABLES = {"default": 253, "main": 254, "local": 255}
HMAC = "hmac"  # remove hmac
MAX_SEGMENTS = 16
MAX_ADDED_SIZE = 272  # bytes of TLVs that a rule builds: the largest one, and some
MAX_XMIT_SIZE = 208  # bytes of SRH: 256 of headers (LWT_BPF_MAX_HEADROOM), 40 are the IPv6 one's
MAX_ENCAP_SIZE = 320  # bytes of SRH to push: it is made on the 512-byte stack


def check_function(item: tree.Function, scope: Scope) -> typed.Function | None:
    """The function, typed, or None after an error."""
    diagnostics = scope.diagnostics
    hook = HOOKS.get(item.hook.text)
    if hook is None:
        diagnostics.error(
            item.hook.span,
            f"there is no hook '{item.hook.text}'",
            nearest(item.hook.text, ["in", "out", "xmit"])
            or "transit functions run at in, out or xmit",
        )
        return None
    _check_otherwise(item, scope)
    rules: list[typed.Rule] = []
    elsewhere: dict[str, int] = {}
    complete = True
    for rule in item.rules:
        checker = Checker(scope, hook, elsewhere=elsewhere)
        checked = _rule(rule, checker, hook, scope)
        named = (*checker.bound, *checker.entries)
        elsewhere = {**elsewhere, **dict.fromkeys(named, rule.span.line)}
        if checked is None:
            complete = False
        else:
            rules.append(checked)
    if not complete or not rules:
        return None
    return typed.Function(item.span, item.name.text, item.hook.text, tuple(rules))


def _check_otherwise(item: tree.Function, scope: Scope) -> None:
    plain = [rule for rule in item.rules if rule.guard is None]
    if not plain:
        scope.diagnostics.error(
            item.name.span,
            f"{item.name.text} does not say what happens to all other packets",
            "end it with 'otherwise forward' or 'otherwise drop'",
        )
    for rule in item.rules[:-1]:
        if rule.guard is None:
            scope.diagnostics.error(rule.span, "no packet gets past 'otherwise'; it comes last")
            break


def _rule(rule: tree.Rule, checker: Checker, hook: Hook, scope: Scope) -> typed.Rule | None:
    before = len(scope.diagnostics.items)
    guard = None if rule.guard is None else checker.condition(rule.guard)
    edits: list[typed.Edit] = []
    verdicts: list[tree.Verdict] = []
    seen: dict[object, int] = {}
    for statement in rule.body:
        if isinstance(statement, tree.Edit):
            if verdicts:
                scope.diagnostics.error(
                    statement.span, "a rule ends with its verdict", "move this before the verdict"
                )
            edit = _edit(statement, checker, hook, scope, seen)
            if edit is not None:
                edits.append(edit)
        else:
            verdicts.append(statement)
    if not verdicts:
        last = rule.body[-1].span if rule.body else rule.span
        scope.diagnostics.error(
            last,
            "this rule does not say what happens to the packet",
            f"end it with one of: {', '.join(VERDICTS[v][0] for v in sorted(hook.verdicts))}",
        )
        return None
    for extra in verdicts[1:]:
        scope.diagnostics.error(extra.span, "a rule has one verdict; this is a second one")
    verdict = _verdict(verdicts[0], checker, hook, scope)
    _check_built(rule, edits, scope)
    if isinstance(verdict, typed.Drop):
        for edit in edits:
            if not isinstance(edit, _LASTING):
                scope.diagnostics.warning(
                    edit.span, "this edits a packet that is then dropped", "leave it out"
                )
    if verdict is None or any(d.severity == "error" for d in scope.diagnostics.items[before:]):
        return None
    return typed.Rule(rule.span, guard, tuple(edits), verdict)


_LASTING = (
    typed.Emit
    | typed.Count
    | typed.CountKey
    | typed.SetEntry
    | typed.SetState
    | typed.Put
    | typed.RemoveEntry
)


def _check_built(rule: tree.Rule, edits: list[typed.Edit], scope: Scope) -> None:
    """TLVs that a rule builds are made on the stack before any goes into the packet."""
    size = sum(e.value.tlv.size for e in edits if isinstance(e, typed.AddTlv | typed.ReplaceTlv))
    if size > MAX_ADDED_SIZE:
        scope.diagnostics.error(
            rule.span,
            f"this rule builds {size} bytes of TLVs; a program has room for {MAX_ADDED_SIZE}",
            "a BPF program has 512 bytes of stack (Linux, MAX_BPF_STACK)",
        )


# ---- edits ----------------------------------------------------------------------------------


def _edit(
    statement: tree.Edit,
    checker: Checker,
    hook: Hook,
    scope: Scope,
    seen: dict[object, int],
) -> typed.Edit | None:
    if isinstance(statement, tree.Emit):
        return _emit(statement, checker, scope)
    if isinstance(statement, tree.Count):
        return _count(statement, checker, scope, seen)
    if isinstance(statement, tree.Put):
        return tables.put(statement, checker, scope, seen)
    if isinstance(statement, tree.RemoveEntry):
        return tables.remove_entry(statement, checker, scope, seen)
    if isinstance(statement, tree.Set):
        place = statement.place
        if isinstance(place, tree.Name):
            return tables.set_state(statement, place, checker, scope, seen)
        if place.base.text in checker.entries:
            return tables.set_entry(statement, place, checker, scope, seen)
        if place.base.text == META_NAME:
            return _set_meta(statement, place, checker, scope, seen)
    if not hook.edits:
        scope.diagnostics.error(
            statement.span,
            f"{hook.label} cannot change the packet's SRH",
            "endpoint functions can",
        )
        return None
    match statement:
        case tree.Set():
            assert isinstance(statement.place, tree.FieldRef)
            return _set(statement, statement.place, checker, scope, seen)
        case tree.Add(span, wanted, position):
            value = tlv_value(wanted, checker, scope)
            anchor = None
            if position is not None and position.anchor is not None:
                anchor = checker.tlv(position.anchor)
                if anchor is None:
                    return None
            where = position.where if position else "last"
            return None if value is None else typed.AddTlv(span, value, where, anchor)
        case tree.Remove(span, name) if name.text == HMAC and name.text not in checker.bound:
            if not _apart_from_flags(statement, scope, seen):
                return None
            return typed.RemoveHmac(span)
        case tree.Remove(span, name):
            tlv = checker.tlv(name)
            if tlv is None or not _fate(tlv, span, "remove", scope, seen):
                return None
            return typed.RemoveTlv(span, tlv)
        case tree.Replace(span, name, wanted):
            tlv = checker.tlv(name)
            value = tlv_value(wanted, checker, scope)
            if tlv is None or value is None or not _fate(tlv, span, "replace", scope, seen):
                return None
            return typed.ReplaceTlv(span, tlv, value)
        case tree.RemoveAll(span, name):
            tlv = scope.tlvs.get(name.text)
            if tlv is None:
                _no_tlv(name, scope)
                return None
            if not _fate(tlv, span, "remove all", scope, seen):
                return None
            return typed.RemoveAll(span, tlv)


def _fate(tlv: typed.Tlv, span: Span, what: str, scope: Scope, seen: dict[object, int]) -> bool:
    """Whether a TLV that goes is not edited otherwise in the rule; an error if it is."""
    for key, line in seen.items():
        same = isinstance(key, tuple) and key[:2] == ("tlv", tlv.name) and key[2:3]
        if same and (what == "remove all" or same[0] in (tlv.index, None)):
            scope.diagnostics.error(
                span, f"this would {what} {tlv.name}, which line {line} edits already"
            )
            return False
    seen["tlv", tlv.name, None if what == "remove all" else tlv.index, None] = span.line
    return True


def _no_tlv(name: tree.Ident, scope: Scope) -> None:
    if not scope.excused(name.text):
        scope.diagnostics.error(
            name.span,
            f"there is no TLV '{name.text}'",
            nearest(name.text, scope.tlvs) or "declare it with tlv, or use a file that does",
        )


def _set_meta(
    statement: tree.Set,
    place: tree.FieldRef,
    checker: Checker,
    scope: Scope,
    seen: dict[object, int],
) -> typed.Edit | None:
    name = place.name.text
    field = META.get(name)
    if field is None or not field.writable:
        writable = [f"{META_NAME}.{f.name}" for f in META.values() if f.writable]
        scope.diagnostics.error(
            place.span,
            f"{META_NAME}.{name} cannot be set",
            f"what can be: {', '.join(writable)}",
        )
        return None
    value = checker.check(statement.value, field.type)
    if not once(statement, (META_NAME, name), scope, seen) or value is None:
        return None
    return typed.SetMeta(statement.span, field, value)


def _keeps_hmac(field: HeaderField, value: typed.Expr, scope: Scope) -> bool:
    """The H flag promises an HMAC TLV, which a program cannot compute."""
    if field.name == "flags" and isinstance(value, typed.Const) and value.value & HMAC_FLAG:
        scope.diagnostics.error(
            value.span,
            "this sets the H flag, which says that the SRH has an HMAC",
            f"leave out {HMAC_FLAG:#04x}: the flag stays as the packet has it",
        )
        return False
    return True


def _apart_from_flags(statement: tree.Remove, scope: Scope, seen: dict[object, int]) -> bool:
    """Whether the rule sets no flags besides removing the HMAC, which takes H away."""
    flags = HEADERS["srh"]["flags"]
    line = seen.get(flags)
    if line is not None:
        scope.diagnostics.error(
            statement.span,
            f"removing the HMAC clears the flag H; line {line} sets all flags",
            "set single flags: srh.oam, srh.alert, srh.protected",
        )
        return False
    seen[HEADERS["srh"]["hmac"]] = statement.span.line
    return True


def _not_hmac(tlv: typed.Tlv, span: Span, scope: Scope) -> bool:
    """An HMAC can be matched, but a program can neither make one nor change one."""
    if tlv.number != HMAC_TLV:
        return True
    scope.diagnostics.error(
        span,
        f"{tlv.name} is the HMAC TLV (type {HMAC_TLV}), which a program cannot compute",
        "it can be matched, and srh.hmac says whether the packet has one",
    )
    return False


def _apart(statement: tree.Set, field: HeaderField, scope: Scope, seen: dict[object, int]) -> bool:
    """Whether no other field that shares bits with this one is set in the rule."""
    for other, line in seen.items():
        if (
            isinstance(other, HeaderField)
            and other != field
            and other.header == field.header
            and other.bit_offset < field.bit_offset + field.bits
            and field.bit_offset < other.bit_offset + other.bits
        ):
            scope.diagnostics.error(
                statement.span,
                f"{field.header}.{field.name} shares bits with {other.header}.{other.name}, "
                f"which line {line} sets",
                "set one of the two",
            )
            return False
    return True


def _set(
    statement: tree.Set,
    place: tree.FieldRef,
    checker: Checker,
    scope: Scope,
    seen: dict[object, int],
) -> typed.Edit | None:
    edit: typed.Edit | None = None
    key: object
    if place.base.text in HEADERS:
        header = HEADERS[place.base.text].get(place.name.text)
        if header is None or not header.writable:
            writable = [
                f"{h}.{f.name}" for h, fs in HEADERS.items() for f in fs.values() if f.writable
            ]
            scope.diagnostics.error(
                place.span,
                f"{place.base.text}.{place.name.text} cannot be set",
                f"what can be: {', '.join(writable)}, and the fields of a TLV",
            )
            return None
        key = header
        if not _apart(statement, header, scope, seen):
            return None
        value = checker.check(statement.value, header.type)
        if value is not None and _keeps_hmac(header, value, scope):
            edit = typed.SetHeader(statement.span, header, value)
    else:
        tlv = checker.tlv(place.base)
        target = checker.tlv_field(tlv, place.name) if tlv else None
        if tlv is None or target is None or not _not_hmac(tlv, statement.span, scope):
            return None
        key = ("tlv", tlv.name, tlv.index, target.name)
        gone = [("tlv", tlv.name, index, None) for index in (tlv.index, None)]
        line = next((seen[g] for g in gone if g in seen), 0)
        if line:
            scope.diagnostics.error(statement.span, f"line {line} takes this TLV out of the packet")
            return None
        value = checker.check(statement.value, target.type)
        if value is not None:
            edit = typed.SetTlv(statement.span, tlv, target, value)
    return edit if once(statement, key, scope, seen) else None


def _count(
    statement: tree.Count, checker: Checker, scope: Scope, seen: dict[object, int]
) -> typed.Count | typed.CountKey | None:
    name = statement.counter.text
    keyed = scope.keyed.get(name)
    if keyed is None and name not in scope.counters:
        if not scope.excused(name):
            scope.diagnostics.error(
                statement.counter.span,
                f"there is no counter '{name}'",
                nearest(name, [*scope.counters, *scope.keyed]) or f"declare it: counter {name}",
            )
        return None
    if keyed is None and statement.key:
        scope.diagnostics.error(
            statement.span,
            f"{name} is one counter, without keys",
            f"declare it: counter {name}[1024] {{ port: u16 }}",
        )
        return None
    if ("count", name) in seen:
        scope.diagnostics.error(
            statement.span,
            f"{name} is counted twice in one rule",
            f"first in line {seen['count', name]}; count it by the sum of both",
        )
        return None
    seen["count", name] = statement.span.line
    if statement.amount is None:
        amount: typed.Expr | None = typed.Const(statement.span, types.Int(64), 1)
    else:
        amount = checker.check(statement.amount, types.Int(64))
    if amount is None:
        return None
    if keyed is not None:
        return tables.count_key(statement, keyed, checker, amount)
    return typed.Count(statement.span, name, amount)


def _emit(statement: tree.Emit, checker: Checker, scope: Scope) -> typed.Emit | None:
    event = scope.events.get(statement.event.text)
    if event is None:
        if scope.excused(statement.event.text):
            return None
        scope.diagnostics.error(
            statement.event.span,
            f"there is no event '{statement.event.text}'",
            nearest(statement.event.text, scope.events)
            or f"declare it: event {statement.event.text} {{ … }}",
        )
        return None
    by_name = {f.name: f.type for f in event.fields}
    given = assignments(statement.fields, by_name, event.name, checker, scope)
    missing = [name for name in by_name if name not in given]
    if missing and all(a.name.text in by_name for a in statement.fields):
        scope.diagnostics.error(
            statement.span,
            f"{event.name} also has the field{'s' * (len(missing) > 1)} {', '.join(missing)}",
        )
    values = [given.get(f.name) for f in event.fields]
    if any(v is None for v in values):
        return None
    return typed.Emit(statement.span, event, tuple(v for v in values if v is not None))


def tlv_value(item: tree.TlvValue, checker: Checker, scope: Scope) -> typed.TlvValue | None:
    """A TLV to be built, with its defaults filled in, or None after an error."""
    tlv = scope.tlvs.get(item.tlv.text)
    if tlv is None:
        _no_tlv(item.tlv, scope)
        return None
    if not _not_hmac(tlv, item.span, scope):
        return None
    by_name = {f.name: f.type for f in tlv.fields if f.name is not None}
    given = assignments(item.fields, by_name, tlv.name, checker, scope)
    if len(given) < len(item.fields) or any(v is None for v in given.values()):
        return None
    values: list[tuple[typed.TlvField, typed.Expr]] = []
    for field in tlv.fields:
        value = given.get(field.name) if field.name else None
        values.append((field, value or typed.Const(item.span, field.type, field.default)))
    return typed.TlvValue(item.span, tlv, tuple(values))


# ---- verdicts -------------------------------------------------------------------------------


def _verdict(
    verdict: tree.Verdict, checker: Checker, hook: Hook, scope: Scope
) -> typed.Verdict | None:
    name = type(verdict).__name__
    if name not in hook.verdicts:
        scope.diagnostics.error(
            verdict.span,
            f"'{VERDICTS[name][0]}' is not possible in {hook.label} ({hook.where})",
            f"possible there: {', '.join(VERDICTS[v][0] for v in sorted(hook.verdicts))}",
        )
        return None
    match verdict:
        case tree.Forward(span):
            return typed.Forward(span)
        case tree.Drop(span):
            return typed.Drop(span)
        case tree.ForwardVia(span, nexthop):
            value = checker.check(nexthop, types.Ipv6())
            return None if value is None else typed.ForwardVia(span, value)
        case tree.ForwardTable(span, table):
            number = _routes(table, scope)
            return None if number is None else typed.ForwardTable(span, number)
        case tree.DecapTable(span, table):
            number = _routes(table, scope)
            return None if number is None else typed.DecapTable(span, number)
        case tree.Encap() | tree.Insert():
            return _encap(verdict, checker, hook, scope)


def _routes(table: tree.Routes, scope: Scope) -> int | None:
    if table.text in TABLES:
        return TABLES[table.text]
    const = scope.consts.get(table.text)
    if const is not None and isinstance(const.type, types.Int):
        number = const.value
    elif table.text[0].isdigit():
        number = int(table.text[:40], 0)
    else:
        scope.diagnostics.error(
            table.span,
            f"there is no routing table '{table.text}'",
            nearest(table.text, [*TABLES, *scope.consts])
            or "tables: main, local, default, a number",
        )
        return None
    # The helper takes a signed int (bpf_lwt_seg6_action, net/core/filter.c).
    if not 1 <= number < 1 << 31:
        scope.diagnostics.error(table.span, "routing tables are numbered 1 to 2147483647")
        return None
    return number


def _encap(
    verdict: tree.Encap | tree.Insert, checker: Checker, hook: Hook, scope: Scope
) -> typed.Encap | typed.Insert | None:
    segments = [checker.check(s, types.Ipv6()) for s in verdict.segments]
    tlvs = [tlv_value(t, checker, scope) for t in verdict.tlvs]
    if any(s is None for s in segments) or any(t is None for t in tlvs):
        return None
    if len(segments) > MAX_SEGMENTS:
        scope.diagnostics.error(
            verdict.span, f"{len(segments)} segments are more than the {MAX_SEGMENTS} possible here"
        )
        return None
    inserts = isinstance(verdict, tree.Insert)
    source = None
    if isinstance(verdict, tree.Encap):
        if (verdict.source is None) is hook.says_source:
            scope.diagnostics.error(
                verdict.span if verdict.source is None else verdict.source.span,
                f"in {hook.label} "
                + ("say" if hook.says_source else "the kernel chooses")
                + " the outer source address",
                "encap segments [a, b] from fd00::1"
                if hook.says_source
                else "it is that of 'ip sr tunsrc set'",
            )
            return None
        if verdict.source is not None:
            source = checker.check(verdict.source, types.Ipv6())
            if source is None:
                return None
    count = len(segments) + inserts  # an inserted SRH ends with the packet's destination
    size = 8 + 16 * count + sum(t.tlv.size for t in tlvs if t is not None)
    most = MAX_XMIT_SIZE if hook.says_source else MAX_ENCAP_SIZE
    if size > most:
        scope.diagnostics.error(
            verdict.span,
            f"this SRH takes {size} bytes; a program can build one of {most}",
            "the kernel takes 256 bytes of headers there (Linux, LWT_BPF_MAX_HEADROOM)"
            if hook.says_source
            else "a BPF program has 512 bytes of stack (Linux, MAX_BPF_STACK)",
        )
        return None
    listed = tuple(s for s in segments if s is not None)
    built = tuple(t for t in tlvs if t is not None)
    if inserts:
        return typed.Insert(verdict.span, listed, built)
    return typed.Encap(verdict.span, listed, built, source)
