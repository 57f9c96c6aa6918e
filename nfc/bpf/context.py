"""What programs at the hooks may read and write of their context, struct __sk_buff.

Fields and offsets: uapi/linux/bpf.h. Who may touch what: lwt_is_valid_access and
bpf_skb_is_valid_access, net/core/filter.c. The four hooks have the same rules.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from nfc.bpf.version import KernelVersion

_FIRST: Final = KernelVersion(4, 10)
PLAIN, PACKET, PACKET_END, SOCKET = "number", "packet", "packet end", "socket"


@dataclass(frozen=True, slots=True)
class Field:
    """A field, or an array of u32: `off` and `size` in bytes.

    `narrow`: parts of it may be read, at offsets that are multiples of the part's size.
    """

    name: str
    off: int
    size: int
    readable: bool = True
    writable: bool = False
    narrow: bool = True
    since: KernelVersion = _FIRST
    meaning: str = PLAIN


def _words(*names: str) -> tuple[Field, ...]:
    return tuple(Field(name, 4 * i, 4) for i, name in enumerate(names))


SK_BUFF: Final = (
    *_words("len", "pkt_type"),
    Field("mark", 8, 4, writable=True),
    Field("queue_mapping", 12, 4),
    Field("protocol", 16, 4),
    Field("vlan_present", 20, 4),
    Field("vlan_tci", 24, 4),
    Field("vlan_proto", 28, 4),
    Field("priority", 32, 4, writable=True),
    Field("ingress_ifindex", 36, 4),
    Field("ifindex", 40, 4),
    Field("tc_index", 44, 4),
    Field("cb", 48, 20, writable=True),
    Field("hash", 68, 4),
    Field("tc_classid", 72, 4, readable=False),
    Field("data", 76, 4, narrow=False, meaning=PACKET),
    Field("data_end", 80, 4, narrow=False, meaning=PACKET_END),
    Field("napi_id", 84, 4),
    Field("family … local_port", 88, 52, readable=False),
    Field("data_meta", 140, 4, readable=False),
    Field("flow_keys", 144, 8, readable=False),
    Field("tstamp", 152, 8, readable=False),
    Field("wire_len", 160, 4, readable=False),
    Field("gso_segs", 164, 4, since=KernelVersion(5, 1)),
    Field("sk", 168, 8, narrow=False, since=KernelVersion(5, 1), meaning=SOCKET),
    Field("gso_size", 176, 4, since=KernelVersion(5, 7)),
    Field("tstamp_type", 180, 4, readable=False),
    Field("hwtstamp", 184, 8, readable=False),
)
SIZE: Final = 192


def field_at(off: int) -> Field | None:
    """The field that byte `off` belongs to."""
    return next((f for f in SK_BUFF if f.off <= off < f.off + f.size), None)


def access(off: int, size: int, write: bool, version: KernelVersion) -> tuple[Field | None, str]:
    """The field that `size` bytes at `off` are of, and why they may not be touched (empty: they
    may)."""
    field = field_at(off)
    if field is None or field.since > version:
        return None, f"the context has no field at byte {off}"
    if write and not field.writable:
        return field, f"skb->{field.name} may not be written by programs at these hooks"
    if not field.readable:
        return field, f"skb->{field.name} may not be read by programs at these hooks"
    inside = off % size == 0 and off + size <= field.off + field.size
    if field.name == "cb":
        return field, "" if inside else "skb->cb is accessed by whole, aligned words"
    if field.narrow and not write:
        ok = inside and size <= 4
    else:
        ok = off == field.off and size == field.size
    return field, "" if ok else f"skb->{field.name} is {field.size} bytes, and is accessed whole"
