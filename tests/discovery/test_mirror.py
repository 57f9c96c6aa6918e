"""What the table holds, out of rules and routes, without a kernel: the order of writing, routes
that encapsulate, what is doubtful, any bytes."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfc.discovery.bell import Host
from nfc.discovery.mirror import HERE, Globals, Hops, changes, doubts, wanted
from nfc.discovery.rib import Entry, Prefix, Rib, Way, rib
from nfc.discovery.rules import GOTO, TO_TABLE, Rule, parse
from nfc.errors import KernelError
from nfc.kernel import rtattr


def prefix(text: str) -> Prefix:
    network = IPv6Network(text)
    return network.prefixlen, network.network_address.packed


def address(text: str) -> bytes:
    return IPv6Address(text).packed


def match(table: dict[Prefix, Hops], first: int) -> Hops | None:
    """What is said to an address that begins with that byte, by prefixes of up to 8 bits."""
    for length in range(8, -1, -1):
        network = bytes([first >> (8 - length) << (8 - length)]) + bytes(15)
        if (length, network) in table:
            return table[length, network]
    return None


small = st.builds(
    lambda bits, value: (bits, (value >> (8 - bits) << (8 - bits)).to_bytes(1, "big") + bytes(15)),
    st.integers(0, 8),
    st.integers(0, 255),
)
entries = st.dictionaries(small, st.binary(min_size=1, max_size=1).map(lambda b: (b,)), max_size=9)


@given(entries, entries)
def test_no_destination_has_a_third_answer(
    old: dict[Prefix, Hops], new: dict[Prefix, Hops]
) -> None:
    """For every two tables, while one is made of the other, entry by entry."""
    targets = range(0, 256, 5)
    first = {target: match(old, target) for target in targets}
    last = {target: match(new, target) for target in targets}
    table = dict(old)
    arrived: set[int] = set()
    for one in changes(old, new):
        if one in new:
            table[one] = new[one]
        else:
            del table[one]
        for target in targets:
            answer = match(table, target)
            if first[target] != last[target] and answer == last[target]:
                arrived.add(target)
            assert answer == (last if target in arrived else first)[target]
    assert table == new


GATEWAY, OTHER, SEGMENT = address("fd00:2::a"), address("fd00:2::b"), address("fd00:f::1")


def held(*routes: tuple[str, Entry], rules: tuple[Rule, ...] | None = None) -> dict[Prefix, Hops]:
    tables = {254: {prefix(text): entry for text, entry in routes}}
    whole = Rib(tables=tables) if rules is None else Rib(rules, tables)
    return dict(wanted(whole, Globals({})))


def test_what_is_encapsulated_goes_to_its_first_segment() -> None:
    found = held(
        ("fd00:70::/32", Entry((Way(1, None, SEGMENT), Way(1, GATEWAY)))),
        ("fd00:71::/32", Entry((Way(1, None, address("fd00:f:9::1")),))),
        ("fd00:72::/32", Entry((Way(1, None, address("fd00:72::1")),))),
        ("fd00:73::/32", Entry((Way(1, None, address("fd00:aa::1")),))),
        ("fd00:f::/64", Entry((Way(1, OTHER),))),
        ("fd00:f:9::/64", Entry((Way(1),))),
    )
    assert found[prefix("fd00:70::/32")] == (OTHER, GATEWAY)
    assert found[prefix("fd00:71::/32")] == (address("fd00:f:9::1"),)  # it is on the link
    assert found[prefix("fd00:72::/32")] == ()  # round and round
    assert found[prefix("fd00:73::/32")] == ()  # no route to the segment
    assert found[prefix("fd00:f:9::/64")] == (HERE,)


def test_rules_that_lead_in_a_circle_end() -> None:
    """The kernel takes no such rules; what it tells is not trusted with that."""
    rules = (Rule(1, GOTO, target=2), Rule(2, GOTO, target=1), Rule(3, TO_TABLE, 254))
    found = held(("fd00:70::/32", Entry((Way(1, GATEWAY),))), rules=rules)
    assert found[prefix("fd00:70::/32")] == (GATEWAY,)


def test_one_table_alone() -> None:
    entry = Entry((Way(1, GATEWAY),))
    tables = {255: {prefix("fd00::1/128"): Entry((Way(0),))}, 7: {prefix("fd00::/16"): entry}}
    found = wanted(Rib(tables=tables), Globals({}), 7)
    assert found == {prefix("::/0"): (), prefix("fd00::/16"): (GATEWAY,)}


def test_what_a_destination_does_not_decide_is_named() -> None:
    rules = (
        Rule(10, TO_TABLE, 7, to=(16, 0xFD << 120), needs=("from", "iif")),
        Rule(20, TO_TABLE, 8),
        Rule(1000, TO_TABLE, needs=("l3mdev",)),
    )
    assert doubts(Rib(rules, {}, 2)) == [
        "rule 10 to fd00::/16 (from, iif) looks at more than the destination: "
        "followed as for a forwarded packet without it",
        "rule 1000 (l3mdev): packets of a VRF have a table of their own (--table)",
        "2 routes for certain sources only are left out",
    ]


def test_a_neighbour_known_by_its_link_local_address() -> None:
    link_local, mac = address("fe80::1"), bytes(6)
    known = Globals(
        {
            (1, link_local): mac,
            (1, address("fd00::5")): mac,
            (1, address("fd00::4")): mac,
            (2, address("fd00::3")): mac,
        }
    )
    assert known.of(1, link_local) == address("fd00::4")
    assert known.of(2, link_local) == link_local
    assert known.of(1, HERE) == HERE


hosts = st.tuples(
    st.integers(1, 2),
    st.sampled_from([address(a) for a in ("fe80::1", "fe80::2", "fd00::1", "fd00::2")]),
)
macs = st.sampled_from([bytes([n] * 6) for n in range(3)])


@settings(max_examples=50)
@given(
    st.dictionaries(hosts, macs),
    st.dictionaries(hosts, st.none() | macs),
    st.lists(hosts, max_size=3),
)
def test_what_concerns_nobody_changes_no_answer(
    before: dict[Host, bytes], news: dict[Host, bytes | None], asked: list[Host]
) -> None:
    """For every neighbour table, change of it, and what was asked for."""
    known = Globals(before)
    answers = [known.of(*one) for one in asked]
    merged = {host: lladdr for host, lladdr in {**before, **news}.items() if lladdr is not None}
    now = [Globals(merged).of(*one) for one in asked]
    assert known.concern(news) or now == answers
    assert not known.concern(dict(before))


attributes = st.lists(
    st.tuples(st.integers(0, 31), st.binary(max_size=40)), max_size=6
).map(rtattr.pack)  # fmt: skip


@given(st.binary(max_size=80) | st.tuples(st.binary(min_size=12, max_size=12), attributes).map(
    lambda both: both[0] + both[1]
))  # fmt: skip
def test_any_bytes_are_a_rule_and_a_route_or_an_error(body: bytes) -> None:
    for read in (parse, lambda one: wanted(rib((), [one], dict), Globals({}))):
        try:
            read(body)
        except KernelError:
            continue


def test_a_rule_with_a_selector_that_nobody_knows() -> None:
    body = struct.pack("=BBBBBBBBI", 10, 0, 0, 0, 254, 0, 0, TO_TABLE, 0)
    rule = parse(body + rtattr.pack([(6, rtattr.u32(9)), (99, b"\1\0\0\0")]))
    assert (rule.priority, rule.plain, rule.needs) == (9, False, ("selector 99",))
    with pytest.raises(KernelError):
        parse(body[:8])
