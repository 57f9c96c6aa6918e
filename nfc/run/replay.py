"""A capture through a session: which packets are run, at what time, and what each came to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv6Network
from typing import Any, BinaryIO

from nfc.observe.events import Decoded
from nfc.packet import capture, pcap
from nfc.packet.base import PacketError
from nfc.packet.pcap import Record
from nfc.run.session import Ran, Session
from nfc.run.tally import PASSED, Tally, reason
from nfc.run.trace import Trace, Tracer
from nfc.vm.packet import LONGEST

_NS = 1_000_000_000
SHOWN_BYTES = 8  # of an event's packet, on one line


@dataclass(frozen=True)
class Options:
    """How a capture is run. `prefix`: only packets to it, as on a route; `now`: the time of all
    packets, TAI nanoseconds, None for the capture's own, to which `tai_offset` seconds are added;
    `count`: how many packets of the capture. Traced are the first `trace_first` that the program
    sees, and those whose numbers, from 1, are in `traced`."""

    prefix: IPv6Network | None = None
    now: int | None = None
    tai_offset: int = 0
    count: int | None = None
    trace_first: int = 0
    traced: range = range(0)

    @property
    def traces(self) -> bool:
        """Whether any packet is traced."""
        return bool(self.trace_first or self.traced)


@dataclass(frozen=True)
class Result:
    """One packet of the capture, by number from 1. `passed`: why no function saw it, else "";
    then `ran` says what became of it. `time` is its clock, TAI nanoseconds."""

    number: int
    time: int
    data: bytes
    passed: str = ""
    ran: Ran | None = None
    trace: Trace | None = None

    def to_json(self) -> dict[str, Any]:
        """The result as a JSON-ready object; sizes in bytes, times in TAI nanoseconds."""
        found: dict[str, Any] = {"number": self.number, "time": self.time, "bytes": len(self.data)}
        if self.ran is None:
            return found | {"fate": "passed over", "reason": self.passed}
        outcome = self.ran.outcome
        found |= {"fate": outcome.fate, "reason": self.ran.error or outcome.reason}
        if self.ran.line is not None:
            found["rule"] = self.ran.line
        if outcome.returned is not None:
            found["returned"] = outcome.returned
        if outcome.packet is not None:
            found |= {"link": outcome.link, "packet_out": outcome.packet.hex()}
        found |= {"mark": outcome.mark, "priority": outcome.priority}
        if self.ran.events:
            found["events"] = [event.to_json() for event in self.ran.events]
        elif outcome.records:
            found["records"] = [{"map": name, "data": data.hex()} for name, data in outcome.records]
        if self.trace is not None:
            found["trace"] = self.trace.to_json()
        return found

    def line(self, first: int) -> str:
        """One line for a terminal; times count from `first`."""
        passed = self.time - first
        sign, passed = ("-", -passed) if passed < 0 else ("", passed)
        head = f"{self.number:>7} {sign}{passed // _NS}.{passed % _NS:09d}"
        if self.ran is None:
            return f"{head}  passed over: {self.passed}"
        outcome = self.ran.outcome
        rule = f"  line {self.ran.line}" if self.ran.line is not None else ""
        if not rule and outcome.returned is not None:
            rule = f"  returned {outcome.returned}"
        parts = [f"{head}{rule}  {outcome.fate}"]
        if outcome.packet is not None:
            parts.append(f" by {outcome.link}, {len(self.data)} → {len(outcome.packet)} bytes")
        elif outcome.fate == "dropped":
            parts.append(f": {self.ran.error or reason(self.ran)}")
        else:
            parts.append(f": {outcome.reason}")
        parts += [f"  {short(event)}" for event in self.ran.events]
        if not self.ran.events:
            parts += [f"  {name} {data.hex()}" for name, data in outcome.records]
        return "".join(parts)


def short(event: Decoded) -> str:
    """An event on one line, with the first bytes of the packet if it holds any."""
    return str(replace(event, packet=event.packet[:SHOWN_BYTES]))


def replay(
    session: Session,
    stream: BinaryIO,
    options: Options,
    tally: Tally,
    out: tuple[BinaryIO, str] | None,
) -> Iterator[Result]:
    """Run the packets of a capture, one at a time. `out`: where what leaves goes, and the file's
    name. Ends behind a packet that makes the program fault. Raises PacketError."""
    writer = capture.writer(*out) if out else None
    tracer = Tracer(session)
    left = options.trace_first
    for record in capture.records(stream):
        tally.read += 1
        number = tally.read
        if out:
            check_time(record, out[1])
        now = options.now
        if now is None:
            now = record.time_ns + options.tai_offset * _NS
        data = whole(record, tally).ipv6()
        passed = passed_over(data, options)
        if data is None or passed:
            tally.passed[passed] += 1
            yield Result(number, now, data or b"", passed)
        else:
            trace = None
            if left or number in options.traced:
                ran, trace = tracer.run(data, now)
                if ran.outcome.fate == "refused":
                    trace = None
                elif left:
                    left -= 1
            else:
                ran = session.run(data, now)
            tally.add(ran)
            if ran.outcome.reason in PASSED:
                passed = ran.outcome.reason
            left_as = ran.outcome.packet
            if writer is not None and left_as is not None:
                writer.write(Record(record.time_ns, left_as, len(left_as)))
                tally.written += 1
            yield Result(number, now, data, passed, None if passed else ran, trace)
            if ran.outcome.fault is not None:
                return
        if options.count is not None and number >= options.count:
            return


def check_time(record: Record, name: str) -> None:
    """Refuse a packet whose time cannot be written to a file of that name. Raises PacketError."""
    if capture.form(name) == "pcap" and record.time_ns >= pcap.TIME_LIMIT:
        raise PacketError(
            f"the time of this packet, {record.time_ns // _NS} s since 1970, does not fit a pcap "
            "file; a name with .pcapng asks for one that it does",
            record.offset,
        )


def whole(record: Record, tally: Tally) -> Record:
    """The record; one whose packet was cut short when it was captured, with zeros in the place of
    what is missing. Raises PacketError for a link type that is not known."""
    missing = record.original_length - len(record.data)
    if missing <= 0 or record.original_length > LONGEST:
        return record
    data = record.ipv6()
    if data is None or 40 <= len(data) >= 40 + int.from_bytes(data[4:6], "big"):
        return record
    tally.padded += 1
    return replace(record, data=record.data + bytes(missing))


def passed_over(data: bytes | None, options: Options) -> str:
    """Why no function sees a packet; "" if it does."""
    if data is None:
        return "not IPv6"
    if options.prefix is not None:
        network = options.prefix
        address = int.from_bytes(data[24:40], "big")
        if len(data) < 40 or address & int(network.netmask) != int(network.network_address):
            return f"not to {network}"
    return ""
