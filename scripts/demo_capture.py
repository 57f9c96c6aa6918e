#!/usr/bin/env python3
"""Write captures/delay.pcapng, the capture of `make demo` without root: a model of a path, not a
measurement. The same bytes every time.

    scripts/demo_capture.py [FILE]

500 packets from host1 to host2, a thousand a second, each twice: as router1 has it (interface 0)
and as router2 has it (interface 1). Between them a wire of 40 km, and a queue at 100 Mbit/s which
they share with bursts of other traffic.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from nfc.packet import ip, packet, pcap, pcapng, udp

PACKETS = 500
START_NS = 1_750_000_000_000_000_000
EVERY_NS = 1_000_000
WIRE_NS = 200_000  # 40 km of fibre
BYTE_NS = 80  # at 100 Mbit/s
ENCAP_BYTES = 152  # what mark_delay puts before a packet
OTHER_BYTES = 1538  # a full Ethernet frame of other traffic, with what is between frames
MAX_BURST = 6  # of them


def numbers(state: int) -> Iterator[int]:
    """Numbers of 32 bits without end (a linear congruential generator, Knuth's MMIX)."""
    while True:
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        yield state >> 32


def records() -> Iterator[pcap.Record]:
    """Both copies of every packet, in order of time."""
    random = numbers(2018)
    free_at = 0  # when the queue will have sent all that is in it
    found = []
    for number in range(PACKETS):
        arrival = START_NS + number * EVERY_NS + next(random) % 50_000
        if next(random) % 3 == 0:  # a burst that came shortly before
            burst_at = arrival - next(random) % 400_000
            burst = (1 + next(random) % MAX_BURST) * OTHER_BYTES * BYTE_NS
            free_at = max(free_at, burst_at) + burst
        data = bytes(
            packet(ip("fd00:1::1", "fd00:3::2"), udp(40_000, 9), number.to_bytes(8, "big"))
        )
        length = len(data) + ENCAP_BYTES
        free_at = max(free_at, arrival) + length * BYTE_NS
        found.append(pcap.Record(arrival, data, len(data), interface=0))
        found.append(pcap.Record(free_at + WIRE_NS, data, len(data), interface=1))
    return iter(sorted(found, key=lambda record: (record.time_ns, record.interface)))


def main() -> None:
    """Write the file."""
    default = Path(__file__).parents[1] / "captures" / "delay.pcapng"
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    with path.open("wb") as stream:
        writer = pcapng.Writer(stream, interfaces=("router1", "router2"))
        for record in records():
            writer.write(record)


if __name__ == "__main__":
    main()
