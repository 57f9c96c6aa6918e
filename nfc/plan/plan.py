"""The packet plan of one function, as frozen values that print themselves."""

from __future__ import annotations

from dataclasses import dataclass

from nfc.plan.cells import Cell
from nfc.plan.values import Key, Placed, Region, Value


@dataclass(frozen=True)
class Search:
    """Find the first TLV of `type` of at least `size` bytes (type and length included), or the
    first behind the one that search `after` finds."""

    slot: int
    type: int
    size: int
    name: str
    after: int | None = None


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
class Block:
    """Bytes of one or more TLVs to be built."""

    length: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Resize:
    """One edit that changes the SRH's size; the rebuild pass joins those of a rule.

    `where` is first, last, before, after, remove, replace (at the TLV of search `slot`) or
    remove_all (`type`).
    """

    line: int
    where: str
    slot: int | None
    type: int | None
    block: Block | None


@dataclass(frozen=True)
class Point:
    """What happens at the TLV of search `slot`: built before it, after it; whether it goes."""

    slot: int
    before: Block | None
    after: Block | None
    removed: bool


@dataclass(frozen=True)
class Rebuild:
    """The TLVs that leave: those of the packet without padding, changed at `points`, without
    those of `gone` types, between `first` and `last`; padded to a multiple of 8. `unsigns` takes
    the HMAC away: the flag H does not stop it."""

    line: int
    first: Block | None
    last: Block | None
    points: tuple[Point, ...]
    gone: tuple[int, ...]
    unsigns: bool = False

    @property
    def appends(self) -> bool:
        """Whether all it does is to add behind the last TLV."""
        return not (self.first or self.points or self.gone)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """Everything that is built."""
        found = [self.first, self.last]
        for point in self.points:
            found += [point.before, point.after]
        return tuple(block for block in found if block is not None)


@dataclass(frozen=True)
class Emit:
    """Send an event's record of `size` bytes, once the packet's fate is settled; behind it up to
    `packet_bytes` bytes of the packet as it arrived, after its length in 4 bytes and theirs in 4.
    """

    line: int
    name: str
    index: int
    size: int
    fields: tuple[Placed, ...]
    packet_bytes: int


@dataclass(frozen=True)
class SetMember:
    """Write a value in map memory; with `atomic` (+ - & | ^) change it by the value, in one step
    for all CPUs."""

    line: int
    region: Region
    place: Placed
    atomic: str | None


@dataclass(frozen=True)
class Put:
    """Put a whole entry of `size` bytes into a map."""

    line: int
    key: Key
    size: int
    fields: tuple[Placed, ...]


@dataclass(frozen=True)
class Delete:
    """Take an entry out of a map, if it is there."""

    line: int
    key: Key


@dataclass(frozen=True)
class CountKey:
    """Add to the count of this CPU at a key, which is made if it is not there."""

    line: int
    key: Key
    amount: Value


@dataclass(frozen=True)
class SetMeta:
    """Write 32 bits at `offset` bytes of struct __sk_buff."""

    line: int
    name: str
    offset: int
    value: Value


@dataclass(frozen=True)
class Count:
    """Add to the named counter `index`, an unsigned 64-bit number of this CPU."""

    line: int
    name: str
    index: int
    amount: Value


Edit = (
    SetBits
    | Store
    | Resize
    | Rebuild
    | Emit
    | SetMeta
    | Count
    | SetMember
    | Put
    | Delete
    | CountKey
)


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
    """Add a whole SRH of `length` bytes, `inline` in the packet's own header or in a new outer
    one: bpf_lwt_push_encap at transit hooks, bpf_lwt_seg6_action at the endpoint. With `outer`
    that header is the program's too, and `cells` begin with its 40 bytes."""

    line: int
    inline: bool
    length: int
    cells: tuple[Cell, ...]
    outer: bool = False


@dataclass(frozen=True)
class Redirect:
    """Put `cells`, an Ethernet header, before the packet and send that out of a link:
    bpf_skb_change_head, bpf_skb_store_bytes, bpf_redirect."""

    line: int
    link: Value
    length: int
    cells: tuple[Cell, ...]


Verdict = Return | Action | Encap | Redirect


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
    counters: tuple[str, ...] = ()  # named ones, behind those of the errors
    sites: int = 0  # places that count packets for every(n); their counters come last

    def error_counter(self, name: str) -> int:
        """The place of an error's counter among all counters."""
        return len(self.rules) + self.errors.index(name)

    @property
    def rebuilds(self) -> bool:
        """Whether it needs memory to rebuild TLVs in."""
        return any(isinstance(e, Rebuild) for r in self.rules for e in r.edits)

    @property
    def walks(self) -> bool:
        """Whether it walks TLVs."""
        return bool(self.searches) or self.rebuilds

    @property
    def counter_count(self) -> int:
        """How many counters there are."""
        return len(self.rules) + len(self.errors) + len(self.counters) + self.sites

    def named_counter(self, index: int) -> int:
        """The place of a named counter among all counters."""
        return len(self.rules) + len(self.errors) + index

    def site_counter(self, site: int) -> int:
        """The place of an every(n)'s count among all counters."""
        return len(self.rules) + len(self.errors) + len(self.counters) + site

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
        case Count(_, name, _, amount):
            return [f"count {name} by {amount}"]
        case SetMeta(_, name, _, value):
            return [f"set packet.{name} = {value}"]
        case Store(_, region, offset, length, cells):
            return [f"store {length} bytes at {region}+{offset}", *_cell_text(cells)]
        case SetMember(_, region, place, atomic):
            return [f"set {region}{{{place.offset}+{place.size}}} {atomic or ''}= {place.value}"]
        case Put(_, key, size, fields):
            return [f"put {key}, {size} bytes", *_placed_text(fields)]
        case Delete(_, key):
            return [f"delete {key}"]
        case CountKey(_, key, amount):
            return [f"count {key} by {amount}"]
        case Resize(_, where, slot, type_, block):
            at = f" tlv{slot}" if slot is not None else f" type {type_}" if type_ else ""
            return [f"TLVs: {where}{at}", *_block_text("", block)]
        case Rebuild(_, first, last, points, gone, _):
            lines = ["rebuild the TLVs, padded"] if not edit.appends else ["append TLVs, padded"]
            lines += _block_text("first", first)
            for point in points:
                lines += _block_text(f"before tlv{point.slot}", point.before)
                lines += [f"  without tlv{point.slot}"] if point.removed else []
                lines += _block_text(f"after tlv{point.slot}", point.after)
            lines += [f"  without type {number}" for number in gone]
            return [*lines, *_block_text("last", last)]
        case Emit(_, name, _, size, fields, packet_bytes):
            tail = f" and {packet_bytes} of the packet" if packet_bytes else ""
            return [f"emit {name}, {size} bytes{tail}", *_placed_text(fields)]


def _placed_text(fields: tuple[Placed, ...]) -> list[str]:
    return [f"  {f.offset}+{f.size}: {f.value}" for f in fields]


def _verdict_text(verdict: Verdict) -> list[str]:
    match verdict:
        case Return(_, code):
            return ["drop" if code == 2 else "forward"]
        case Action(_, _, name, argument):
            return [f"{name} {argument}"]
        case Redirect(_, link, length, cells):
            return [f"to link {link} with {length} bytes before", *_cell_text(cells)]
        case Encap(_, inline, length, cells, _):
            what = "insert" if inline else "encap with"
            return [f"{what} an SRH of {length} bytes", *_cell_text(cells)]


def _block_text(label: str, block: Block | None) -> list[str]:
    if block is None:
        return []
    return [f"  {label} {block.length} bytes:", *(f"  {t}" for t in _cell_text(block.cells))]


def _cell_text(cells: tuple[Cell, ...]) -> list[str]:
    return [f"  {piece}" for cell in cells for piece in cell.pieces]
