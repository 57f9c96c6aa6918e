"""A function on a packet: rules, edits, the verdict, and the kernel around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from functools import partial

from nfc.oracle import edits, kernel, tables, wire
from nfc.oracle.kernel import Router
from nfc.oracle.outcomes import Arrival, Result
from nfc.oracle.tables import Changes
from nfc.oracle.values import AbsentError, Context, MoreDraws
from nfc.sema import typed, types
from nfc.syntax.source import Span

VERDICTS = {
    typed.Forward: "forward",
    typed.ForwardVia: "via",
    typed.ForwardTable: "table",
    typed.ForwardLink: "link",
    typed.DecapTable: "decap",
    typed.Encap: "encap",
    typed.Insert: "insert",
    typed.Drop: "drop",
}
_AFTER_FORWARDING = ("out", "xmit")  # hooks that see the hop limit that leaves


def run(function: typed.Function, arrival: Arrival, router: Router) -> Result:
    """What becomes of a packet that a route hands to `function`.

    Raises MoreDraws where `arrival.draws` does not say how a sample comes out.
    """
    context = reached(function, arrival, router)
    if context is None:
        return Result("refused", memory=arrival.memory)
    for number, rule in enumerate(function.rules):
        if rule.guard is None or context.decides(rule.guard):
            result, changes = _taken(function, rule, context, router)
            return replace(
                result,
                rule=number,
                verdict=VERDICTS[type(rule.verdict)],
                memory=tables.after(arrival.memory, context, changes),
            )
    raise AssertionError("a function ends with 'otherwise'")


def reached(function: typed.Function, arrival: Arrival, router: Router) -> Context | None:
    """The packet as the function sees it; None where the kernel drops it before."""
    data = kernel.received(arrival.packet)
    srh = None
    if data is not None and function.hook == "endpoint":
        advanced = kernel.advanced(data)
        data, srh = advanced if advanced else (None, None)
        if srh is not None and srh.extensions > wire.MAX_EXTENSIONS:
            srh = None
    elif data is not None and function.hook in _AFTER_FORWARDING:
        data = kernel.forwarded(data, router) if kernel.may_leave(data[8:24]) else None
    if data is not None and function.hook != "endpoint":
        srh = wire.any_srh(data)
    return None if data is None else Context(arrival, data, srh, partial(every_sites, function))


def outcomes(function: typed.Function, arrival: Arrival, router: Router) -> Iterator[Result]:
    """The results of `run` for every way in which samples can come out."""
    try:
        yield run(function, arrival, router)
    except MoreDraws:
        for drawn in (False, True):
            more = replace(arrival, draws=(*arrival.draws, drawn))
            yield from outcomes(function, more, router)


def every_sites(function: typed.Function) -> dict[int, int]:
    """The places of every(N), in the order in which they are written, by the expression's id."""
    found: dict[int, int] = {}
    waiting: list[object] = [function.rules]
    while waiting:
        item = waiting.pop(0)
        if isinstance(item, tuple):
            waiting[:0] = item
        elif is_dataclass(item) and not isinstance(item, Span):
            waiting[:0] = [getattr(item, f.name) for f in fields(item)]
        if isinstance(item, typed.Every):
            found.setdefault(id(item), len(found))
    return found


def _taken(
    function: typed.Function, rule: typed.Rule, context: Context, router: Router
) -> tuple[Result, Changes | None]:
    """What a rule does to its packet and to tables. Where it fails for several reasons, any may
    be counted."""
    refused = edits.refusals(rule.edits, context)
    try:
        said = _records(rule, context)
        counts = tuple(
            (e.counter, context.value(e.amount)) for e in rule.edits if isinstance(e, typed.Count)
        )
        meta = {
            e.field.name: context.value(e.value) for e in rule.edits if isinstance(e, typed.SetMeta)
        }
        changes = tables.changed(rule.edits, context)
        if "no_srh" in refused:
            return Result("error", errors=refused), None
        data = edits.edited(rule.edits, context)
        _evaluate(rule.verdict, context)
        if refused:
            return Result("error", errors=refused), None
        if data is None:
            return Result("error", errors=frozenset({"srh_full"})), None
        done = Result(
            "dropped",
            events=said,
            counts=counts,
            mark=meta.get("mark", context.arrival.mark),
            priority=meta.get("priority", context.arrival.priority),
        )
        result = _verdict(function, rule.verdict, data, done, context, router)
        if result.fate == "error":
            return result, None
        result = replace(result, evicted=frozenset(changes.evicted))
        if changes.failed:
            failed = Result("error", errors=frozenset({"put_failed"}), evicted=result.evicted)
            return replace(failed, beyond=result.beyond), changes
        return replace(result, lost=changes.lost), changes
    except AbsentError as error:
        return Result("error", errors=refused | {error.reason, "header_unreadable"}), None


def _evaluate(verdict: typed.Verdict, context: Context) -> None:
    """Read what a verdict reads. Raises AbsentError."""
    match verdict:
        case typed.ForwardVia(nexthop=nexthop):
            context.value(nexthop)
        case typed.ForwardLink(link=link, peer=peer, own=own):
            for part in (link, peer, own):
                context.value(part)
        case typed.Encap() | typed.Insert():
            _srh(verdict, context)
            if isinstance(verdict, typed.Encap) and verdict.source is not None:
                context.value(verdict.source)


def _verdict(
    function: typed.Function,
    verdict: typed.Verdict,
    data: bytes,
    done: Result,
    context: Context,
    router: Router,
) -> Result:
    match verdict:
        case typed.Drop():
            return done
        case typed.Forward():
            if function.hook in _AFTER_FORWARDING:
                link = router.lookup(data[24:40], context.arrival.mark)
                return replace(done, fate="sent", link=link or "", packet=data)
            # At `in` the route is the one that the function runs on, whatever the mark says now.
            mark = done.mark if function.hook == "endpoint" else context.arrival.mark
            return _out(data, router.lookup(data[24:40], mark), done, router)
        case typed.ForwardVia(nexthop=nexthop):
            address = context.value(nexthop).to_bytes(16, "big")
            return _acted(data, router.lookup(address, done.mark), done, router, "action_failed")
        case typed.ForwardTable(table=table):
            link = router.lookup(data[24:40], done.mark, table)
            return _acted(data, link, done, router, "action_failed")
        case typed.ForwardLink(link=index):
            out = dict(router.links).get(context.value(index))
            if out is None:
                return replace(done, fate="lost")
            return replace(done, fate="sent", link=out, packet=data)
        case typed.DecapTable(table=table):
            found = kernel.find_header(data, wire.IPV6)
            if found is None or found[0] > len(data):
                return Result("error", errors=frozenset({"action_failed"}))
            inner = data[found[0] :]
            if len(inner) < wire.IPV6_SIZE:  # it leaves, too
                inner = inner[:7] + bytes(b - 1 & 0xFF for b in inner[7:8]) + inner[8:]
                return replace(done, fate="unsure", packet=inner, beyond=True)
            link = router.lookup(inner[24:40], done.mark, table)
            return _acted(inner, link, done, router, "action_failed")
        case typed.Encap(source=source) if source is not None:
            # The packet goes on to the next hop that it was on its way to.
            link = router.lookup(data[24:40], context.arrival.mark)
            address = context.value(source).to_bytes(16, "big")
            outer = kernel.encapsulated(data, _srh(verdict, context), address)
            if not link or len(outer) > router.mtu:
                return replace(done, fate="lost")
            return replace(done, fate="sent", link=link, packet=outer)
        case typed.Encap():
            outer = kernel.encapsulated(data, _srh(verdict, context), router.tunnel_source.packed)
        case typed.Insert():
            outer = kernel.inserted(data, _srh(verdict, context))
    return _acted(outer, router.lookup(outer[24:40], done.mark), done, router, "encap_failed")


def _srh(verdict: typed.Encap | typed.Insert, context: Context) -> bytes:
    """The SRH that is put before a packet; its next header is left 0. An inserted one has room
    for the packet's destination as segment 0."""
    segments = [context.value(s).to_bytes(16, "big") for s in reversed(verdict.segments)]
    if isinstance(verdict, typed.Insert):
        segments.insert(0, bytes(16))
    tlvs = b"".join(edits.built(t, context) for t in verdict.tlvs)
    body = b"".join(segments) + tlvs + wire.padding(len(tlvs))
    last = len(segments) - 1
    return bytes([0, len(body) // 8, wire.SRH_TYPE, last, last, 0, 0, 0]) + body


def _acted(data: bytes, link: str | None, done: Result, router: Router, reason: str) -> Result:
    """A verdict that a helper carries out: it says so when there is no route."""
    if link is None:
        return Result("error", errors=frozenset({reason}))
    return _out(data, link, done, router)


def _out(data: bytes, link: str | None, done: Result, router: Router) -> Result:
    packet = kernel.forwarded(data, router) if link else None
    if not link or packet is None or not kernel.may_leave(data[8:24]):
        return replace(done, fate="lost")
    return replace(done, fate="sent", link=link, packet=packet)


def _records(rule: typed.Rule, context: Context) -> tuple[bytes, ...]:
    """The events' records: a u64 that tells events apart, then fields in machine byte order
    (little-endian), addresses and bytesN in network order; then bytes of the packet, behind their
    and its length."""
    found = []
    for edit in rule.edits:
        if isinstance(edit, typed.Emit):
            record = bytearray(edit.event.size)
            record[:8] = edit.event.index.to_bytes(8, "little")
            for part, expr in zip(edit.event.fields, edit.values, strict=True):
                order = "big" if types.is_raw(part.type) else "little"
                value = context.value(expr).to_bytes(part.size, order)  # type: ignore[arg-type]
                record[part.offset : part.offset + part.size] = value
            if edit.event.packet_bytes:
                head = context.data[: edit.event.packet_bytes]
                lengths = (len(context.data), len(head))
                record += b"".join(n.to_bytes(4, "little") for n in lengths) + head
            found.append(bytes(record))
    return tuple(found)
