"""Verdicts: what each hook can do with a packet, and the headers that encap and insert build."""

from __future__ import annotations

from nfc.sema import typed, types
from nfc.sema.built import tlv_value
from nfc.sema.expressions import Checker
from nfc.sema.hooks import VERDICTS, Hook
from nfc.sema.scope import Scope
from nfc.syntax import tree
from nfc.syntax.diagnostics import nearest

# linux/rtnetlink.h, RT_TABLE_*
TABLES = {"default": 253, "main": 254, "local": 255}
MAC = types.Bytes(6)
MAX_SEGMENTS = 16
MAX_XMIT_SIZE = 208  # bytes of SRH: 256 of headers (LWT_BPF_MAX_HEADROOM), 40 are the IPv6 one's
MAX_ENCAP_SIZE = 320  # bytes of SRH to push: it is made on the 512-byte stack


def check_verdict(
    verdict: tree.Verdict, checker: Checker, hook: Hook, scope: Scope
) -> typed.Verdict | None:
    """A rule's verdict, if its hook has it; None after an error."""
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
        case tree.ForwardLink(span, link, peer, own):
            index = checker.check(link, types.Int(32))
            macs = [checker.check(mac, MAC) for mac in (peer, own)]
            if index is None or macs[0] is None or macs[1] is None:
                return None
            return typed.ForwardLink(span, index, macs[0], macs[1])
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
