"""Edits and verdicts of a typed program, as an operator would say them."""

from __future__ import annotations

from dataclasses import replace

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
    """A TLV to be built: the fields that the source gives, and defaults that are not zero."""
    given = [
        f"{part.name} = {words.value(expr)}"
        for part, expr in value.values
        if part.name is not None and (_written(expr, value) or not _zero(expr))
    ]
    name = f"{words.article(value.tlv.name)} TLV"
    return name + (f" ({', '.join(given)})" if given else "")


def _zero(expr: typed.Expr) -> bool:
    return isinstance(expr, typed.Const) and expr.value == 0


def _written(expr: typed.Expr, value: typed.TlvValue) -> bool:
    """Whether a field's value stands in the source: a default has the place of the whole."""
    inside, whole = expr.span, value.span
    same = inside.source == whole.source
    return same and whole.start < inside.start and inside.end <= whole.end


def edit(one: typed.Edit) -> str:
    """What an edit does; the packet is the subject that is left out."""
    match one:
        case typed.SetHeader(field=part, value=value):
            return _set(typed.HeaderRead(one.span, part.type, part), value)
        case typed.SetMeta(field=meta, value=value):
            return f"{_set(typed.MetaRead(one.span, meta.type, meta), value)}, in this router"
        case typed.SetTlv(tlv=tlv, field=part, value=value):
            return _set(typed.TlvRead(one.span, part.type, tlv, part), value)
        case typed.AddTlv(value=made, where=where, anchor=anchor):
            place = {"first": "as the first TLV", "last": "behind the last TLV"}.get(where)
            if place is None and anchor is not None:
                place = f"{'before' if where == 'before' else 'behind'} {words.tlv(anchor)}"
            return f"adds {built(made)} {place}"
        case typed.RemoveTlv(tlv=tlv):
            return f"removes {words.tlv(tlv)}"
        case typed.RemoveAll(tlv=tlv):
            return f"removes all TLVs of type {tlv.number} ({tlv.name})"
        case typed.RemoveHmac():
            return "removes the HMAC, and the flag H with it"
        case typed.ReplaceTlv(tlv=tlv, value=made):
            return f"replaces {words.tlv(tlv)} with {built(made)}"
        case typed.SetEntry(entry=entry, member=member, value=value, atomic=atomic):
            return _set(typed.EntryRead(one.span, member.type, entry, member), value, atomic)
        case typed.SetState(state=state, value=value, atomic=atomic):
            return _set(typed.StateRead(one.span, state.member.type, state), value, atomic)
        case typed.Put(table=table, key=key, values=values):
            given = [
                f"{m.name} = {words.value(v)}"
                for m, v in zip(table.fields, values, strict=True)
                if not _zero(v)
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


def _set(old: typed.Expr, new: typed.Expr, atomic: str | None = None) -> str:
    """A new value in the place that `old` reads; what is made of the old one, as a change."""
    place = words.value(old)
    if atomic is not None:
        return _CHANGED[atomic].format(words.value(new), place) + ", in one step for all CPUs"
    if words.is_flag(old) and isinstance(new, typed.Const):
        return f"{'sets' if new.value else 'clears'} {place}"
    if (
        isinstance(new, typed.Arith)
        and new.op in ("+", "-")
        and new.left == replace(old, span=new.left.span)
    ):
        return _CHANGED[new.op].format(words.value(new.right), place)
    return f"sets {place} to {words.value(new)}"


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
            return f"forwards it straight to {words.value(nexthop)}, a neighbour"
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
            return (
                f"puts an SRH into it that leads through {_path(segments)} and then to its "
                f"destination{_with(tlvs)}"
            )


def _path(segments: tuple[typed.Expr, ...]) -> str:
    return ", then ".join(words.value(s) for s in segments)


def _with(tlvs: tuple[typed.TlvValue, ...]) -> str:
    return f", with {' and '.join(built(t) for t in tlvs)}" if tlvs else ""
