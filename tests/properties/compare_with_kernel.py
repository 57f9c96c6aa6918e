"""A generated program through the compiler, the verifier and a real route, held to the oracle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from generated_packets import Wanted, make_packet
from generated_router import Place, Seen
from generated_sources import LINKS, Generated
from simulated import Column, Explained

from nfc.compiler import Compilation, Compiled, compile_file
from nfc.oracle import Arrival, Memory, Result, outcomes
from nfc.packet import decode, diff
from nfc.sema import typed, types
from nfc.sema.headers import HEADERS, META
from nfc.sema.hooks import HOOKS, VERDICTS
from nfc.syntax.diagnostics import SourceErrors

KERNEL = "6.12"
MAX_TRIES = 20_000  # packets, to explain a run in which samples are drawn


class MismatchError(AssertionError):
    """The kernel did something else than the oracle says."""


@dataclass
class Reached:
    """How often each construct stood in a program, and each outcome came of a packet."""

    constructs: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    programs: int = 0
    packets: int = 0
    refused: int = 0

    def table(self) -> str:
        """The counts as two tables."""
        lines = [
            f"{self.programs} programs, {self.packets} packets; "
            f"{self.refused} more programs that need too much stack",
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
    place: Place, folder: Path, program: Generated, seeds: Sequence[int], reached: Reached
) -> None:
    """Compile a program, load it, send its packets; raises MismatchError with the smallest
    difference, and whatever the compiler or the loader raises."""
    path = folder / "program.nf"
    path.write_text(program.source)
    try:
        compilation = compile_file(path, KERNEL)
        compilation.object(compilation.functions)
    except SourceErrors as error:
        said = [d.message for d in error.diagnostics]
        if all("bytes of stack" in message for message in said):
            reached.refused += 1
            return
        raise MismatchError(f"{program.source}\nis refused: {said}") from error
    (compiled,) = compilation.functions
    to_links = {f"to_{link}": index for link, index in place.links.items()}
    program = replace(program, params=program.params | to_links)
    wanted = Wanted(program.hook, program.tlvs)
    packets = [make_packet(seed, wanted, (seed & 0xFFF) << 8 | i) for i, seed in enumerate(seeds)]
    seen = place.try_out(compilation, compiled, program.params, program.tables, packets)
    reached.programs += 1
    reached.packets += len(packets)
    reached.constructs.update(set(constructs(compiled.function)))
    results = compare(place, compilation, program, packets, seen)
    reached.outcomes.update(outcome(r) for r in results)


def outcome(result: Result) -> str:
    """A result in a few words."""
    if result.fate == "error":
        return f"error {'/'.join(sorted(result.errors))} ({result.verdict})"
    return f"{result.fate} {result.verdict}".strip()


def compare(
    place: Place, compilation: Compilation, program: Generated, packets: list[bytes], seen: Seen
) -> list[Result]:
    """What the oracle says of each packet, which is what was seen. Raises MismatchError."""
    (compiled,) = compilation.functions
    by_label: dict[int, list[tuple[str, bytes]]] = {}
    for link, packet in seen.left:
        by_label.setdefault(_label(packet), []).append((link, packet))
    got = [by_label.pop(_label(packet), []) for packet in packets]
    explained, certain = _explained(place, compilation, program, packets, got, seen)
    chosen = [e.result for e in explained]
    unsure = any(r.fate == "unsure" for r in chosen)
    if by_label and not unsure:
        raise MismatchError(f"{program.source}\nnobody sent {by_label}")
    if certain and not unsure:
        _check_counters(program, compiled, packets, chosen, seen)
    _simulate(place, compilation, program, packets, explained, seen, certain)
    return chosen


def _simulate(
    place: Place,
    compilation: Compilation,
    program: Generated,
    packets: list[bytes],
    explained: list[Explained],
    seen: Seen,
    certain: bool,
) -> None:
    """The third column: the simulator comes to what the oracle and the kernel came to."""
    (compiled,) = compilation.functions
    column = Column(place, compilation, compiled, program, seen)
    for index, (packet, one) in enumerate(zip(packets, explained, strict=False)):
        problem = column.run(packet, one)
        if problem:
            result = one.result
            raise MismatchError(
                f"{program.source}\nparams {program.params}\npacket {index}: {packet.hex()}\n"
                f"{decode(packet)}\n{problem}\noracle and kernel: {outcome(result)}, rule "
                f"{result.rule}, {result.link}, events {[e.hex() for e in result.events]}, packet "
                f"{result.packet.hex() if result.packet else None}"
            )
        if one.result.fate == "unsure":
            return  # nor is it known what the packet has left behind
    if not certain:
        return
    said = (column.counters(), column.rows(), column.records())
    want = (seen.counters, seen.after, seen.events)
    if said != want:
        raise MismatchError(
            f"{program.source}\nparams {program.params}\nsimulator: {said}\nkernel: {want}"
        )


def _explained(
    place: Place,
    compilation: Compilation,
    program: Generated,
    packets: list[bytes],
    got: list[list[tuple[str, bytes]]],
    seen: Seen,
) -> tuple[list[Explained], bool]:
    """A result for each packet that together are what was seen, and whether there is one way
    only. Where samples are drawn, a packet may have had several; so this goes back and tries the
    next one. Raises MismatchError about the packet that it comes to and cannot explain."""
    (compiled,) = compilation.functions
    certain, furthest, tries = True, -1, 0
    problem = f"{program.source}\nthere are more events than these packets can have sent"

    def attempt(index: int, at: int, memory: Memory) -> list[Explained] | None:
        nonlocal certain, furthest, problem, tries
        if index == len(packets):
            return [] if at == len(seen.events) else None
        tries += 1
        if tries > MAX_TRIES:
            return None
        candidates: list[Result] = []
        times: list[int] = []
        for now in _clocks(compilation, seen, at):
            arrival = Arrival(
                packets[index],
                program.params,
                now,
                (),
                memory,
                ingress=place.ingress,
                cpu=place.cpu,
            )
            candidates += outcomes(compiled.function, arrival, place.router)
            times += [now] * (len(candidates) - len(times))
        unsure = [
            (replace(r, events=()), t)
            for r, t in zip(candidates, times, strict=True)
            if r.fate == "unsure"
        ]
        candidates += [r for r, _ in unsure]
        times += [t for _, t in unsure]
        pairs = [Explained(r, t) for r, t in zip(candidates, times, strict=True)]
        fits: list[Explained] = []
        for pair in pairs:  # one of those that differ in nothing: to try both doubles the work
            if _fits(pair.result, got[index], seen.events[at:]) and all(
                pair.result != other.result for other in fits
            ):
                fits.append(pair)
        fits.sort(key=lambda p: -len(p.result.events))
        certain &= all(_told(p.result) == _told(fits[0].result) for p in fits)
        if not fits and index > furthest:
            furthest = index
            problem = _explain(program, index, packets[index], candidates, got[index], seen, at)
        for fit in fits:
            result = fit.result
            if result.fate == "unsure" and compiled.manifest.tables:
                return [fit]  # nor does it know what the packet has left behind
            rest = attempt(index + 1, at + len(result.events), result.memory)
            if rest is not None:
                return [fit, *rest]
        return None

    found = attempt(0, 0, seen.before)
    if found is None:
        raise MismatchError(problem)
    return found, certain


def _told(result: Result) -> tuple[object, ...]:
    """What counters tell of a packet."""
    return result.rule, result.errors, result.counts, result.fate, result.memory


def _label(packet: bytes) -> int:
    return int.from_bytes(packet[2:4], "big")  # programs may set the bits before


def _clocks(compilation: Compilation, seen: Seen, at: int) -> Iterator[int]:
    """When the packet may have come: what its own `clock` event says, or any time at all."""
    clock = next((e for e in compilation.program.events if e.name == "clock"), None)
    if clock is None:
        yield seen.begin
        return
    for record in seen.events[at : at + 1]:
        if record[:8] == clock.index.to_bytes(8, "little"):
            said = int.from_bytes(record[8:16], "little")
            assert seen.begin <= said <= seen.end, "now() is not now"
            yield said
    yield seen.begin
    yield seen.end


def _fits(result: Result, got: list[tuple[str, bytes]], events: tuple[bytes, ...]) -> bool:
    said = events[: len(result.events)] == result.events
    if result.fate == "unsure":
        return said
    watched = result.fate == "sent" and result.link in LINKS
    want = [(result.link, result.packet)] if watched else []
    return got == want and said


def _check_counters(
    program: Generated,
    compiled: Compiled,
    packets: list[bytes],
    results: list[Result],
    seen: Seen,
) -> None:
    manifest = compiled.manifest
    rules = [sum(r.rule == i for r in results) for i in range(len(compiled.function.rules))]
    counted = [r.packets for r in seen.counters.rules]
    named: Counter[str] = Counter(dict.fromkeys(seen.counters.named, 0))
    for result in results:
        for name, amount in result.counts if result.fate != "error" else ():
            named[name] += amount
    named_now = {name: count % (1 << 64) for name, count in named.items()}
    errors = [r for r in results if r.fate == "error"]
    said = seen.counters.errors
    possible = Counter(reason for r in errors for reason in r.errors)
    certain = Counter(next(iter(r.errors)) for r in errors if len(r.errors) == 1)
    wrong = (
        rules != counted
        or named_now != seen.counters.named
        or sum(said.values()) != len(errors)
        or any(n > possible[e] or n < certain[e] for e, n in said.items())
    )
    lost = sum(r.lost for r in results)
    wrong |= seen.counters.counts_lost != lost
    memory = results[-1].memory.tables if results else {}
    for table in manifest.tables:
        rows = memory.get(table.name, {})
        sparse = table.kind == "array"
        want = {k: r for k, r in rows.items() if any(r) or not sparse}
        wrong |= want != seen.after[table.name]
    if wrong or seen.counters.events_lost:
        shown = "\n".join(f"{outcome(r)}: {p.hex()}" for r, p in zip(results, packets, strict=True))
        raise MismatchError(
            f"{program.source}\nparams {program.params}\n{shown}\ncounters differ: rules {rules}, "
            f"named {named_now}, errors {dict(possible)}, tables {memory}; seen {seen.counters}, "
            f"tables {seen.after}"
        )


def _explain(
    program: Generated,
    index: int,
    packet: bytes,
    candidates: list[Result],
    got: list[tuple[str, bytes]],
    seen: Seen,
    at: int,
) -> str:
    lines = [program.source, f"params {program.params}", f"packet {index}: {packet.hex()}"]
    lines.append(str(decode(packet)))
    for r in candidates:
        lines.append(
            f"oracle: {outcome(r)}, rule {r.rule}, {r.link}, events "
            f"{[e.hex() for e in r.events]}, packet {r.packet.hex() if r.packet else None}"
        )
    lines += [f"kernel: {link} {raw.hex()}" for link, raw in got] or ["kernel: nothing left"]
    lines.append(f"kernel's next events: {[e.hex() for e in seen.events[at : at + 3]]}")
    lines.append(f"kernel's counters: {seen.counters}")
    want = next((r.packet for r in candidates if r.packet is not None), None)
    if got and want is not None:
        lines.append(str(diff(want, got[0][1])))
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
