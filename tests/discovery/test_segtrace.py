"""Tracing without a network: graphs out of what routers and flows tell; files; any bytes."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv6Address
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.discovery.ask import NO_ROUTE, Told, header, read
from nfc.discovery.mirror import HERE, Globals, Neighbour
from nfc.discovery.picture import svg
from nfc.discovery.routers import read as read_routers
from nfc.discovery.segtrace import Router, trace
from nfc.errors import NfcError

Nfc = Callable[..., tuple[int, str, str]]

END = IPv6Address("fd00::99")


def address(router: int) -> IPv6Address:
    return IPv6Address(f"fd00::{router:x}")


def sid(router: int) -> IPv6Address:
    return IPv6Address(f"fd00:f::{router:x}")


@st.composite
def networks(draw: st.DrawFn) -> dict[int, list[int]]:
    """Routers 1 to n, each with next hops of a higher number; 0 stands for the destination."""
    count = draw(st.integers(1, 7))
    made = {}
    for router in range(1, count + 1):
        above = st.sampled_from([*range(router + 1, count + 1), 0])
        made[router] = sorted(draw(st.sets(above, min_size=1, max_size=3)))
    return made


def all_paths(network: dict[int, list[int]], router: int = 1) -> set[tuple[int, ...]]:
    if router == 0:
        return {(0,)}
    return {(router, *rest) for hop in network[router] for rest in all_paths(network, hop)}


@given(networks(), st.sets(st.integers(1, 7)))
def test_all_paths_are_found_whoever_is_asked(
    network: dict[int, list[int]], deployed: set[int]
) -> None:
    """For every network, and whichever routers have End.OAMP, if flows take every path."""
    routers = [Router(f"r{n}", (address(n),), sid(n) if n in deployed else None) for n in network]
    routers.append(Router("r0", (END,)))

    def asker(at: IPv6Address) -> Told:
        hops = network[int(at) & 0xFF]
        return Told(True, tuple(IPv6Address(0) if h == 0 else address(h) for h in hops), len(hops))

    paths = all_paths(network)
    flows = [[END if hop == 0 else address(hop) for hop in path] for path in paths]
    graph = trace(END, routers, asker, flows)
    assert set(graph.paths()) == {tuple(f"r{n}" for n in path) for path in paths}
    asked = {n.name for n in graph.nodes.values() if n.how == "asked"}
    reached = {hop for path in paths for hop in path}
    assert asked == {f"r{n}" for n in network if n in deployed and n in reached}
    assert len(graph.lines()) >= len(graph.nodes)
    drawn = ElementTree.fromstring(svg(graph))
    texts = {t.text for t in drawn.iter("{http://www.w3.org/2000/svg}text")}
    assert texts >= {"here", *graph.nodes}
    arrows = sum(1 for _ in drawn.iter("{http://www.w3.org/2000/svg}path"))
    assert arrows == len(graph.first) + sum(len(n.next) for n in graph.nodes.values())


def test_a_loop_ends() -> None:
    told = {1: 2, 2: 1}
    routers = [Router(f"r{n}", (address(n),), sid(n)) for n in told]
    graph = trace(
        END,
        routers,
        lambda at: Told(True, (address(told[int(at) & 0xFF]),), 1),
        [[address(1)]],
    )
    assert graph.paths() == []
    assert graph.lines() == ["└─ r1", "   └─ r2", "      └─ r1  …"]
    assert svg(graph).count("<path") == 3


def test_who_is_silent_is_shown() -> None:
    graph = trace(END, [], lambda at: None, [[address(1), None, END]])
    assert graph.lines() == ["└─ fd00::1  (silent)"]


@given(st.binary(max_size=300) | st.just(b""))
def test_any_bytes_are_an_answer_or_none(data: bytes) -> None:
    for srh in (data, bytes((0, 0, 4, 0, 0, 0, 0, 0)) + bytes(16) + data):
        told = read(srh, END)
        assert told is None or len(told.hops) <= 8


def test_an_answer() -> None:
    srh = bytearray(header(sid(1), END))
    assert len(srh) % 8 == 0
    assert read(bytes(srh), END) is None  # it is the query
    at = 8 + 32
    srh[at + 2 : at + 4] = bytes((1, 9))  # of nine next hops eight fit
    srh[at + 20 : at + 36] = address(7).packed
    told = read(bytes(srh), END)
    assert told is not None
    assert (told.hops[0], len(told.hops), told.count) == (address(7), 8, 9)
    assert read(bytes(srh), address(1)) is None  # an answer for another
    srh[at + 2] = NO_ROUTE
    assert read(bytes(srh), END) == Told(False, (), 0)


def test_a_neighbour_known_by_its_link_local_address() -> None:
    link_local, mac = IPv6Address("fe80::1").packed, bytes(6)
    known = Globals(
        [
            Neighbour(1, link_local, mac),
            Neighbour(1, address(5).packed, mac),
            Neighbour(1, address(4).packed, mac),
            Neighbour(2, address(3).packed, mac),
        ]
    )
    assert known.of(1, link_local) == address(4).packed
    assert known.of(2, link_local) == link_local
    assert known.of(1, HERE) == HERE


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


def test_no_address(nfc: Nfc) -> None:
    assert nfc("segtrace", "there")[0] == 2
