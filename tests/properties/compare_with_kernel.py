"""A generated program through the compiler, the verifier and a real route, held to the oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from generated_packets import Wanted, make_packet
from generated_router import Place, Seen, Step
from generated_sources import Generated
from generated_words import LINKS
from simulated import Column, Explained

from nfc.compiler import Compilation, Compiled, compile_file
from nfc.oracle import Arrival, Memory, Result, outcomes
from nfc.oracle.outcomes import Rows
from nfc.packet import decode, diff
from nfc.sema import typed, types
from nfc.sema.headers import HEADERS, META
from nfc.sema.hooks import HOOKS, VERDICTS
from nfc.syntax.diagnostics import SourceErrors

KERNEL = "6.12"
KINDS = ("rule", "error", "named", "lost", "hidden")  # of counters


class MismatchError(AssertionError):
    """The kernel did something else than the oracle says. `packets`: so many packets show it."""

    def __init__(self, text: str, packets: int | None = None) -> None:
        """None where it was seen after the last of them."""
        super().__init__(text)
        self.packets = packets


@dataclass
class Reached:
    """How often each construct stood in a program, and each outcome came of a packet."""

    constructs: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    simulated: Counter[str] = field(default_factory=Counter)  # packets, by how
    programs: int = 0
    packets: int = 0
    refused: int = 0

    def table(self) -> str:
        """The counts as two tables."""
        lines = [
            f"{self.programs} programs, {self.packets} packets; "
            f"{self.refused} more programs that need too much stack",
            *(f"{count} packets in the simulator {way}" for way, count in self.simulated.items()),
            "",
            "construct                             programs",
        ]
        lines += [f"{name:<40}{count:>6}" for name, count in sorted(self.constructs.items())]
        wanted = possible()
        missing = sorted(wanted - {short(name) for name in self.constructs})
        lines += ["", f"{len(wanted) - len(missing)} of {len(wanted)} constructs of the language"]
        lines += [f"not reached: {', '.join(missing)}"] if missing else []
        lines += ["", "what came of a packet                  packets"]
        lines += [f"{name:<40}{count:>6}" for name, count in sorted(self.outcomes.items())]
        return "\n".join(lines)


def check(
    place: Place,
    folder: Path,
    program: Generated,
    seeds: Sequence[int],
    reached: Reached,
    *,
    native: bool,
) -> None:
    """Compile a program, load it, send its packets; raises MismatchError about the first packet
    that differs, and whatever the compiler or the loader raises. `native`: the simulator takes
    them by native code, too, whose making takes a tenth of a second."""
    path = folder / "program.nf"
    path.write_text(program.source)
    wanted = Wanted(program.hook, program.tlvs)
    packets = [make_packet(seed, wanted, (seed & 0xFFF) << 8 | i) for i, seed in enumerate(seeds)]
    to_links = {f"to_{link}": index for link, index in place.links.items()}
    program = replace(program, params=program.params | to_links)
    try:
        compilation = compile_file(path, KERNEL)
        (compiled,) = compilation.functions
        seen = place.try_out(compilation, compiled, program.params, program.tables, packets)
    except SourceErrors as error:
        said = [d.message for d in error.diagnostics]
        if all("bytes of stack" in message for message in said):
            reached.refused += 1
            return
        raise MismatchError(f"{program.source}\nis refused: {said}") from error
    reached.programs += 1
    reached.packets += len(packets)
    reached.constructs.update(set(constructs(compiled.function)))
    results, ways = compare(place, compilation, program, packets, seen, native)
    reached.outcomes.update(outcome(r) for r in results)
    reached.simulated.update(ways)


def outcome(result: Result) -> str:
    """A result in a few words."""
    if result.fate == "error":
        return f"error {'/'.join(sorted(result.errors))} ({result.verdict})"
    return f"{result.fate} {result.verdict}".strip()


def compare(
    place: Place,
    compilation: Compilation,
    program: Generated,
    packets: list[bytes],
    seen: Seen,
    native: bool,
) -> tuple[list[Result], Counter[str]]:
    """What the oracle says of each packet, which is what the kernel and the simulator did, and how
    many packets the simulator took in which way. Raises MismatchError about the first packet that
    differs."""
    (compiled,) = compilation.functions
    column = Column(place, compilation, compiled, program, seen, native)
    memory, counters = Memory({}, seen.before), (0,) * len(compiled.manifest.counters)
    chosen: list[Result] = []
    for index, (packet, step) in enumerate(zip(packets, seen.steps, strict=True)):
        arrival = Arrival(
            packet, program.params, 0, (), memory, ingress=place.ingress, cpu=place.cpu
        )
        candidates = list(_candidates(place, compilation, arrival, step))
        deltas = tuple(b - a for a, b in zip(counters, step.counters, strict=True))
        fits = [c for c in candidates if _fits(c.result, compiled, step, deltas)]
        if not fits:
            told = _explain(program, index, packet, candidates, step, deltas)
            raise MismatchError(told, index + 1)
        found = _settled(fits[0], step)
        problem = column.run(packet, found, step)
        if problem:
            raise MismatchError(
                f"{_head(program, index, packet)}\n{problem}\noracle and kernel: "
                f"{_told(found.result)}",
                index + 1,
            )
        chosen.append(fits[0].result)
        memory, counters = found.result.memory, step.counters
    problem = column.end()
    if problem:
        raise MismatchError(f"{program.source}\nparams {program.params}\n{problem}")
    return chosen, column.ways


def _candidates(
    place: Place, compilation: Compilation, arrival: Arrival, step: Step
) -> Iterator[Explained]:
    """Whatever the language lets become of a packet, by its clock and by how samples come out."""
    (compiled,) = compilation.functions
    for now in _clocks(compilation, step):
        for result in outcomes(compiled.function, replace(arrival, now=now), place.router):
            yield Explained(result, now)
            if result.beyond:
                memory = replace(arrival.memory, counted=result.memory.counted)
                failed = frozenset({"action_failed"})
                other = Result("error", result.verdict, result.rule, failed, memory=memory)
                yield Explained(replace(other, beyond=True), now)


def _clocks(compilation: Compilation, step: Step) -> Iterator[int]:
    """When the packet may have come: what its own `clock` event says; without one, what new numbers
    in tables may say, or any time at all."""
    clock = next((e for e in compilation.program.events if e.name == "clock"), None)
    if clock is None:
        yield step.begin
        return
    for record in step.events[:1]:
        assert record[:8] == clock.index.to_bytes(8, "little"), "the first event is the clock"
        said = int.from_bytes(record[8:16], "little")
        assert step.begin <= said <= step.end, "now() is not now"
        yield said
        return
    numbers = {n for rows in step.tables.values() for row in rows.values() for n in row}
    yield from sorted(n for n in numbers if step.begin <= n <= step.end)
    yield step.begin
    yield step.end


def _fits(result: Result, compiled: Compiled, step: Step, deltas: tuple[int, ...]) -> bool:
    """Whether a result is what the kernel did: what left, events, counters and tables."""
    if step.events != result.events or not _left(result, step):
        return False
    if result.fate == "refused":
        return not any(deltas)
    manifest = compiled.manifest
    by_kind: dict[str, list[tuple[str, int]]] = {k: [] for k in KINDS}
    for counter, delta, now in zip(manifest.counters, deltas, step.counters, strict=True):
        by_kind[counter.kind].append((counter.name, now if counter.kind == "hidden" else delta))
    named = dict.fromkeys((name for name, _ in by_kind["named"]), 0)
    for name, amount in result.counts:
        named[name] += amount
    errors = [name for name, delta in by_kind["error"] for _ in range(delta)]
    tables, counted = result.memory.tables, result.memory.counted
    return (
        [delta for _, delta in by_kind["rule"]]
        == [int(i == result.rule) for i in range(len(compiled.function.rules))]
        and len(errors) == (result.fate == "error")
        and result.errors.issuperset(errors)
        and all(delta == named[name] % (1 << 64) for name, delta in by_kind["named"])
        and all(d == (result.lost if n == "counts_lost" else 0) for n, d in by_kind["lost"])
        and [n for _, n in by_kind["hidden"]]
        == [counted.get(i, 0) for i in range(len(by_kind["hidden"]))]
        and all(
            table.name in result.evicted
            or _dense(tables.get(table.name, {}), table.kind) == step.tables[table.name]
            for table in manifest.tables
        )
    )


def _dense(rows: Rows, kind: str) -> Rows:
    """Without the entries of an array that are zero."""
    return {key: row for key, row in rows.items() if kind != "array" or any(row)}


def _left(result: Result, step: Step) -> bool:
    if result.fate == "unsure":
        return not step.left or [packet for _, packet in step.left] == [result.packet]
    watched = result.fate == "sent" and result.link in LINKS
    return step.left == (((result.link, result.packet),) if watched else ())


def _settled(found: Explained, step: Step) -> Explained:
    """What became of a packet, with what the oracle cannot know in the way that the kernel had
    it: whether there was a next hop, and which entries made room."""
    result = found.result
    if result.fate == "unsure":
        ((link, packet),) = step.left or (("", None),)
        result = replace(result, fate="sent" if step.left else "lost", link=link, packet=packet)
    if result.evicted:
        rows = {name: step.tables[name] for name in result.evicted}
        memory = replace(result.memory, tables={**result.memory.tables, **rows})
        result = replace(result, memory=memory)
    return replace(found, result=result)


def _told(result: Result) -> str:
    events = [e.hex() for e in result.events]
    packet = result.packet.hex() if result.packet is not None else None
    return (
        f"{outcome(result)}, rule {result.rule}, {result.link}, events {events}, packet {packet}, "
        f"counts {result.counts}, memory {result.memory}"
    )


def _head(program: Generated, index: int, packet: bytes) -> str:
    return (
        f"{program.source}\nparams {program.params}\npacket {index}: {packet.hex()}\n"
        f"{decode(packet)}"
    )


def _explain(
    program: Generated,
    index: int,
    packet: bytes,
    candidates: list[Explained],
    step: Step,
    deltas: tuple[int, ...],
) -> str:
    lines = [_head(program, index, packet)]
    lines += [f"oracle: {_told(c.result)}" for c in candidates]
    lines += [f"kernel: {link} {raw.hex()}" for link, raw in step.left] or ["kernel: nothing left"]
    lines.append(f"kernel's events: {[e.hex() for e in step.events]}")
    lines.append(f"kernel's counters went up by {deltas}, tables {step.tables}")
    want = next((c.result.packet for c in candidates if c.result.packet is not None), None)
    if step.left and want is not None:
        lines.append(str(diff(want, step.left[0][1])))
    return "\n".join(lines)


def short(name: str) -> str:
    """A construct without the types that it stands on."""
    for kind in ("op", "compare"):
        if name.startswith(f"{kind} "):
            return " ".join(name.split()[:2])
    return name.partition(":")[0]


def possible() -> set[str]:
    """Every construct that the language has, as `short` names it."""
    found = {f"hook {hook}" for hook in HOOKS}
    found |= {f"verdict {name}" for name in VERDICTS}
    for header, parts in HEADERS.items():
        found |= {f"read {header}.{name}" for name in parts}
        found |= {f"set {header}.{name}" for name, part in parts.items() if part.writable}
    found |= {f"read packet.{name}" for name in META}
    found |= {f"set packet.{name}" for name, part in META.items() if part.writable}
    found |= {f"op {op}" for op in ("+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>")}
    found |= {f"compare {op}" for op in ("==", "!=", "<", "<=", ">", ">=")}
    found |= {"logic and", "logic or", "Not", "in prefix of 128 bits", "in prefix of 32 bits"}
    found |= {"Const", "ParamRead", "SegmentRead", "Now", "Sample", "Every", "read TLV field"}
    found |= {f"has TLV[{index}]" for index in (0, 1, 2)} | {"set TLV field", "set"}
    found |= {f"add {where}" for where in ("first", "last", "before", "after")}
    found |= {"RemoveTlv", "RemoveAll", "RemoveHmac", "ReplaceTlv"}
    found |= {"emit", "emit with bytes of the packet", "Count", "count with key"}
    kinds = ["prefix"] + [f"{cpu}{k}" for cpu in ("", "per-CPU ") for k in ("hash", "lru", "array")]
    for kind in kinds:
        found |= {f"has entry of {kind}", f"read entry of {kind}", f"put into {kind}"}
        found |= {f"set entry of {kind}, plain"}
        if not kind.endswith("array"):
            found.add(f"remove from {kind}")
    found |= {f"set entry of hash, {op}" for op in ("+", "-", "&", "|", "^")}
    found |= {f"set state, {op}" for op in ("plain", "+", "-", "&", "|", "^")}
    return found | {"read state", "read state_per_cpu", "set state_per_cpu, plain"}


def constructs(function: typed.Function) -> Iterator[str]:
    """The names of what stands in a function."""
    yield f"hook {function.hook}"
    waiting: list[object] = list(function.rules)
    while waiting:
        item = waiting.pop()
        match item:
            case typed.Rule(guard=guard, edits=edits, verdict=verdict):
                waiting += [guard, *edits]
                yield f"verdict {type(verdict).__name__}"
                yield from _parts(verdict, waiting)
            case typed.HeaderRead(field=header):
                yield f"read {header.header}.{header.name}"
            case typed.MetaRead(field=meta):
                yield f"read packet.{meta.name}"
            case typed.TlvRead(field=part):
                yield f"read TLV field: {_type(part.type)}"
                yield _span(part)
            case typed.SetHeader(field=header, value=value):
                yield f"set {header.header}.{header.name}"
                waiting.append(value)
            case typed.SetMeta(field=meta, value=value):
                yield f"set packet.{meta.name}"
                waiting.append(value)
            case typed.SetTlv(field=part, value=value):
                yield f"set TLV field: {_type(part.type)}"
                yield f"set: {_span(part)}"
                waiting.append(value)
            case typed.AddTlv(where=where, value=made):
                yield f"add {where}"
                waiting.append(made)
            case typed.Arith(op=op, left=left, right=right):
                yield f"op {op} on {_type(left.type)}"
                waiting += [left, right]
            case typed.Compare(op=op, left=left, right=right):
                yield f"compare {op} {_type(left.type)}"
                waiting += [left, right]
            case typed.Logic(op=op, left=left, right=right):
                yield f"logic {op}"
                waiting += [left, right]
            case typed.Emit(event=event):
                yield "emit with bytes of the packet" if event.packet_bytes else "emit"
                yield from _parts(item, waiting)
            case typed.RemoveTlv() | typed.RemoveAll() | typed.RemoveHmac():
                yield f"{type(item).__name__}"
            case typed.HasTlv(tlv=tlv):
                yield f"has TLV[{tlv.index}]"
            case typed.HasEntry(entry=entry):
                yield f"has entry of {_kind(entry.table)}"
                waiting += entry.key
            case typed.EntryRead(entry=entry, member=member):
                yield f"read entry of {_kind(entry.table)}: {_type(member.type)}"
            case typed.StateRead(state=state):
                yield f"read {state.table.name}: {_type(state.member.type)}"
            case typed.SetEntry(entry=entry, atomic=atomic, value=value):
                yield f"set entry of {_kind(entry.table)}, {atomic or 'plain'}"
                waiting.append(value)
            case typed.SetState(state=state, atomic=atomic, value=value):
                yield f"set {state.table.name}, {atomic or 'plain'}"
                waiting.append(value)
            case typed.Put(table=table, key=key, values=values):
                yield f"put into {_kind(table)}"
                waiting += [*key, *values]
            case typed.RemoveEntry(table=table, key=key):
                yield f"remove from {_kind(table)}"
                waiting += key
            case typed.CountKey(key=key, amount=amount):
                yield "count with key"
                waiting += [*key, amount]
            case typed.InPrefix(width=width, value=value):
                yield f"in prefix of {width} bits"
                waiting.append(value)
            case typed.Expr() | typed.Count() | typed.ReplaceTlv():
                yield f"{type(item).__name__}"
                yield from _parts(item, waiting)
            case typed.TlvValue(values=values):
                waiting += [value for _, value in values]


def _parts(item: object, waiting: list[object]) -> Iterable[str]:
    for part in fields(item):  # type: ignore[arg-type]
        value = getattr(item, part.name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, (typed.Expr, typed.TlvValue)):
                waiting.append(one)
    return ()


def _kind(table: typed.Table) -> str:
    return f"{'per-CPU ' if table.per_cpu else ''}{table.kind}"


def _type(type_: types.Type) -> str:
    if isinstance(type_, types.Int):
        return next(f"u1-{n}" if n < 64 else "u33-64" for n in (8, 16, 32, 64) if type_.bits <= n)
    return type(type_).__name__.lower()


def _span(part: typed.TlvField) -> str:
    first, last = part.bit_offset // 8, (part.bit_offset + part.type.bits - 1) // 8
    whole = part.bit_offset % 8 == 0 and part.type.bits % 8 == 0
    return f"field over {last - first + 1} bytes, {'whole' if whole else 'cut'}"
