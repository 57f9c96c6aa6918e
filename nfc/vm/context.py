"""struct __sk_buff as a machine keeps it: who may touch what is in nfc.bpf.context."""

from __future__ import annotations

import struct

from nfc.bpf import context
from nfc.bpf.version import KernelVersion
from nfc.vm.memory import FaultError
from nfc.vm.packet import ETH_P_IPV6, Skb

VERSION = KernelVersion(6, 18)
LEN, PKT_TYPE, MARK, QUEUE, PROTOCOL = 0, 4, 8, 12, 16
VLAN_PROTO, PRIORITY, INGRESS, IFINDEX, CB, HASH, DATA, DATA_END = 28, 32, 36, 40, 48, 68, 76, 80
CB_SIZE = 20
SOCKET = 168
SIZES = (1, 2, 4, 8)


def _allowed(write: bool) -> frozenset[tuple[int, int]]:
    return frozenset(
        (off, size)
        for off in range(context.SIZE)
        for size in SIZES
        if off + size <= context.SIZE and not context.access(off, size, write, VERSION)[1]
    )


READABLE, WRITABLE = _allowed(False), _allowed(True)


class Context:
    """The fields as bytes, for both engines; data and data_end come from the packet."""

    def __init__(self, skb: Skb) -> None:
        """All zero."""
        self.raw = bytearray(context.SIZE)
        self.skb = skb

    def reset(self, mark: int, priority: int, ingress: int, ifindex: int, hash_: int) -> None:
        """As a packet arrives: bpf_prog_run_save_cb gives the program a cb of zeros."""
        self.raw[:] = bytes(context.SIZE)
        put = struct.Struct("<I").pack_into
        put(self.raw, MARK, mark)
        put(self.raw, PRIORITY, priority)
        put(self.raw, INGRESS, ingress)
        put(self.raw, IFINDEX, ifindex)
        put(self.raw, HASH, hash_)
        self.protocol = ETH_P_IPV6
        self.resized()

    def get(self, field: int) -> int:
        """A u32."""
        return int.from_bytes(self.raw[field : field + 4], "little")

    def put(self, field: int, value: int) -> None:
        """Set a u32."""
        self.raw[field : field + 4] = value.to_bytes(4, "little")

    @property
    def protocol(self) -> int:
        """The EtherType, as a number; programs see it in network order."""
        return int.from_bytes(self.raw[PROTOCOL : PROTOCOL + 2], "big")

    @protocol.setter
    def protocol(self, value: int) -> None:
        self.raw[PROTOCOL : PROTOCOL + 2] = value.to_bytes(2, "big")

    def resized(self) -> None:
        """The packet has another length now."""
        self.put(LEN, len(self.skb))

    def load(self, off: int, size: int) -> int:
        """What the program reads. Raises FaultError."""
        if off == DATA and size == 4:
            return self.skb.data
        if off == DATA_END and size == 4:
            return self.skb.data_end
        if (off, size) not in READABLE:
            raise FaultError(self.complaint(off, size, False))
        return int.from_bytes(self.raw[off : off + size], "little")

    def store(self, off: int, size: int, value: int) -> None:
        """What the program writes. Raises FaultError."""
        if (off, size) not in WRITABLE:
            raise FaultError(self.complaint(off, size, True))
        self.raw[off : off + size] = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")

    def complaint(self, off: int, size: int, write: bool) -> str:
        """Why an access is not allowed."""
        why = context.access(off, size, write, VERSION)[1] if 0 <= off < context.SIZE else ""
        what = "writes" if write else "reads"
        return f"{what} {size} bytes of the context at byte {off}" + (f": {why}" if why else "")
