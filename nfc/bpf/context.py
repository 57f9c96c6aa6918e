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


# struct bpf_sock as programs see it of a socket that may be no full one: offset, bytes, whether
# parts of it may be read (bpf_sock_common_is_valid_access, bpf_sock_is_valid_access)
_SOCK: Final = (
    ("bound_dev_if", 0, 4, False), ("family", 4, 4, True), ("src_ip4", 24, 4, True),
    ("src_ip6", 28, 16, True), ("src_port", 44, 4, True), ("dst_ip4", 52, 4, True),
    ("dst_ip6", 56, 16, True), ("state", 72, 4, True), ("rx_queue_mapping", 76, 4, True),
)  # fmt: skip
_DST_PORT: Final = 48  # 2 bytes; before 5.18 all of 4


def sock_access(off: int, size: int) -> str:
    """Why `size` bytes at `off` of a socket may not be read (empty: they may)."""
    if off == _DST_PORT:
        return "" if size == 4 else "bpf_sock->dst_port is accessed whole"
    for name, at, total, narrow in _SOCK:
        if at <= off < at + total:
            inside = off % size == 0 and size <= 4 and (narrow or size == 4)
            return "" if inside else f"bpf_sock->{name} is accessed by whole, aligned words"
    return f"the check does not follow byte {off} of a socket"


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
