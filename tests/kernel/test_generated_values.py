"""For every layout of a TLV and every expression: the kernel computes what the language says.

The model follows docs/language.md ("Values and types"): unsigned, wrapping at the width of the
wider side; x / 0 = 0, x % 0 = x; a shift by the width or more gives 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfc.deploy.deployments import Request, deploy, undeploy
from nfc.deploy.places import events_map
from nfc.lab import Chain, chain
from nfc.observe.events import read_events
from nfc.packet import diff, ip, packet, srh, udp
from nfc.packet.tlvs import TLV

pytestmark = pytest.mark.kernel

H1, H2, SID = "fd00:1::1", "fd00:2::2", "fd00:a::d"
NUMBER = 222
HOP_LIMIT = 61


@dataclass(frozen=True)
class Seen:
    """A packet as it arrived: the TLV's fields, and the SRH's."""

    fields: tuple[int, ...]
    tag: int
    flags: int


@dataclass(frozen=True)
class Expr:
    """Source text, width in bits, and its value for a packet; `literal` for a number."""

    text: str
    bits: int
    value: Callable[[Seen], int]
    literal: bool = False


def compute(op: str, a: int, b: int, bits: int) -> int:
    mask = (1 << bits) - 1
    match op:
        case "+":
            return (a + b) & mask
        case "-":
            return (a - b) & mask
        case "*":
            return (a * b) & mask
        case "/":
            return a // b if b else 0
        case "%":
            return a % b if b else a
        case "&":
            return a & b
        case "|":
            return a | b
        case "^":
            return a ^ b
        case "<<":
            return (a << b) & mask if b < bits else 0
    return a >> b if b < bits else 0


@st.composite
def layouts(draw: st.DrawFn) -> tuple[int, ...]:
    """Widths of fields that together fill whole bytes."""
    widths = draw(st.lists(st.integers(1, 64), min_size=1, max_size=6))
    rest = -sum(widths) % 8
    return tuple(widths) + ((rest,) if rest else ())


def exprs(widths: tuple[int, ...]) -> st.SearchStrategy[Expr]:
    def field(i: int) -> Expr:
        return Expr(f"t.f{i}", widths[i], lambda seen: seen.fields[i])

    plain = st.one_of(
        st.integers(0, len(widths) - 1).map(field),
        st.just(Expr("srh.tag", 16, lambda seen: seen.tag)),
        st.just(Expr("srh.flags", 8, lambda seen: seen.flags)),
        st.just(Expr("ip.hop_limit", 8, lambda seen: HOP_LIMIT)),
        st.just(Expr("limit", 32, lambda seen: 0xDEADBEEF)),
    )
    literals = st.one_of(st.integers(0, 70), st.integers(0, (1 << 64) - 1)).map(
        lambda n: Expr(str(n), max(1, n.bit_length()), lambda seen: n, literal=True)
    )

    def combined(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
        return st.builds(
            binary,
            st.sampled_from("+-*/%&|^") | st.sampled_from(["<<", ">>"]),
            inner,
            inner | literals,
        )

    return st.recursive(plain, combined, max_leaves=6)


def binary(op: str, a: Expr, b: Expr) -> Expr:
    bits = a.bits if op in ("<<", ">>") else max(a.bits, b.bits)
    narrow = min(bits, b.bits) if op == "&" and b.literal else bits
    return Expr(
        f"({a.text} {op} {b.text})",
        narrow,
        lambda seen: compute(op, a.value(seen), b.value(seen), bits),
    )


@st.composite
def programs(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Expr], dict[int, Expr], Expr]:
    """A layout, values to report, fields to set, and a value to compare with a field."""
    widths = draw(layouts())
    values = draw(st.lists(exprs(widths), min_size=1, max_size=4))
    places = draw(st.lists(st.integers(0, len(widths) - 1), max_size=3, unique=True))
    return widths, values, {i: draw(exprs(widths)) for i in places}, draw(exprs(widths))


def pack(widths: tuple[int, ...], fields: tuple[int, ...]) -> TLV:
    total = 0
    for bits, value in zip(widths, fields, strict=True):
        total = total << bits | value
    return TLV(NUMBER, total.to_bytes(sum(widths) // 8, "big"))


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with pytest.MonkeyPatch.context() as patch, chain("h1", "r1", "h2") as built:
        patch.setenv("NFC_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield built
        undeploy([], None, all_=True)


@given(programs(), st.data())
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_the_kernel_computes_what_the_language_says(
    net: Chain,
    tmp_path: Path,
    program: tuple[tuple[int, ...], list[Expr], dict[int, Expr], Expr],
    data: st.DataObject,
) -> None:
    widths, values, changes, other = program
    declared = ", ".join(f"f{i}: u{bits}" for i, bits in enumerate(widths))
    emitted = ", ".join(f"v{i} = {e.text}" for i, e in enumerate(values))
    sets = " ".join(f"set t.f{i} = {e.text} & {(1 << widths[i]) - 1}" for i, e in changes.items())
    source = (
        f"param limit: u32 = 0xdeadbeef\ntlv T = {NUMBER} {{ {declared} }}\n"
        f"event e {{ {', '.join(f'v{i}: u64' for i in range(len(values)))}, less: u1 }}\n"
        f"endpoint f {{\n when srh has T as t and t.f0 < {other.text} {{"
        f" emit e {{ {emitted}, less = 1 }} {sets} forward }}\n"
        f" when srh has T as t {{ emit e {{ {emitted}, less = 0 }} {sets} forward }}\n"
        " otherwise drop\n}\n"
    )
    path = tmp_path / "program.nf"
    path.write_text(source)
    record = deploy(Request(path, SID, "eth0", name="f", netns=net.lab.name("r1"))).record
    packets = [
        Seen(
            tuple(data.draw(st.integers(0, (1 << bits) - 1)) for bits in widths),
            data.draw(st.integers(0, 0xFFFF)),
            data.draw(st.integers(0, 0xFF)) & 0xF7,
        )
        for _ in range(8)
    ]
    sent: list[bytes] = []
    want: list[bytes] = []
    for number, seen in enumerate(packets):
        after = list(seen.fields)
        for i, change in changes.items():
            after[i] = change.value(seen) & ((1 << widths[i]) - 1)
        for fields, dst, left, hop, out in (
            (seen.fields, SID, 1, HOP_LIMIT, sent),
            (tuple(after), H2, 0, HOP_LIMIT - 1, want),
        ):
            header = srh(
                [SID, H2], left=left, tag=seen.tag, flags=seen.flags, tlvs=[pack(widths, fields)]
            )
            body = number.to_bytes(4, "big")
            out.append(bytes(packet(ip(H1, dst, hop_limit=hop), header, udp(4000, 5000), body)))
    with net.lab.capture("h2", "eth0") as capture:
        net.lab.send("h1", "eth0", *sent)
        got = capture.packets(len(want), timeout=3.0)
    with events_map(record) as ring:
        reported = [dict(e.fields) for e in read_events(ring, record.manifest, count=8, timeout=1)]
    assert len(got) == len(want), source
    for seen, one, other_, event in zip(packets, want, got, reported, strict=True):
        for i, value in enumerate(values):
            assert event[f"v{i}"] == value.value(seen), f"{source}\n{value.text} of {seen}"
        assert event["less"] == (seen.fields[0] < other.value(seen)), source
        assert one == other_, f"{source}\n{diff(one, other_)}"
