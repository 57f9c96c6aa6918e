"""The packet plan of one function, as frozen values that print themselves."""

from __future__ import annotations

from dataclasses import dataclass

from nfc.plan.cells import Cell
from nfc.plan.values import Region, Value


@dataclass(frozen=True)
class Search:
    """Find the first TLV of `type` of at least `size` bytes (type and length included)."""

    slot: int
    type: int
    size: int
    name: str


# ---- edits ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class SetBits:
    """Overwrite bits of a region. The merge pass turns these into stores."""

    line: int
    region: Region
    bit: int
    value: Value


@dataclass(frozen=True)
class Store:
    """Overwrite `length` bytes of a region from `offset` in one bpf_lwt_seg6_store_bytes."""

    line: int
    region: Region
    offset: int
    length: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Append:
    """Put `length` bytes of TLVs behind the last TLV, in place of the padding that is there,
    and pad to a multiple of 8: one bpf_lwt_seg6_adjust_srh, one bpf_lwt_seg6_store_bytes."""

    line: int
    length: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class EmitField:
    """A field of an event's record: place and size in bytes, machine byte order."""

    offset: int
    size: int
    value: Value


@dataclass(frozen=True)
class Emit:
    """Send an event's record of `size` bytes, once the packet's fate is settled."""

    line: int
    name: str
    index: int
    size: int
    fields: tuple[EmitField, ...]


@dataclass(frozen=True)
class SetMeta:
    """Write 32 bits at `offset` bytes of struct __sk_buff."""

    line: int
    name: str
    offset: int
    value: Value


Edit = SetBits | Store | Append | Emit | SetMeta


# ---- verdicts -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Return:
    """Return a code: 0 BPF_OK, 2 BPF_DROP (uapi/linux/bpf.h, enum bpf_ret_code)."""

    line: int
    code: int


@dataclass(frozen=True)
class Action:
    """bpf_lwt_seg6_action with an address or a table, then BPF_REDIRECT.

    `action` is a SEG6_LOCAL_ACTION_* number (uapi/linux/seg6_local.h).
    """

    line: int
    action: int
    name: str
    argument: Value


@dataclass(frozen=True)
class Encap:
    """bpf_lwt_push_encap of a whole SRH of `length` bytes, then a new route lookup."""

    line: int
    length: int
    cells: tuple[Cell, ...]


Verdict = Return | Action | Encap


@dataclass(frozen=True)
class Rule:
    """A guard (None: always), edits, a verdict; `counter` is its place in the counters."""

    line: int
    counter: int
    guard: Value | None
    edits: tuple[Edit, ...]
    verdict: Verdict


@dataclass(frozen=True)
class Plan:
    """What one function does to a packet."""

    name: str
    hook: str
    line: int
    searches: tuple[Search, ...]
    rules: tuple[Rule, ...]
    params_size: int
    params_default: bytes
    errors: tuple[str, ...]  # counters behind those of the rules, in this order
    sites: int = 0  # places that count packets for every(n); their counters come last

    def error_counter(self, name: str) -> int:
        """The place of an error's counter among all counters."""
        return len(self.rules) + self.errors.index(name)

    def site_counter(self, site: int) -> int:
        """The place of an every(n)'s count among all counters."""
        return len(self.rules) + len(self.errors) + site

    def __str__(self) -> str:
        """The plan as text (`--emit plan`)."""
        out = [f"{self.hook} {self.name}"]
        for search in self.searches:
            out.append(
                f"  search tlv{search.slot}: first {search.name} "
                f"(type {search.type}, {search.size} bytes or longer)"
            )
        for rule in self.rules:
            out.append(f"  rule at line {rule.line}, counter {rule.counter}")
            if rule.guard is not None:
                out.append(f"    if {rule.guard}")
            for edit in rule.edits:
                out.extend(f"    {line}" for line in _edit_text(edit))
            out.extend(f"    {line}" for line in _verdict_text(rule.verdict))
        out.append(f"  errors: {', '.join(self.errors) or 'none'}")
        return "\n".join(out)


def _edit_text(edit: Edit) -> list[str]:
    match edit:
        case SetBits(_, region, bit, value):
            return [f"set {region}[{bit // 8}.{bit % 8}, {value.bits}] = {value}"]
        case SetMeta(_, name, _, value):
            return [f"set packet.{name} = {value}"]
        case Store(_, region, offset, length, cells):
            return [f"store {length} bytes at {region}+{offset}", *_cell_text(cells)]
        case Append(_, length, cells):
            return [f"append {length} bytes of TLVs, and padding", *_cell_text(cells)]
        case Emit(_, name, _, size, fields):
            return [
                f"emit {name}, {size} bytes",
                *(f"  {f.offset}+{f.size}: {f.value}" for f in fields),
            ]


def _verdict_text(verdict: Verdict) -> list[str]:
    match verdict:
        case Return(_, code):
            return ["drop" if code == 2 else "forward"]
        case Action(_, _, name, argument):
            return [f"{name} {argument}"]
        case Encap(_, length, cells):
            return [f"encap with an SRH of {length} bytes", *_cell_text(cells)]


def _cell_text(cells: tuple[Cell, ...]) -> list[str]:
    return [f"  {piece}" for cell in cells for piece in cell.pieces]
