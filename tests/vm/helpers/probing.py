"""Probes of helpers: a few instructions each, put together to one program a hook.

The program looks up which probe it is to be, does that one's instructions, and gives back its
verdict. What a helper gave lies in map `log` afterwards. In a probe r6 is the context and r7 the
log; r1 to r5 and r8, r9 are free, and what lies on the stack is the probe's own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from nfc.bpf.helpers import ALL, HELPERS
from nfc.bpf.isa import LD_IMM64
from nfc.bpf.isa import Instruction as I
from nfc.bpf.object import (
    DataSection,
    FuncInfo,
    MapDef,
    Object,
    Program,
    Relocation,
    RelocationKind,
)

SLOTS = 16  # of the log: a u64 each
RAN = SLOTS - 1  # holds the probe's number and 1
DROP = 2
LOW = 1 << 31  # what an immediate holds, with its sign


@dataclass(frozen=True)
class Ref:
    """A ld_imm64 that the loader fills in: a map's address, a place in .rodata, a function."""

    dst: int
    kind: RelocationKind
    symbol: str
    addend: int = 0

    slots = 2


Item = I | Ref
Code = Sequence[Any]  # items, and such sequences again


# ---- instructions -------------------------------------------------------------------------------


def mov(dst: int, imm: int) -> I:
    return I(0xB7, dst, 0, 0, imm)


def copy(dst: int, src: int) -> I:
    return I(0xBF, dst, src)


def wide(dst: int, value: int) -> I:
    """A 64-bit number."""
    low, high = struct.unpack("<ii", (value & (1 << 64) - 1).to_bytes(8, "little"))
    return I(LD_IMM64, dst, 0, 0, low, high)


def add(dst: int, imm: int) -> I:
    return I(0x07, dst, 0, 0, imm)


def load(size: int, dst: int, src: int, off: int) -> I:
    return I({1: 0x71, 2: 0x69, 4: 0x61, 8: 0x79}[size], dst, src, off)


def store(size: int, dst: int, off: int, src: int) -> I:
    return I({1: 0x73, 2: 0x6B, 4: 0x63, 8: 0x7B}[size], dst, src, off)


def put(size: int, off: int, imm: int) -> I:
    """A number onto the stack."""
    return I({1: 0x72, 2: 0x6A, 4: 0x62, 8: 0x7A}[size], 10, 0, off, imm)


def call(helper: int) -> I:
    return I(0x85, 0, 0, 0, helper)


def unless(register: int, value: int, skipped: int) -> I:
    """Go on; but past `skipped` slots where the register is the value."""
    return I(0x15, register, 0, skipped, value)


def to_map(dst: int, name: str) -> Ref:
    return Ref(dst, RelocationKind.MAP, name)


def to_text(dst: int, at: int) -> Ref:
    return Ref(dst, RelocationKind.DATA, ".rodata", at)


def to_function(dst: int, name: str) -> Ref:
    return Ref(dst, RelocationKind.FUNC, name)


def to_stack(dst: int, off: int) -> list[I]:
    return [copy(dst, 10), add(dst, off)]


def onto_stack(off: int, content: bytes) -> list[I]:
    """Bytes onto the stack, zeros behind them up to a multiple of 4."""
    content += bytes(-len(content) % 4)
    found, at = [], 0
    while at < len(content):
        whole = int.from_bytes(content[at : at + 8], "little", signed=True)
        size = 8 if (off + at) % 8 == 0 and len(content) - at >= 8 and -LOW <= whole < LOW else 4
        found.append(put(size, off + at, struct.unpack_from("<i", content, at)[0]))
        at += size
    return found


def context(dst: int = 1) -> I:
    return copy(dst, 6)


def keep(slot: int, register: int = 0) -> I:
    """Put a register into the log."""
    return store(8, 7, 8 * slot, register)


def keep_whether(slot: int) -> list[I]:
    """Put 1 into the log where r0 is a pointer, 0 where it is null."""
    return [unless(0, 0, 1), mov(0, 1), keep(slot)]


def flat(code: Code) -> list[Item]:
    """A probe's instructions, written down as lists in lists."""
    found: list[Item] = []
    for one in code:
        if isinstance(one, I | Ref):
            found.append(one)
        else:
            found += flat(one)
    return found


# ---- probes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Probe:
    """One call of a helper, or several. `results`: the slots of the log that hold what the helper
    gave (for `pointer`, 1 or 0 for null). `loose`: slots with a clock's time or the like, which
    are compared by `tolerances` (a slot's kind). `hooks`: all that have the helper, if empty."""

    helper: int
    name: str
    code: Code = field(repr=False)
    hooks: tuple[str, ...] = ()
    packet: str = "srh"
    verdict: int | None = 0  # None: what r9 holds
    results: tuple[int, ...] = (0,)
    loose: dict[int, str] = field(default_factory=dict)

    def at(self, hook: str) -> bool:
        """Whether it is tried at a hook."""
        return hook in HELPERS[self.helper].hooks and (not self.hooks or hook in self.hooks)

    @property
    def maps(self) -> tuple[str, ...]:
        """The maps that it names."""
        found = [r.symbol for r in flat(self.code) if isinstance(r, Ref)]
        found += [INNER[name] for name in found if name in INNER]
        known = {*INNER.values(), *(m.name for m in MAPS)}
        return tuple(dict.fromkeys(n for n in found if n in known))

    def __str__(self) -> str:
        """`csum_diff, odd size`."""
        return f"{HELPERS[self.helper].name.removeprefix('bpf_')}, {self.name}"


# ---- what all programs have ---------------------------------------------------------------------

MAPS = (
    MapDef("select", 2, 4, 4, 1),
    MapDef("log", 2, 4, 8 * SLOTS, 1),
    MapDef("array", 2, 4, 8, 4),
    MapDef("percpu_array", 6, 4, 8, 2),
    MapDef("hash", 1, 4, 8, 2),
    MapDef("percpu_hash", 5, 4, 8, 2),
    MapDef("lru", 9, 4, 8, 64),
    MapDef("percpu_lru", 10, 4, 8, 64),
    MapDef("trie", 11, 8, 8, 2, 1),
    MapDef("queue", 22, 0, 8, 2),
    MapDef("stack", 23, 0, 8, 2),
    MapDef("ring", 27, 0, 0, 4096),
    MapDef("perf", 4, 4, 4, 16),
    MapDef("programs", 3, 4, 4, 4),
    MapDef("groups", 8, 4, 4, 4),
    MapDef("bloom", 30, 0, 8, 64),
    MapDef("given", 2, 4, 128, 1),
    MapDef("outer", 12, 4, 4, 2, inner=MapDef("inner_array", 2, 4, 8, 2)),
    MapDef("outer_hash", 13, 4, 4, 2, inner=MapDef("inner_hash", 1, 4, 8, 2)),
)
INNER = {m.name: m.inner.name for m in MAPS if m.inner}  # what lies at key 1 of maps of maps
HASHES = ("hash", "percpu_hash", "lru", "percpu_lru", "inner_hash")
START = {  # what is in maps when a probe begins; other keys of hashes are not there
    **{name: {(1).to_bytes(4, "little"): (11).to_bytes(8, "little")} for name in HASHES},
    "trie": {bytes((8, 0, 0, 0, 10, 0, 0, 0)): (7).to_bytes(8, "little")},
    "array": {i.to_bytes(4, "little"): (i * 3).to_bytes(8, "little") for i in range(4)},
    "percpu_array": {i.to_bytes(4, "little"): bytes(8) for i in range(2)},
    "inner_array": {i.to_bytes(4, "little"): (i * 5).to_bytes(8, "little") for i in range(2)},
}

BTF_INT, BTF_PROTO, BTF_STATIC, BTF_GLOBAL = 1, 2, 3, 4


def btf() -> bytes:
    """Types for functions: a static one, which helpers call, and a global one, which kernels run
    (Documentation/bpf/btf.rst)."""
    strings = b"\0int\0called\0f\0"
    kinds = struct.pack("<IIII", 1, 1 << 24, 4, 1 << 24 | 32)
    kinds += struct.pack("<III", 0, 13 << 24, BTF_INT)
    kinds += struct.pack("<III", strings.index(b"called"), 12 << 24, BTF_PROTO)
    kinds += struct.pack("<III", strings.index(b"f\0"), 12 << 24 | 1, BTF_PROTO)
    head = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(kinds), len(kinds), len(strings))
    return head + kinds + strings


def assembled(name: str, code: Code, type_id: int = BTF_STATIC, section: str = ".text") -> Program:
    """A function."""
    items, relocations = flat(code), []
    encoded = b""
    for one in items:
        if isinstance(one, Ref):
            relocations.append(Relocation(len(encoded), one.kind, one.symbol, one.addend))
        encoded += (I(LD_IMM64, one.dst) if isinstance(one, Ref) else one).encode()
    return Program(name, section, encoded, tuple(relocations), (FuncInfo(0, type_id),))


LOG = (put(4, -4, 0), to_stack(2, -4), to_map(1, "log"), call(1))


def program(chosen: Iterable[tuple[int, Probe]]) -> Program:
    """The program of some probes with their numbers."""
    start = [
        copy(6, 1), put(4, -4, 0), to_stack(2, -4), to_map(1, "select"), call(1),
        I(0x55, 0, 0, 2), mov(0, DROP), I(0x95), load(4, 8, 0, 0),
        LOG, I(0x55, 0, 0, 2), mov(0, DROP), I(0x95), copy(7, 0),
    ]  # fmt: skip
    body: list[Item] = flat(start)
    for number, probe in chosen:
        end = [copy(0, 9)] if probe.verdict is None else [mov(0, probe.verdict)]
        block = [I(0x7A, 7, 0, 8 * RAN, number + 1), *flat(probe.code), *end, I(0x95)]
        body += [I(0x55, 8, 0, sum(i.slots for i in block), number), *block]
    return assembled("f", [*body, mov(0, DROP), I(0x95)], BTF_GLOBAL, "lwt")


def to_object(
    chosen: Iterable[tuple[int, Probe]], others: Sequence[Program], text: bytes
) -> Object:
    """Everything in one object."""
    data = (DataSection(".rodata", text, True),)
    return Object((program(chosen), *others), MAPS, data, "GPL", btf())


HOOKS = ALL
