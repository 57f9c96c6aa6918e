"""What the language leaves open, often enough to be seen: where packets go that end within their
header after decap, and which entries make room in an LRU table. The reference and the simulator go
on with what the kernel did, and all else is the same."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv6Address
from pathlib import Path
from random import Random

import pytest
from compare_with_kernel import compare
from generated_packets import SID
from generated_router import Place, router
from generated_sources import Generated

from nfc.compiler import compile_file

pytestmark = pytest.mark.kernel

SOURCE = """
counter seen
event e {{ tag: u16 }}
table t: lru[{size}] {{ k: u16 }} to {{ n: u16 }}
table h: hash[3] {{ k: u16 }} to {{ n: u16 }}
state s: u32
endpoint f {{
    when t has [srh.tag & 15] as x {{ set x.n = 9 set s = s + 1 decap to table main }}
    otherwise {{
        put t[srh.tag & 15] {{ n = 1 }}
        {more}
        count seen
        emit e {{ tag = srh.tag }}
        decap to table main
    }}
}}
"""


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with router() as built:
        yield built


def header(label: int, first: int, hops: int, source: str, target: IPv6Address) -> bytes:
    head = (6 << 28 | label).to_bytes(4, "big") + bytes(2) + bytes((first, hops))
    return head + IPv6Address(source).packed + target.packed


def packet(random: Random, label: int) -> bytes:
    """With a packet inside of 0 to 40 bytes."""
    target = IPv6Address(random.choice(("fd20::1", "fd30::1", "fd99::1")))
    inside = header(label, 59, random.choice((64, 64, 2, 1)), "fd11::1", target)
    tag = random.randrange(1 << 16).to_bytes(2, "big")
    srh = bytes((41, 2, 4, 1, 0, 0)) + tag + SID.packed
    body = srh + inside[: random.randrange(41)]
    head = header(label, 43, 64, "fd00:1::1", SID)
    return head[:4] + len(body).to_bytes(2, "big") + head[6:] + body


@pytest.mark.parametrize("size", [1, 4])
@pytest.mark.parametrize("more", ["", "put h[srh.tag & 7] { n = 2 }"])
def test_all_else_is_the_same(place: Place, tmp_path: Path, size: int, more: str) -> None:
    source = SOURCE.format(size=size, more=more)
    path = tmp_path / "f.nf"
    path.write_text(source)
    compilation = compile_file(path, "6.12")
    (compiled,) = compilation.functions
    random = Random(size)
    packets = [packet(random, label) for label in range(80)]
    seen = place.try_out(compilation, compiled, {}, {}, packets)
    generated = Generated(source, "endpoint", (), {}, {})
    found, _ = compare(place, compilation, generated, packets, seen, native=True)
    assert sum(result.beyond for result in found) > 20
    assert sum(bool(result.evicted) for result in found) > 5


def test_a_key_that_is_there_needs_room_too(place: Place, tmp_path: Path) -> None:
    """Found by fuzzing: in a full LRU table, another entry goes for the new value of a key."""
    source = "table t: lru[2] { k: u16 } to { n: u16 } endpoint f { otherwise {" + (
        " put t[srh.tag & 1] { n = srh.tag } forward } }"
    )
    path = tmp_path / "f.nf"
    path.write_text(source)
    compilation = compile_file(path, "6.12")
    (compiled,) = compilation.functions
    packets = [packet(Random(label), label) for label in range(40)]
    seen = place.try_out(compilation, compiled, {}, {}, packets)
    generated = Generated(source, "endpoint", (), {}, {})
    found, _ = compare(place, compilation, generated, packets, seen, native=False)
    assert any(result.evicted for result in found)
