"""For every rule that edits TLVs and every packet: what leaves is what the language says.

The model below is written from docs/language.md ("What can be changed"), not from the compiler:
it works on lists of TLVs, and knows nothing of offsets, padding in place or helper calls.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfc.deploy.deployments import Request, deploy, undeploy
from nfc.lab import Chain, chain
from nfc.packet import Packet, diff, ip, packet, srh, tlv, udp
from nfc.packet.tlvs import TLV, AnyTLV

pytestmark = pytest.mark.kernel

H1, H2, SID = "fd00:1::1", "fd00:2::2", "fd00:a::d"
SIZES = {"A": 3, "B": 4, "C": 7, "D": 18, "E": 10}  # bytes with type and length
NUMBERS = {name: 200 + i for i, name in enumerate(SIZES)}
DECLARED = "\n".join(
    f"tlv {name} = {NUMBERS[name]} {{ x: u8, {''.join('reserved: u8, ' * (size - 3))}}}"
    for name, size in SIZES.items()
)


@dataclass(frozen=True)
class Edit:
    """One edit: `what` is add, remove, remove all, replace or set."""

    what: str
    name: str  # the TLV that is made, or taken out
    value: int = 0
    where: str = "last"
    anchor: str = ""

    def source(self) -> str:
        made = f"{self.name} {{ x = {self.value} }}"
        bound = self.anchor.lower()
        match self.what:
            case "add":
                return f"add {made} {self.where} {bound}".rstrip()
            case "remove":
                return f"remove {bound}"
            case "remove all":
                return f"remove all {self.name}"
            case "replace":
                return f"replace {bound} with {made}"
        return f"set {bound}.x = {self.value}"


def made(name: str, value: int) -> TLV:
    return TLV(NUMBERS[name], bytes([value]) + bytes(SIZES[name] - 3))


@st.composite
def rules(draw: st.DrawFn) -> tuple[list[str], list[Edit]]:
    """TLVs that the condition binds, and edits that do not contradict each other."""
    bound = draw(st.lists(st.sampled_from(sorted(SIZES)), max_size=2, unique=True))
    edits: list[Edit] = []
    taken: set[str] = set()
    for _ in range(draw(st.integers(1, 5))):
        kinds = ["add", "remove all"] + (["remove", "replace", "set", "beside"] if bound else [])
        kind = draw(st.sampled_from(kinds))
        name = draw(st.sampled_from(sorted(SIZES)))
        anchor = draw(st.sampled_from(bound)) if bound else ""
        value = draw(st.integers(0, 255))
        if kind == "add":
            edits.append(Edit("add", name, value, draw(st.sampled_from(["first", "last"]))))
        elif kind == "beside":
            where = draw(st.sampled_from(["before", "after"]))
            edits.append(Edit("add", name, value, where, anchor))
        elif kind == "remove all":
            if name not in taken:
                taken.add(name)
                edits.append(Edit("remove all", name))
        elif anchor not in taken:
            taken.add(anchor)
            edits.append(Edit(kind, name, value, anchor=anchor))
    return bound, edits or [Edit("add", "A", 1)]


def model(tlvs: list[AnyTLV], bound: list[str], edits: list[Edit]) -> list[AnyTLV] | None:
    """The TLVs that leave, without padding at the end; None if the rule does not match."""
    there = [t for t in tlvs if isinstance(t, TLV)]
    anchors: dict[str, int] = {}
    for name in bound:
        size = SIZES[name] - 2
        hits = [i for i, t in enumerate(there) if t.type == NUMBERS[name] and len(t.value) >= size]
        if not hits:
            return None
        anchors[name] = hits[0]
    if all(e.what == "set" for e in edits):
        # Nothing changes its size: padding stays where it is.
        out: list[AnyTLV] = list(tlvs)
        for edit in edits:
            old = there[anchors[edit.anchor]]
            place = next(i for i, t in enumerate(out) if t is old)
            out[place] = TLV(old.type, bytes([edit.value]) + old.value[1:])
        return out
    out = [made(e.name, e.value) for e in edits if e.what == "add" and e.where == "first"]
    for i, old in enumerate(there):
        mine = [e for e in edits if e.anchor and anchors[e.anchor] == i]
        out += [made(e.name, e.value) for e in mine if e.where == "before"]
        stays = old
        gone = any(e.what == "remove all" and NUMBERS[e.name] == old.type for e in edits)
        for edit in mine:
            if edit.what == "replace":
                out.append(made(edit.name, edit.value))
            gone |= edit.what in ("remove", "replace")
            if edit.what == "set":
                stays = TLV(old.type, bytes([edit.value]) + old.value[1:])
        if not gone:
            out.append(stays)
        out += [made(e.name, e.value) for e in mine if e.where == "after"]
    return out + [made(e.name, e.value) for e in edits if e.what == "add" and e.where == "last"]


@st.composite
def tlv_lists(draw: st.DrawFn) -> list[AnyTLV]:
    """TLVs of the declared and of other types, shorter and longer ones, padding anywhere."""
    found: list[AnyTLV] = []
    for _ in range(draw(st.integers(0, 8))):
        kind = draw(st.sampled_from([*SIZES, *SIZES, "pad", "other", "long", "short"]))
        fill = draw(st.integers(0, 255))
        if kind in SIZES:
            found.append(made(kind, fill))
        elif kind == "pad":
            found.append(tlv(4, bytes(draw(st.integers(0, 9)))))
        elif kind == "other":
            found.append(TLV(99, bytes([fill]) * draw(st.integers(0, 20))))
        else:
            name = draw(st.sampled_from(sorted(SIZES)))
            size = SIZES[name] - 2 + (3 if kind == "long" else -1)
            found.append(TLV(NUMBERS[name], bytes([fill]) * size))
    return found


def sent(tlvs: list[AnyTLV], number: int) -> Packet:
    return packet(
        ip(H1, SID), srh([SID, H2], left=1, tlvs=tlvs), udp(4000, 5000), number.to_bytes(4, "big")
    )


def expected(tlvs: list[AnyTLV], number: int, *, pad: bool) -> bytes:
    return bytes(
        packet(
            ip(H1, H2, hop_limit=63),
            srh([SID, H2], left=0, tlvs=tlvs, pad=pad),
            udp(4000, 5000),
            number.to_bytes(4, "big"),
        )
    )


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with pytest.MonkeyPatch.context() as patch, chain("h1", "r1", "h2") as built:
        patch.setenv("NFC_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield built
        undeploy([], None, all_=True)


@given(rules(), st.lists(tlv_lists(), min_size=10, max_size=20))
@settings(
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
def test_what_leaves_is_what_the_language_says(
    net: Chain,
    tmp_path: Path,
    rule: tuple[list[str], list[Edit]],
    packets: list[list[AnyTLV]],
) -> None:
    bound, edits = rule
    guard = " and ".join(f"srh has {name} as {name.lower()}" for name in bound)
    head = f"when {guard}" if guard else "otherwise"
    body = " ".join(edit.source() for edit in edits)
    tail = "otherwise drop" if guard else ""
    source = f"{DECLARED}\nendpoint f {{ {head} {{ {body} forward }} {tail} }}\n"
    path = tmp_path / "program.nf"
    path.write_text(source)
    deploy(Request(path, SID, "eth0", name="f", netns=net.lab.name("r1")))
    want = []
    for number, tlvs in enumerate(packets):
        whole = list(sent(tlvs, number).srh.tlvs)  # type: ignore[union-attr]
        out = model(whole, bound, edits)
        if out is not None:
            kept = all(e.what == "set" for e in edits)
            want.append(expected(out, number, pad=not kept))
    with net.lab.capture("h2", "eth0") as capture:
        net.lab.send("h1", "eth0", *[sent(t, n) for n, t in enumerate(packets)])
        got = capture.packets(len(want), timeout=3.0)
        got += capture.packets(1, timeout=0.01)
    for one, other in zip(want, got, strict=False):
        assert one == other, f"{source}\n{diff(one, other)}"
    assert len(got) == len(want), source
