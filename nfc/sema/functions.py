"""Functions and rules: one verdict each, nothing edited twice, only what the hook allows."""

from __future__ import annotations

from nfc.sema import entries, references, typed, types
from nfc.sema.built import no_tlv, not_hmac, tlv_value
from nfc.sema.expressions import Checker
from nfc.sema.fields import assignments, once
from nfc.sema.headers import HEADERS, HMAC_FLAG, META, META_NAME, HeaderField
from nfc.sema.hooks import HOOKS, VERDICTS, Hook
from nfc.sema.scope import Scope
from nfc.sema.verdicts import check_verdict
from nfc.syntax import tree
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span

HMAC = "hmac"  # remove hmac
MAX_ADDED_SIZE = 272  # bytes of TLVs that a rule builds: the largest one, and some


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
    verdict = check_verdict(verdicts[0], checker, hook, scope)
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
        return entries.put(statement, checker, scope, seen)
    if isinstance(statement, tree.RemoveEntry):
        return entries.remove_entry(statement, checker, scope, seen)
    if isinstance(statement, tree.Set):
        place = statement.place
        if isinstance(place, tree.Name):
            return entries.set_state(statement, place, checker, scope, seen)
        if place.base.text in checker.entries:
            return entries.set_entry(statement, place, checker, scope, seen)
        if place.base.text == META_NAME:
            return _set_meta(statement, place, checker, scope, seen)
    if not (hook.rebuilds or (hook.writes and isinstance(statement, tree.Set))):
        scope.diagnostics.error(
            statement.span,
            f"{hook.label} cannot change the packet's "
            + ("SRH in length" if hook.writes else "headers"),
            "endpoint functions can: the kernel resizes an SRH for them only"
            if hook.writes
            else "endpoint functions can change the SRH; those at xmit its fields, and ip's",
        )
        return None
    match statement:
        case tree.Set():
            assert isinstance(statement.place, tree.FieldRef)
            return _set(statement, statement.place, checker, hook, scope, seen)
        case tree.Add(span, wanted, position):
            value = tlv_value(wanted, checker, scope)
            anchor = None
            if position is not None and position.anchor is not None:
                anchor = references.bound_tlv(checker, position.anchor)
                if anchor is None:
                    return None
            where = position.where if position else "last"
            return None if value is None else typed.AddTlv(span, value, where, anchor)
        case tree.Remove(span, name) if name.text == HMAC and name.text not in checker.bound:
            if not _apart_from_flags(statement, scope, seen):
                return None
            return typed.RemoveHmac(span)
        case tree.Remove(span, name):
            tlv = references.bound_tlv(checker, name)
            if tlv is None or not _fate(tlv, span, "remove", scope, seen):
                return None
            return typed.RemoveTlv(span, tlv)
        case tree.Replace(span, name, wanted):
            tlv = references.bound_tlv(checker, name)
            value = tlv_value(wanted, checker, scope)
            if tlv is None or value is None or not _fate(tlv, span, "replace", scope, seen):
                return None
            return typed.ReplaceTlv(span, tlv, value)
        case tree.RemoveAll(span, name):
            tlv = scope.tlvs.get(name.text)
            if tlv is None:
                no_tlv(name, scope)
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
    hook: Hook,
    scope: Scope,
    seen: dict[object, int],
) -> typed.Edit | None:
    edit: typed.Edit | None = None
    key: object
    if place.base.text in HEADERS:
        header = HEADERS[place.base.text].get(place.name.text)
        if header is None or hook.name not in header.writable:
            writable = [
                f"{h}.{f.name}"
                for h, fs in HEADERS.items()
                for f in fs.values()
                if hook.name in f.writable
            ]
            elsewhere = header is not None and bool(header.writable)
            scope.diagnostics.error(
                place.span,
                f"{place.base.text}.{place.name.text} cannot be set"
                + (f" in {hook.label}" if elsewhere else ""),
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
        tlv = references.bound_tlv(checker, place.base)
        target = references.field_of(checker, tlv, place.name) if tlv else None
        if tlv is None or target is None or not not_hmac(tlv, statement.span, scope):
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
        return entries.count_key(statement, keyed, checker, amount)
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
