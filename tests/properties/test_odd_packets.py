"""Packets that routers rarely see, written by hand: the kernel, the reference and the simulator
come to the same of each. Hop-by-Hop options, sources that nobody has, next hops on no link."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path

import pytest
from compare_with_kernel import compare
from generated_packets import SID, TRANSIT
from generated_router import Place, router
from generated_sources import Generated

from nfc.compiler import compile_file

pytestmark = pytest.mark.kernel

# Hop-by-Hop options: two bytes short of a multiple of 8.
OPTIONS = (
    "010400000000",  # PadN
    "000000000000",  # Pad1, six times
    "010400000009",  # PadN that is not all zero
    "010200000100",  # PadN, PadN of nothing
    "01050000000000" + "00" * 7,  # too much padding in a row
    "00" * 14,
    "000000000100",  # it ends within an option
    "1e0401020304",  # unknown: pass over it
    "5e0401020304",  # unknown: discard
    "9e0401020304",  # unknown: discard, and say so
    "de0401020304",
    "1e00" * 7,
    "1e00" * 8 + "010400000000",  # eight of them
    "1e00" * 11,  # more than 8
    "1e0500000000",  # longer than the header
    "050200000100",  # router alert
    "050200010000",
    "050300000000",  # router alert of another length
    "c20400010000",  # a jumbo payload that is none
    "c20400000009",
    "000031020000",  # IOAM at a multiple of four
    "310400000000",  # IOAM elsewhere
    "070400000000",  # CALIPSO
    "070a" + "00" * 10 + "0100",
)
SOURCES = ("::1", "::", "ff02::1", "ff0e::1", "::ffff:1.2.3.4", "fe80::1", "fd00:a::1", "fd20::1")
NEXT = ("fe80::1", "fe81::1", "ff02::1", "ff0e::1", "ff01::1", "::1", "::", "fd00:a::1", "fd99::1")
UDP = bytes.fromhex("0fa000350008") + b"\x12\x34"
FORWARD = "otherwise { count seen forward }"
MARKED = "otherwise { set packet.mark = 7 count seen forward }"  # table 107 has a default route
ENCAP = "otherwise { encap segments [fd20::1] }"
TO_LAST = """
    when srh.tag == 0 { forward via srh.segment_list[0] }
    when srh.tag == 1 { encap segments [srh.segment_list[0]] }
    otherwise { insert segments [srh.segment_list[0]] }
"""
FUNCTIONS = (
    *(("endpoint", rules) for rules in (FORWARD, MARKED, "otherwise { decap to table main }")),
    *(("endpoint", rules) for rules in (ENCAP, TO_LAST)),
    *(("in", rules) for rules in (FORWARD, MARKED, ENCAP)),
    ("out", FORWARD),
    ("xmit", MARKED),
)


def packet(label: int, first: int, body: bytes, source: str, target: IPv6Address) -> bytes:
    head = (6 << 28 | label).to_bytes(4, "big") + len(body).to_bytes(2, "big")
    return head + bytes((first, 64)) + IPv6Address(source).packed + target.packed + body


def srh(label: int, *segments: str, tag: int = 0) -> bytes:
    """An SRH with these segments, the last one first, behind that of the SID; a packet inside."""
    inside = packet(label, 17, UDP, "fd11::1", IPv6Address("fd20::2"))
    count = len(segments)
    head = bytes((41, 2 * count + 2, 4, count, count, 0, 0, tag))
    return head + b"".join(IPv6Address(s).packed for s in segments) + SID.packed + inside


def packets(target: IPv6Address) -> list[bytes]:
    """All of them; each has a flow label of its own, the packet inside the same."""
    found: list[bytes] = []

    def add(first: int, header: bytes, *to: str, source: str = "fd00:1::1", tag: int = 0) -> None:
        label = 0x800 + len(found)
        found.append(packet(label, first, header + srh(label, *to, tag=tag), source, target))

    for text in OPTIONS:
        options = bytes.fromhex(text)
        add(0, bytes((43, (len(options) + 2) // 8 - 1)) + options, "fd20::1")
    for source in SOURCES:
        add(43, b"", "fd20::1", source=source)
    for address in NEXT:
        add(43, b"", address)
        for tag in range(3):
            add(43, b"", address, "fd20::1", tag=tag)
    return found


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with router() as built:
        yield built


@pytest.mark.parametrize(("hook", "rules"), FUNCTIONS)
def test_three_say_the_same(place: Place, tmp_path: Path, hook: str, rules: str) -> None:
    head = "endpoint f" if hook == "endpoint" else f"transit f at {hook}"
    source = f"counter seen {head} {{ {rules} }}"
    path = tmp_path / "odd.nf"
    path.write_text(source)
    compilation = compile_file(path, "6.12")
    (compiled,) = compilation.functions
    sent = packets(SID if hook == "endpoint" else TRANSIT)
    seen = place.try_out(compilation, compiled, {}, {}, sent)
    generated = Generated(source, hook, (), {}, {})
    compare(place, compilation, generated, sent, seen, native=True)
