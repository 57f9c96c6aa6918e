"""Edits and verdicts of a typed program, as an operator would say them."""

from __future__ import annotations

from nfc.explain import words
from nfc.sema import typed
from nfc.sema.hooks import VERDICTS
from nfc.sema.verdicts import TABLES

_TABLES = {number: name for name, number in TABLES.items()}
_CHANGED = {"+": "adds {} to {}", "-": "takes {} from {}", "&": "keeps the bits {} of {}",
            "|": "sets the bits {} in {}", "^": "flips the bits {} in {}"}  # fmt: skip
HOOKS = {
    "endpoint": "Runs at a SID, on a route with action End.BPF, once the kernel has advanced the "
    "SRH: the destination is the next segment.",
    "in": "Runs on packets that the router forwards by its route, as they come in.",
    "out": "Runs on packets that leave by its route, the router's own too.",
    "xmit": "Runs on packets that leave by its route, the router's own too, right before the link "
    "layer.",
}


def built(value: typed.TlvValue) -> str:
    """A TLV to be built: its fields that are not known to be zero."""
    given = [
        f"{part.name} = {words.value(expr)}"
        for part, expr in value.values
        if part.name is not None and not (isinstance(expr, typed.Const) and expr.value == 0)
    ]
    return value.tlv.name + (f" with {', '.join(given)}" if given else "")


def edit(one: typed.Edit) -> str:
    """What an edit does; the packet is the subject that is left out."""
    match one:
        case typed.SetHeader(field=part, value=value):
            return f"sets {words.field(part)} to {words.value(value)}"
        case typed.SetMeta(field=meta, value=value):
            return f"sets the packet's {meta.name} in this router to {words.value(value)}"
        case typed.SetTlv(tlv=tlv, field=part, value=value):
            return f"sets {words.tlv(tlv)}'s {part.name} to {words.value(value)}"
        case typed.AddTlv(value=made, where=where, anchor=anchor):
            place = {"first": "as the first TLV", "last": "behind the last TLV"}.get(where)
            if place is None and anchor is not None:
                place = f"{'before' if where == 'before' else 'behind'} {words.tlv(anchor)}"
            return f"adds a TLV {built(made)}, {place}"
        case typed.RemoveTlv(tlv=tlv):
            return f"removes {words.tlv(tlv)}"
        case typed.RemoveAll(tlv=tlv):
            return f"removes all TLVs of type {tlv.number} ({tlv.name})"
        case typed.RemoveHmac():
            return "removes the HMAC, and the flag H with it"
        case typed.ReplaceTlv(tlv=tlv, value=made):
            return f"replaces {words.tlv(tlv)} with a TLV {built(made)}"
        case typed.SetEntry(entry=entry, member=member, value=value, atomic=atomic):
            return _changed(f"{member.name} in {entry.table.name}", value, atomic)
        case typed.SetState(state=state, value=value, atomic=atomic):
            return _changed(f"state {state.name}", value, atomic)
        case typed.Put(table=table, key=key, values=values):
            given = [
                f"{m.name} = {words.value(v)}"
                for m, v in zip(table.fields, values, strict=True)
                if not (isinstance(v, typed.Const) and v.value == 0)
            ]
            with_ = f" with {', '.join(given)}" if given else ", all zero"
            return f"puts an entry {words.table_key(table, key)}{with_}"
        case typed.RemoveEntry(table=table, key=key):
            return f"removes the entry {words.table_key(table, key)}, if there is one"
        case typed.CountKey(table=table, key=key, amount=amount):
            return f"adds {words.value(amount)} to counter {words.table_key(table, key)}"
        case typed.Emit(event=event, values=values):
            given = [
                f"{m.name} = {words.value(v)}"
                for m, v in zip(event.fields, values, strict=True)
            ]  # fmt: skip
            if event.packet_bytes:
                given.append(f"the packet's first {event.packet_bytes} bytes")
            return f"reports {event.name}" + (f": {', '.join(given)}" if given else "")
        case typed.Count(counter=counter, amount=amount):
            return f"adds {words.value(amount)} to counter {counter}"


def _changed(what: str, value: typed.Expr, atomic: str | None) -> str:
    if atomic is None:
        return f"sets {what} to {words.value(value)}"
    return _CHANGED[atomic].format(words.value(value), what) + ", in one step for all CPUs"


def verdict(one: typed.Verdict, hook: str) -> str:
    """What becomes of the packet, with the behaviour of RFC 8986 that it is."""
    behaviour = VERDICTS[type(one).__name__][1]
    if hook != "endpoint":
        transit = {"Encap": "H.Encaps", "Insert": "H.Insert"}
        behaviour = transit.get(type(one).__name__, "")
    said = _verdict(one, hook)
    return f"{said} ({behaviour})" if behaviour else said


def _verdict(one: typed.Verdict, hook: str) -> str:
    match one:
        case typed.Forward():
            return (
                "forwards it to the next segment"
                if hook == "endpoint"
                else "lets it go on by its route"
            )
        case typed.Drop():
            return "drops it"
        case typed.ForwardVia(nexthop=nexthop):
            return f"forwards it to the neighbour {words.value(nexthop)}"
        case typed.ForwardTable(table=table):
            return f"forwards it by routing table {_TABLES.get(table, table)}"
        case typed.ForwardLink(link=link, peer=peer, own=own):
            return (
                f"sends it out of interface {words.value(link)}, in a frame to "
                f"{words.value(peer)} from {words.value(own)}"
            )
        case typed.DecapTable(table=table):
            return (
                "takes the outer headers off and forwards the packet inside by routing table "
                f"{_TABLES.get(table, table)}"
            )
        case typed.Encap(segments=segments, tlvs=tlvs, source=source):
            from_ = f" from {words.value(source)}" if source is not None else ""
            return f"puts it into an outer packet{from_} through {_path(segments)}{_with(tlvs)}"
        case typed.Insert(segments=segments, tlvs=tlvs):
            return f"sends it through {_path(segments)} first, by an SRH put in{_with(tlvs)}"


def _path(segments: tuple[typed.Expr, ...]) -> str:
    return ", then ".join(words.value(s) for s in segments)


def _with(tlvs: tuple[typed.TlvValue, ...]) -> str:
    return "".join(f", with a TLV {built(t)}" for t in tlvs)
