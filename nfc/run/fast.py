"""A capture through a session at full speed: native code from record to record.

For when nothing is to be said of single packets but their events. What comes of them is what
`replay` says. What native code does not read (what describes a file and its interfaces, what is out
of order) Python reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, Final

from nfc.errors import NfcError
from nfc.observe.events import Decoded, decode
from nfc.packet import capture, pcap, pcapng
from nfc.packet.pcap import Record
from nfc.packet.streams import Joined, exactly
from nfc.run.replay import Options, Result, check_time
from nfc.run.session import Ran, Session
from nfc.run.tally import PASSED, Tally
from nfc.vm.batch import PACKETS, Batch, Done
from nfc.vm.drive import ELSEWHERE, SENT, SKIPPED

_CHUNK: Final = 4 << 20  # bytes that are read at a time
_MOST_EVENTS: Final = 1 << 16  # of one file, far more than there are
_BPF_DROP: Final = "program returned BPF_DROP"


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
    if out:
        capture.writer(*out)  # which writes the file's header
    source = _source(stream)
    simulator = session.simulator
    if options.now is not None:
        simulator.now = options.now
    batch = Batch(
        simulator,
        linktype=source.header.linktype,
        swapped=source.header.order == ">",
        nano=source.header.unit == 1,
        clock=options.now is None,
        tai_offset=options.tai_offset * 1_000_000_000,
        prefix=options.prefix,
        out=capture.form(out[1]) if out else "",
        stop_at_fault=True,
    )
    if source.section is not None:
        batch.follow(source.section)
    whole = _Run(session, source, batch, options, tally, out, event, advance)
    try:
        return whole.run()
    finally:
        whole.say_why_dropped()


# ---- records in -----------------------------------------------------------------------------


@dataclass
class _Source:
    """A capture's file: what was read of it and not taken yet, where that begins, in bytes.

    `header` is that of a pcap file; a pcapng file has a `section`.
    """

    stream: BinaryIO
    buffer: bytearray
    offset: int
    header: pcap.Header
    section: pcapng.Section | None = None
    ended: bool = False

    def more(self) -> None:
        """Read on: what a pipe has now is enough."""
        read: Callable[[int], bytes] = getattr(self.stream, "read1", self.stream.read)
        data = read(_CHUNK)
        self.buffer += data
        self.ended = not data

    def taken(self, size: int) -> None:
        """Go on behind so many bytes."""
        del self.buffer[:size]
        self.offset += size

    def other(self, batch: Batch) -> Record | None:
        """Read what native code does not: a block, which may hold a packet, or a record. Raises
        PacketError."""
        joined = Joined(self.buffer, self.stream)
        if self.section is None:
            record = pcap.read_record(joined, self.header, self.offset)
            self.offset += pcap.RECORD_SIZE + len(record.data)
            return record
        kind = exactly(joined, 4, self.offset, "a block header")
        self.section.last = batch.last
        found, self.offset = self.section.block(joined, kind, self.offset)
        batch.follow(self.section)
        return found


def _source(stream: BinaryIO) -> _Source:
    """A capture of either form. Raises PacketError."""
    begun = exactly(stream, 4, 0, "the file header")
    if begun == pcapng.MAGIC:
        none = pcap.Header("<", 1, 0, b"")
        return _Source(stream, bytearray(begun), 0, none, pcapng.Section())
    header = pcap.read_header(stream, begun)
    return _Source(stream, bytearray(), pcap.HEADER_SIZE, header)


# ---- through the function --------------------------------------------------------------------


@dataclass
class _Run:
    """A capture on its way through a session: where its packets come from, what they go through,
    and where goes what comes of them."""

    session: Session
    source: _Source
    batch: Batch
    options: Options
    tally: Tally
    out: tuple[BinaryIO, str] | None
    event: Callable[[int, Decoded], None] | None
    advance: Callable[[], None]

    def run(self) -> Result | None:
        """Run all packets, up to one that makes the program fault."""
        options, tally, source, batch, out = (
            self.options, self.tally, self.source, self.batch, self.out,
        )  # fmt: skip
        while options.count is None or tally.read < options.count:
            left = PACKETS if options.count is None else options.count - tally.read
            done = batch.run(source.buffer, left)
            source.taken(done.used)
            if not done.count and (done.stopped or (source.ended and source.buffer)):
                record = source.other(batch)
                if record is None:
                    continue
                tally.read += 1
                if out:
                    check_time(record, out[1])
                record.ipv6()  # raises an error for a link type that is not known
                tally.read -= 1
                done = batch.one(record)
            elif not done.count and source.ended:
                return None
            elif not done.count:
                source.more()
                continue
            first = tally.read + 1
            tally.read += done.count
            self._count(done)
            self._events(done, first)
            if out:
                out[0].write(done.out)
                sent = done.verdicts.count(SENT)
                tally.written += sent + sum(o.packet is not None for o in done.slow.values())
            self.advance()
            if done.faulted is not None:
                return self._fault(done, done.faulted, first)
        return None

    def _count(self, done: Done) -> None:
        tally = self.tally
        tally.padded += done.padded
        counts = Counter(done.verdicts)
        if counts[ELSEWHERE]:
            tally.passed[f"not to {self.options.prefix}"] += counts[ELSEWHERE]
        if counts[SKIPPED]:
            tally.passed["not IPv6"] += counts[SKIPPED]
        for (fate, reason), count in done.fates().items():
            match fate:
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
                tally.sent[self.batch.link(number)] += count

    def _events(self, done: Done, first: int) -> None:
        manifest = self.session.subject.manifest
        if manifest is None:
            for (name, _), count in done.kinds(0).items():
                self.tally.events[name] += count
            return
        names = {declared.index: declared.name for declared in manifest.events}
        kinds = min(1 + max(names, default=-1), _MOST_EVENTS)
        for (_, number), count in done.kinds(kinds).items():
            if number not in names:
                raise NfcError(f"a record is no event of {manifest.function}")
            self.tally.events[names[number]] += count
        if self.event is not None:
            for index, _, record in done.records:
                self.event(first + index, decode(manifest, record))

    def say_why_dropped(self) -> None:
        """Put the rules and errors by which packets were dropped in the place of a return code."""
        counters = self.session.counters()
        if counters is None:
            return
        why = {f"by the rule at line {r.line}": r.packets for r in counters.rules if r.drops}
        why |= counters.errors
        if sum(why.values()) == self.tally.dropped[_BPF_DROP]:
            del self.tally.dropped[_BPF_DROP]
            self.tally.dropped.update({name: count for name, count in why.items() if count})

    def _fault(self, done: Done, faulted: tuple[int, int, bytes], first: int) -> Result:
        """The packet that made the program fault."""
        index, time, data = faulted
        now = (
            time + self.options.tai_offset * 1_000_000_000
            if self.options.now is None
            else self.options.now
        )
        ran = Ran(done.slow[index], None, None, "", ())
        return Result(first + index, now, data, "", ran)
