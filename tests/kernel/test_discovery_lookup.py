"""For every set of rules and routes, what the mirror says of a destination is where the kernel
sends packets to it.

r1 has three more links; nobody is at the other end of x3, so that it has no carrier.
"""

from __future__ import annotations

import os
import socket
import struct
import subprocess
from collections.abc import Iterator, Mapping
from ipaddress import IPv6Address, IPv6Network

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from nfc.discovery.mirror import HERE, Globals, Hops, wanted
from nfc.discovery.rib import Prefix, look
from nfc.kernel import rtattr
from nfc.kernel.netns import run_in
from nfc.kernel.route import HEADER
from nfc.lab import chain

pytestmark = pytest.mark.kernel

LINKS = ("x1", "x2", "x3")
GATEWAYS = [f"fd00:9{n}::{last}" for n in (1, 2, 3) for last in ("a", "b")]
PREFIXES = (
    "::/0",
    "fd00:70::/32",
    "fd00:70:1::/48",
    "fd00:70:1::/64",
    "fd00:70:1:8000::/49",
    "fd00:70:1::5/128",
    "fd00:71::/32",
)
TARGETS = (
    *("2001:db8::1", "fd00:70:2::1", "fd00:70:1:1::1", "fd00:70:1::1", "fd00:70:1:9000::1"),
    *("fd00:70:1::5", "fd00:71::1", "fd00:91::", "fd00:91::a", "fd00:91::1"),
)
OBJECTS = (
    f"nexthop replace id 1 via {GATEWAYS[0]} dev x1",
    f"nexthop replace id 2 via {GATEWAYS[2]} dev x2",
    "nexthop replace id 3 blackhole",
    "nexthop replace id 4 dev x2",
)
GROUPS = (
    "nexthop replace id 10 group 1/2,3",
    "nexthop replace id 11 group 1/2 type resilient buckets 32",
)
EXAMPLES = int(os.environ.get("NFC_LOOKUP_EXAMPLES", "60"))
PHASES = [Phase.generate] if os.environ.get("NOSHRINK") else list(Phase)


def batch(netns: str, *lines: str, force: bool = False, family: str = "-6") -> None:
    command = ["ip", "-n", netns, family, *(["-force"] if force else []), "-batch", "-"]
    text = "\n".join(lines) + "\n"
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert force or done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def r1() -> Iterator[str]:
    with chain("h1", "r1") as net:
        name = net.lab.name("r1")
        lines = []
        for n, link in enumerate(LINKS, start=1):
            lines += [
                f"link add {link} type veth peer name y{n}",
                f"link set y{n} up",
                f"link set {link} up",
                f"address add fd00:9{n}::1/64 dev {link} nodad",
            ]
        batch(name, "route del default", *lines, "link set y3 down")
        net.lab.sysctl("r1", "net.ipv6.fib_multipath_hash_policy", 1)
        net.lab.sysctl("r1", "net.ipv6.conf.all.forwarding", 1)
        yield name


class Kernel:
    """Asks it where a packet that came in by eth0 goes."""

    def __init__(self, netns: str) -> None:
        self.socket = run_in(netns, lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
        self.iif = run_in(netns, lambda: socket.if_nametoindex("eth0"))

    def __enter__(self) -> Kernel:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def way(self, target: IPv6Address, port: int | None = None) -> bytes | None:
        """The gateway, HERE, or None where the packet is dropped."""
        attributes = [(1, target.packed), (3, rtattr.u32(self.iif)), (25, rtattr.u32(0))]
        if port is not None:  # RTA_IP_PROTO, _SPORT, _DPORT
            attributes += [(27, bytes([17])), (28, struct.pack("!H", port)), (29, b"\0\x09")]
        body = HEADER.pack(10, 128, 0, 0, 0, 0, 0, 0, 0) + rtattr.pack(attributes)
        self.socket.send(struct.pack("=IHHII", 16 + len(body), 26, 1, 0, 0) + body)
        answer = self.socket.recv(8192)
        length, kind = struct.unpack_from("=IH", answer)
        if kind == 2:  # NLMSG_ERROR: a route that drops, or none
            return None
        if answer[16 + 7] == 2:  # RTN_LOCAL
            return HERE
        found = rtattr.unpack(answer[16 + HEADER.size : length])
        return rtattr.find(found, rtattr.GATEWAY) or HERE

    def ways(self, target: IPv6Address, flows: int) -> set[bytes | None]:
        return {self.way(target)} | {self.way(target, 40000 + n) for n in range(flows)}


def match(found: Mapping[Prefix, Hops], target: IPv6Address) -> Hops:
    for length in range(128, -1, -1):
        network = IPv6Network((int(target), length), strict=False).network_address
        if (length, network.packed) in found:
            return found[length, network.packed]
    return ()


def hop(gateway: int) -> str:
    return f"via {GATEWAYS[gateway]} dev {LINKS[gateway // 2]}"


hops = st.integers(0, len(GATEWAYS) - 1).map(hop)
several = st.lists(st.tuples(hops, st.integers(1, 3)), min_size=2, max_size=4).map(
    lambda all_: " ".join(f"nexthop {one} weight {weight}" for one, weight in all_)
)
Strategy = st.SearchStrategy[str]


@st.composite
def routes(draw: st.DrawFn, prefixes: Strategy, tables: Strategy) -> str:
    """A line of `ip`. The kernel may refuse it; what it makes of the others is what counts."""
    prefix, table = draw(prefixes), draw(tables)
    metric = draw(st.sampled_from(("metric 5", "metric 5", "metric 10", "")))
    if draw(st.integers(0, 4)) == 0:
        kind = draw(st.sampled_from(("blackhole", "unreachable", "prohibit", "throw", "throw")))
        return f"route add {kind} {prefix} table {table} {metric}"
    objects = st.sampled_from((1, 2, 3, 4, 10, 11)).map(lambda number: f"nhid {number}")
    links = st.sampled_from(LINKS).map(lambda link: f"dev {link}")
    where = draw(hops | several | links | objects | links)
    how = draw(st.sampled_from(("add", "append", "append", "replace")))
    pref = draw(st.sampled_from(("", "pref high", "pref low")))
    return f"route {how} {prefix} table {table} {metric} {pref} {where}"


OTHERS = (
    *("from fd00:1::/64", "fwmark 7", "fwmark 0/0xff", "iif lo", "iif x1", "oif x1"),
    *("uidrange 0-0", "uidrange 5-9", "ipproto tcp", "sport 7", "tos 0x10"),
)


@st.composite
def rules(draw: st.DrawFn, prefixes: Strategy, tables: Strategy) -> str:
    to = draw(st.just("") | prefixes.map(lambda prefix: f"to {prefix}"))
    other = draw(st.just("") | st.just("") | st.sampled_from(OTHERS))
    lookup = tables.map(lambda table: f"lookup {table}")
    suppressing = st.tuples(lookup, st.sampled_from((0, 32, 48, 64))).map(
        lambda both: f"{both[0]} suppress_prefixlength {both[1]}"
    )
    ends = st.sampled_from(("blackhole", "prohibit", "unreachable", "nop", "goto 60", "goto 77"))
    action = draw(ends | lookup | lookup | suppressing | suppressing)
    negate = draw(st.sampled_from(("", "", "not")))
    return f"rule add pref {draw(st.integers(1, 9)) * 10} {negate} {to} {other} {action}"


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Routes and rules of few prefixes and tables, so that they meet."""
    prefixes = st.sampled_from(draw(st.lists(st.sampled_from(PREFIXES), min_size=1, max_size=3)))
    tables = st.sampled_from(
        ["main", *draw(st.sets(st.sampled_from(("100", "200", "local")), max_size=2))]
    )
    made = draw(st.lists(routes(prefixes, tables), max_size=10))
    return made, draw(st.lists(rules(prefixes, tables), max_size=4))


def compare(
    r1: str, world: tuple[list[str], list[str]], knobs: tuple[int, int, int], *, force: bool
) -> None:
    """Make it so in the kernel, as far as it takes it, and look at each target."""
    ignore, spelled_out, local_last = knobs

    # Before the routes: the kernel looks at the first of these when routes change, not at once.
    def set_knobs() -> None:
        for path, value in (
            ("net/ipv6/conf/x3/ignore_routes_with_linkdown", ignore),
            ("net/ipv4/nexthop_compat_mode", spelled_out),
        ):
            with open(f"/proc/sys/{path}", "w") as file:
                file.write(str(value))

    run_in(r1, set_knobs)
    batch(
        r1,
        "rule flush",
        "rule add pref 32766 lookup main",
        *(f"route flush table {table}" for table in (100, 200)),
        *(f"route flush table {table} proto boot" for table in ("main", "local")),
        "nexthop flush",
        force=True,
    )
    batch(r1, *OBJECTS)
    batch(r1, *GROUPS, family="-o")  # of no family; -o changes only what is shown
    batch(r1, *world[0], *world[1], force=force)
    if local_last:
        batch(r1, "rule add pref 32765 lookup local", "rule del pref 0")
    try:
        found = wanted(look(r1), Globals({}))
        with Kernel(r1) as kernel:
            for target in map(IPv6Address, TARGETS):
                said = match(found, target)
                flows = 50 if len(set(said)) > 1 else 3
                ways = kernel.ways(target, flows)
                told = [str(IPv6Address(one)) for one in said]
                assert ways == (set(said) if said else {None}), f"{target}: mirror {told}"
    finally:
        if local_last:
            batch(r1, "rule add pref 0 lookup local")


A, B, DOWN = hop(0), hop(2), hop(4)
WIDE, NARROW = "fd00:70::/32", "fd00:70:1::/48"
ROUTE, RULE = "route append", "rule add pref"
# Routes, rules, and (routes over links that are down are ignored, objects are spelled out, the
# rule of the table local comes late), each for one thing that a mirror could get wrong.
CASES = {
    "a link that is down": ([f"{ROUTE} {WIDE} {A}", f"{ROUTE} {NARROW} {DOWN}"], [], (1, 1, 0)),
    "of several one is down": ([f"{ROUTE} {WIDE} nexthop {A} nexthop {DOWN}"], [], (1, 1, 0)),
    "down, but it counts": ([f"{ROUTE} {WIDE} nexthop {A} nexthop {DOWN}"], [], (0, 1, 0)),
    "preference": (
        [f"{ROUTE} {WIDE} metric 5 dev x1", f"{ROUTE} {WIDE} metric 5 dev x2 pref high"],
        [],
        (0, 1, 0),
    ),
    "the next metric": (
        [f"{ROUTE} {WIDE} metric 5 {DOWN}", f"{ROUTE} {WIDE} metric 9 {B}"],
        [],
        (1, 1, 0),
    ),
    "the best of all other metrics": (
        [
            f"{ROUTE} {WIDE} metric 5 {DOWN}",
            f"{ROUTE} {WIDE} metric 9 {B}",
            f"{ROUTE} {WIDE} metric 10 {A} pref high",
        ],
        [],
        (1, 1, 0),
    ),
    "throw": (
        [
            f"{ROUTE} {WIDE} {A} table 100",
            f"{ROUTE} throw {NARROW} table 100",
            f"{ROUTE} {WIDE} {B}",
        ],
        [f"{RULE} 10 lookup 100"],
        (0, 1, 0),
    ),
    "suppressed": (
        [f"{ROUTE} {WIDE} {A} table 100", f"{ROUTE} {NARROW} {A} table 100", f"{ROUTE} ::/0 {B}"],
        [f"{RULE} 10 lookup 100 suppress_prefixlength 32"],
        (0, 1, 0),
    ),
    "a drop is not suppressed": (
        [f"{ROUTE} blackhole {WIDE} table 100", f"{ROUTE} {WIDE} {B}"],
        [f"{RULE} 10 lookup 100 suppress_prefixlength 32"],
        (0, 1, 0),
    ),
    "not": (
        [f"{ROUTE} ::/0 {A} table 100", f"{ROUTE} ::/0 {B}"],
        [f"{RULE} 10 not to {NARROW} lookup 100"],
        (0, 1, 0),
    ),
    "not with a mark": (
        [f"{ROUTE} ::/0 {A} table 100", f"{ROUTE} ::/0 {B}"],
        [f"{RULE} 10 not fwmark 7 lookup 100"],
        (0, 1, 0),
    ),
    "a mark of zero": (
        [f"{ROUTE} ::/0 {A} table 100"],
        [f"{RULE} 10 fwmark 0/0xff lookup 100", f"{RULE} 9 uidrange 5-9 blackhole"],
        (0, 1, 0),
    ),
    "user 0": ([f"{ROUTE} ::/0 {A} table 100"], [f"{RULE} 9 uidrange 0-0 lookup 100"], (0, 1, 0)),
    "goto": (
        [f"{ROUTE} ::/0 {A} table 100", f"{ROUTE} ::/0 {B} table 200"],
        [f"{RULE} 10 to {WIDE} goto 60", f"{RULE} 20 lookup 100", f"{RULE} 60 lookup 200"],
        (0, 1, 0),
    ),
    "goto to nowhere": (
        [f"{ROUTE} ::/0 {A} table 100"],
        [f"{RULE} 10 goto 77", f"{RULE} 20 to {WIDE} prohibit", f"{RULE} 30 lookup 100"],
        (0, 1, 0),
    ),
    "objects by number": (
        [f"{ROUTE} {WIDE} nhid 10", f"{ROUTE} {NARROW} nhid 3", f"{ROUTE} fd00:71::/32 nhid 4"],
        [],
        (0, 0, 0),
    ),
    "objects": ([f"{ROUTE} {WIDE} nhid 11", f"{ROUTE} {NARROW} nhid 3"], [], (0, 1, 0)),
    "the local table late": ([f"{ROUTE} ::/0 {A} table 100"], [f"{RULE} 9 lookup 100"], (0, 1, 1)),
    "an anycast address": ([f"{ROUTE} fd00:91::/128 metric 1 {B}"], [], (0, 1, 0)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_mirror_is_what_the_kernel_does_in_each_case(r1: str, case: str) -> None:
    routes_, rules_, knobs = CASES[case]
    compare(r1, (routes_, rules_), knobs, force=False)


@settings(
    max_examples=EXAMPLES,
    phases=PHASES,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)
@given(
    worlds(),
    st.tuples(*[st.sampled_from((0, 1))] * 3),
)
def test_the_mirror_is_what_the_kernel_does(
    r1: str, world: tuple[list[str], list[str]], knobs: tuple[int, int, int]
) -> None:
    compare(r1, world, knobs, force=True)


SELECTORS = (
    *("uidrange 0-0", "uidrange 5-9", "fwmark 0/0xff", "fwmark 7", "not fwmark 7", "iif lo"),
    *(
        "not iif lo",
        "oif eth1",
        "from fd00:9::/64",
        "not from fd00:9::/64",
        "ipproto tcp",
        "sport 7",
    ),
    *("dport 9", "tos 0x10"),
)


def test_forwarded_packets_match_rules_as_they_are_read() -> None:
    """Real packets, which have none of what these rules name."""
    with chain("h1", "r1", "h2") as net:
        r1 = net.lab.name("r1")
        capture = net.lab.capture("h2", "eth0")
        for selector in SELECTORS:
            batch(r1, f"rule add pref 5 {selector} to fd00:2::2 blackhole")
            (rule,) = (rule for rule in look(r1).rules if rule.priority == 5)
            net.lab.burst("h1", "fd00:2::2", 4242, count=1)
            matches = rule.matches(128, int(IPv6Address("fd00:2::2")))
            arrived = bool(capture.packets(1, timeout=0.15 if matches else 30))
            assert arrived != matches, selector
            batch(r1, "rule del pref 5")
        net.lab.burst("h1", "fd00:2::2", 4242, count=1)
        assert capture.packets(1)
