"""A capture through a session at full speed: native code from record to record.

For when nothing is to be said of single packets but their events. What comes of them is what
`replay` says. What native code does not read (pcapng, most link types), or of which not all packets
are wanted, is made into records that it does.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import BinaryIO, Final, Literal

from nfc.observe.events import Decoded, decode
from nfc.packet import capture, links, pcap, pcapng
from nfc.packet.base import PacketError
from nfc.packet.pcap import Record
from nfc.packet.streams import exactly
from nfc.run.replay import Options, Result, passed_over, whole
from nfc.run.session import Ran, Session
from nfc.run.tally import PASSED, Tally
from nfc.vm.batch import Batch, Done
from nfc.vm.drive import SENT

_CHUNK: Final = 4 << 20  # bytes that are read at a time
_PACKED: Final = 1 << 14  # records that are made at a time
_BPF_DROP: Final = "program returned BPF_DROP"


@dataclass(frozen=True)
class _Form:
    """How records are written: link type, byte order, nanoseconds a unit of the fraction."""

    linktype: int
    order: Literal["<", ">"]
    nano: bool


@dataclass(frozen=True)
class _Chunk:
    """Records, one after the other, and the number in the capture of each; None: they follow those
    before. `offset` is their place in the file in bytes, 0 where they were made."""

    data: bytes
    numbers: list[int] | None = None
    offset: int = 0


def run(
    session: Session,
    stream: BinaryIO,
    options: Options,
    tally: Tally,
    out: tuple[BinaryIO, str] | None,
    event: Callable[[int, Decoded], None] | None,
    advance: Callable[[], None],
) -> Result | None:
    """Run all packets of a capture. `out`: where what leaves goes, and the file's name; `event` is
    told of every event with the packet's number, `advance` called now and then.

    Returns the packet that made the program fault, if one did: it is the last. Raises PacketError.
    """
    form, chunks = _source(stream, options, tally)
    simulator = session.simulator
    if options.now is not None:
        simulator.now = options.now
    batch = Batch(
        simulator,
        linktype=form.linktype,
        swapped=form.order == ">",
        nano=form.nano,
        clock=options.now is None,
        tai_offset=options.tai_offset * 1_000_000_000,
        prepare=partial(whole, tally=tally),
        stop_at_fault=True,
    )
    writer = _Out(out, form) if out else None
    buffer = bytearray()
    fault = None
    for chunk in chunks:
        buffer += chunk.data
        numbers = chunk.numbers
        done_at = chunk.offset + len(chunk.data) - len(buffer)  # of what is in the buffer
        while buffer:
            try:
                done = batch.run(buffer)
            except PacketError as error:
                raise PacketError(
                    error.message.partition(": ")[2], done_at + error.offset
                ) from None
            if not done.used:
                break
            first = tally.read
            if numbers is None:
                tally.read += done.count
                here: range | list[int] = range(first + 1, tally.read + 1)
            else:
                here, numbers = numbers[: done.count], numbers[done.count :]
            _count(batch, done, tally)
            _events(session, done, tally, here, event)
            if writer is not None:
                tally.written += writer.write(done)
            fault = _fault(done, buffer, here, form, options)
            del buffer[: done.used]
            done_at += done.used
            advance()
            if fault:
                break
        if fault:
            break
    _why_dropped(session, tally)
    if buffer and not fault:
        _cut_off(bytes(buffer[:16]), len(buffer), form, done_at)
    return fault


# ---- records in -----------------------------------------------------------------------------


def _source(stream: BinaryIO, options: Options, tally: Tally) -> tuple[_Form, Iterator[_Chunk]]:
    """The capture's records in a form that native code reads: as they are, or made."""
    begun = exactly(stream, 4, 0, "the file header")
    if begun == pcapng.MAGIC:
        return _made(pcapng.records(stream, begun), options, tally)
    header = pcap.read_header(stream, begun)
    form = _Form(header.linktype, header.order, header.unit == 1)
    if form.linktype in (links.RAW, links.ETHERNET) and options == replace(
        options, prefix=None, count=None
    ):
        return form, _as_it_is(stream)
    return _made(pcap.records(stream, header.data), options, tally)


def _as_it_is(stream: BinaryIO) -> Iterator[_Chunk]:
    offset = pcap.HEADER_SIZE
    while data := stream.read(_CHUNK):
        yield _Chunk(data, None, offset)
        offset += len(data)


def _made(
    records: Iterator[Record], options: Options, tally: Tally
) -> tuple[_Form, Iterator[_Chunk]]:
    def chunks() -> Iterator[_Chunk]:
        left = islice(records, options.count)
        while True:
            packed, numbers = bytearray(), []
            problem = None
            try:
                for record in left:
                    tally.read += 1
                    data = whole(record, tally).ipv6()
                    why = passed_over(data, options)
                    if data is None or why:
                        tally.passed[why] += 1
                        continue
                    seconds, fraction = divmod(record.time_ns, 1_000_000_000)
                    packed += struct.pack(
                        "<IIII", seconds & 0xFFFF_FFFF, fraction, len(data), len(data)
                    )
                    packed += data
                    numbers.append(tally.read)
                    if len(numbers) == _PACKED:
                        break
            except PacketError as error:  # after what was before it
                problem = error
            if not numbers and problem is None:
                return
            yield _Chunk(bytes(packed), numbers)
            if problem is not None:
                raise problem

    return _Form(links.RAW, "<", True), chunks()


def _cut_off(head: bytes, size: int, form: _Form, offset: int) -> None:
    """What is left when a file ends is no whole record. Raises PacketError."""
    if len(head) < 16:
        raise PacketError(f"a record header ends after {size} of 16 bytes", offset)
    (captured,) = struct.unpack_from(form.order + "I", head, 8)
    raise PacketError(f"a record ends after {size - 16} of {captured} bytes", offset + 16)


# ---- what came of them ----------------------------------------------------------------------


def _count(batch: Batch, done: Done, tally: Tally) -> None:
    for (fate, reason), count in done.fates().items():
        match fate:
            case "skipped":
                tally.passed["not IPv6"] += count
            case "refused" if reason in PASSED:
                tally.passed[reason] += count
            case "refused":
                tally.refused[reason] += count
            case "dropped":
                tally.dropped[reason] += count
            case "lost":
                tally.lost[reason] += count
            case "fault":
                tally.faults += count
    for outcome in done.slow.values():
        if outcome.fate == "sent":
            tally.sent[outcome.link] += 1
    pairs = Counter(zip(done.verdicts, done.links, strict=True))
    for (verdict, number), count in pairs.items():
        if verdict == SENT:
            tally.sent[batch.link(number)] += count


def _events(
    session: Session,
    done: Done,
    tally: Tally,
    numbers: range | list[int],
    event: Callable[[int, Decoded], None] | None,
) -> None:
    manifest = session.subject.manifest
    if manifest is None:
        tally.events.update(name for _, name, _ in done.records)
        return
    if not manifest.events:
        return
    names = {declared.index.to_bytes(8, "little"): declared.name for declared in manifest.events}
    tally.events.update(names[record[:8]] for _, _, record in done.records)
    if event is not None:
        for index, _, record in done.records:
            event(numbers[index], decode(manifest, record))


def _why_dropped(session: Session, tally: Tally) -> None:
    """Put the rules and errors by which packets were dropped in the place of a return code."""
    counters = session.counters()
    if counters is None:
        return
    why = {f"by the rule at line {r.line}": r.packets for r in counters.rules if r.drops}
    why |= counters.errors
    if sum(why.values()) == tally.dropped[_BPF_DROP]:
        del tally.dropped[_BPF_DROP]
        tally.dropped.update({name: count for name, count in why.items() if count})


def _fault(
    done: Done,
    buffer: bytearray,
    numbers: range | list[int],
    form: _Form,
    options: Options,
) -> Result | None:
    """The first packet that made the program fault."""
    found = [index for index, outcome in done.slow.items() if outcome.fault is not None]
    if not found:
        return None
    index, at = min(found), 0
    for _ in range(index):
        at += 16 + struct.unpack_from(form.order + "I", buffer, at + 8)[0]
    seconds, fraction, size, original = struct.unpack_from(form.order + "IIII", buffer, at)
    time = seconds * 1_000_000_000 + fraction * (1 if form.nano else 1000)
    data = bytes(buffer[at + 16 : at + 16 + size])
    record = whole(Record(time, data, original, form.linktype), Tally())
    now = time + options.tai_offset * 1_000_000_000 if options.now is None else options.now
    ran = Ran(done.slow[index], None, None, "", ())
    return Result(numbers[index], now, record.ipv6() or b"", "", ran)


class _Out:
    """The file of what leaves: records as they come, or pcapng."""

    def __init__(self, out: tuple[BinaryIO, str], form: _Form) -> None:
        """Write its header."""
        self.stream, name = out
        self.form = form
        self.pcapng = name.endswith(".pcapng")
        self.writer: capture.Writer
        if self.pcapng:
            self.writer = pcapng.Writer(self.stream)
        else:
            self.writer = pcap.Writer(self.stream, order=form.order, nano=form.nano)

    def write(self, done: Done) -> int:
        """Write what left, and return how many packets that was."""
        if not self.pcapng:
            self.stream.write(done.out)
            sent = done.verdicts.count(SENT)
            return sent + sum(outcome.packet is not None for outcome in done.slow.values())
        at = count = 0
        unit = 1 if self.form.nano else 1000
        while at < len(done.out):
            numbers = struct.unpack_from(self.form.order + "IIII", done.out, at)
            seconds, fraction, size, original = numbers
            data = done.out[at + 16 : at + 16 + size]
            self.writer.write(Record(seconds * 1_000_000_000 + fraction * unit, data, original))
            at += 16 + size
            count += 1
        return count
