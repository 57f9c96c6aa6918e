"""Around tracing: what a router's answer may hold, what probes bring back, pictures, files, the
command line; any bytes."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.discovery.ask import DROPS, NO_ROUTE, UNANSWERED, UNREADABLE, Told, header, read
from nfc.discovery.graph import Graph, Node
from nfc.discovery.picture import svg
from nfc.discovery.probes import Probes
from nfc.discovery.routers import read as read_routers
from nfc.errors import NfcError

Nfc = Callable[..., tuple[int, str, str]]

END = IPv6Address("fd00::99")


def address(router: int) -> IPv6Address:
    return IPv6Address(f"fd00::{router:x}")


names = st.sampled_from(["a", "b<", "c&", "d"])


@given(st.dictionaries(names, st.lists(names, max_size=3, unique=True)))
def test_a_picture_has_each_router_and_each_arrow(shape: dict[str, list[str]]) -> None:
    """For every graph, with circles or not."""
    reached, waiting = set(), ["a"]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += shape.get(name, [])
    nodes = {name: Node(name, "probed", shape.get(name, [])) for name in reached}
    graph = Graph("d", ["a"], nodes)
    drawn = ElementTree.fromstring(svg(graph))
    texts = {t.text for t in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= {"here", *reached}
    arrows = sum(1 for _ in drawn.iter("{http://www.w3.org/2000/svg}path"))
    assert arrows == 1 + sum(len(node.next) for node in nodes.values())
    assert len(graph.lines()) <= 1 + arrows


@given(st.binary(max_size=300))
def test_any_bytes_are_an_answer_or_a_problem(data: bytes) -> None:
    for srh in (data, bytes((0, len(data) // 8 + 2, 4, 0, 0, 0, 0, 0)) + bytes(16) + data):
        told = read(srh, END)
        assert len(told.hops) <= 8
        assert told.found != bool(told.problem)


def test_an_answer() -> None:
    srh = bytearray(header(address(1), END))
    assert len(srh) % 8 == 0
    assert read(bytes(srh), END) == UNANSWERED  # it is the query
    at = 8 + 32
    srh[at + 2 : at + 4] = bytes((1, 9))  # of nine next hops eight fit
    srh[at + 20 : at + 36] = address(7).packed
    told = read(bytes(srh), END)
    assert (told.hops[0], len(told.hops), told.count) == (address(7), 8, 9)
    assert not told.whole
    assert read(bytes(srh), address(1)) == UNREADABLE  # an answer for another
    assert read(bytes(srh[:-8]), END) == UNREADABLE  # cut off
    srh[at + 3] = 0
    assert read(bytes(srh), END) == UNREADABLE
    srh[at + 2] = NO_ROUTE
    assert read(bytes(srh), END) == DROPS
    srh[at + 2] = 77
    assert read(bytes(srh), END) == UNREADABLE
    assert Told(True, (address(1),), 1).whole


@given(st.binary(max_size=64))
def test_any_bytes_are_an_icmp_error_or_none(data: bytes) -> None:
    probes = Probes(END)
    probes._flows[3] = 0
    assert probes._probe(data, 3) is None
    for head in (b"", struct.pack("@IBBBBII", 113, 3, 3, 0, 0, 0, 0)):
        seen = probes._seen(head + data)
        assert seen is None or seen.address is not None


def test_an_error_that_quotes_another_run_is_left_alone() -> None:
    mine, other = Probes(END), Probes(END)
    quoted = struct.pack("!12s8sIB", b"nfc segtrace", mine._token, 0, 7)
    for probes in (mine, other):
        probes._flows.update({3: 0, 4: 1})
    assert mine._probe(quoted, 3) == (0, 7)
    assert mine._probe(quoted, 4) is None  # it came to another flow's port
    assert other._probe(quoted, 3) is None


WRONG = {
    "router = 3": "written as [[router]]",
    "[[router]]\nname = 'a'": "router[1].addresses is missing",
    "[[router]]\nname = 'a'\naddresses = []": "router[1].addresses must be a list",
    "[[router]]\nname = 'a'\naddresses = ['x']": "router[1].addresses must be",
    "[[router]]\nname = 'a'\naddresses = ['::1']\nsids = '::1'": "did you mean 'sid'",
    "[[routers]]": "there is no such key",
    "router = ": "Invalid value",
}


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_a_wrong_file(text: str, tmp_path: Path, nfc: Nfc) -> None:
    file = tmp_path / "routers.toml"
    file.write_text(text)
    with pytest.raises(NfcError) as error:
        read_routers(file)
    assert WRONG[text] in f"{error.value.message} {error.value.hint}"
    assert str(file) in error.value.message


@pytest.mark.parametrize("destination", ["there", "ff02::1", "::", "fe80::1%lo", "192.0.2.1"])
def test_no_destination(destination: str, nfc: Nfc) -> None:
    assert nfc("segtrace", destination)[0] == 2


@pytest.mark.parametrize("option", ["--confidence=100", "--confidence=0", "--flows=0"])
def test_no_such_effort(option: str, nfc: Nfc) -> None:
    assert nfc("segtrace", "fd00::1", option)[0] == 2


def test_no_other_picture(nfc: Nfc, tmp_path: Path) -> None:
    status, _, err = nfc("segtrace", "fd00::1", "-o", tmp_path / "graph.png")
    assert (status, "what is drawn is an SVG" in err, "graph.svg" in err) == (2, True, True)
    (tmp_path / "lab.toml").write_text("[node.a]\n")
    status, _, err = nfc("lab", "picture", tmp_path / "lab.toml", "-o", tmp_path / "lab.png")
    assert (status, "what is drawn is an SVG" in err) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lab.toml"]


def test_a_namespace_that_is_not_there(nfc: Nfc) -> None:
    status, out, _ = nfc("segtrace", "fd00::1", "--netns", "not-there", "--json")
    assert status == 1
    assert json.loads(out)["ok"] is False
