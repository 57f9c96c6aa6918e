"""The forwarding table of the simulator: what it finds, and what is wrong with a file."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network

import pytest

from nfc.errors import NfcError
from nfc.vm.fib import Fib

TEXT = """\
mtu = 9000
tunnel_source = "fd00:a::1"
own = ["fd00:a::1"]

[routes.main]
"fd20::/16" = "h2"
"fd20:1::/32" = "h3"
[routes.100]
"::/0" = "h3"

[marks]
7 = 100

[links]
h2 = 3
"""
IPV4 = """
[routes.main]
"10.0.0.0/8" = "h2"
"10.20.0.0/16" = "h3"
"""

LOOKUPS = [
    ("fd20::1", 0, 0, ("h2", 0)),
    ("fd20:1::1", 0, 0, ("h3", 0)),  # the longest prefix
    ("fd20::1", 7, 0, ("h3", 0)),  # the rule for mark 7 comes before main
    ("fd99::1", 0, 0, ("", -101)),  # ENETUNREACH
    ("fd99::1", 0, 100, ("h3", 0)),
    ("fd99::1", 0, 254, ("", -101)),
    ("fd20::1", 0, 55, ("", -22)),  # no such table: EINVAL
    ("fd00:a::1", 0, 0, ("", -22)),  # the router itself
]


@pytest.mark.parametrize(("address", "mark", "table", "found"), LOOKUPS)
def test_lookup(address: str, mark: int, table: int, found: tuple[str, int]) -> None:
    fib = Fib.parse(TEXT, "fib.toml")
    assert fib.lookup(IPv6Address(address).packed, mark, table) == found


def test_the_rest_of_the_file() -> None:
    fib = Fib.parse(TEXT, "fib.toml")
    assert fib.mtu == 9000
    assert fib.tunnel_source == IPv6Address("fd00:a::1")
    assert (fib.link_of(3), fib.link_of(4)) == ("h2", "if4")


def test_by_default_everything_leaves_by_one_link() -> None:
    fib = Fib.default()
    for table in (0, 100, 254):
        assert fib.lookup(IPv6Address("fd77::1").packed, 5, table) == ("out", 0)


@pytest.mark.parametrize(
    ("address", "link"), [("10.1.2.3", "h2"), ("10.20.2.3", "h3"), ("11.1.1.1", "")]
)
def test_ipv4(address: str, link: str) -> None:
    fib = Fib.parse(IPV4, "fib.toml")
    assert fib.lookup_ipv4(IPv4Address(address).packed) == link
    assert Fib.default().lookup_ipv4(IPv4Address(address).packed) == "out"


WRONG = {
    'mtu = "x"': "fib.toml:1: mtu: is a number from 1280 to 65535",
    "mtu = 100": "fib.toml:1: mtu: is a number from 1280 to 65535",
    "mtu = x": "fib.toml: Invalid value (at line 1, column 7)",
    "\nmut = 1500": "fib.toml:2: mut: is not known; there are: mtu,",
    "own = 5": "fib.toml:1: own: is a list of addresses",
    'own = ["10.0.0.1"]': "fib.toml:1: own: '10.0.0.1' is no IPv6 address",
    "routes = 5": "fib.toml:1: routes: is a table: [routes]",
    "[routes]\nmain = 5": "fib.toml:2: main: is a table: [main]",
    '[routes.main]\n"fd00::1/16" = "h2"': "fib.toml:2: fd00::1/16: is no IPv6 prefix: fd00::1/16",
    '[routes.main]\n"10.0.0.1/8" = "h2"': "fib.toml:2: 10.0.0.1/8: is no IPv4 prefix: 10.0.0.1/8",
    '[routes.100]\n"10.0.0.0/8" = "h2"': "fib.toml:2: 10.0.0.0/8: IPv4 routes are those of table",
    '[routes.main]\n"fd00::/16" = {}': "fib.toml:2: fd00::/16: the name of a link is a string",
    '[routes.main]\n"fd00::/16" = {link = "a", dev = "b"}': "fib.toml:2: fd00::/16: dev is not",
    '[routes.main]\n"fd00::/16" = {link = "a", function = 1}': "fib.toml:2: fd00::/16: function is",
    '[routes.main]\n"fd00::/16" = 2': "fib.toml:2: fd00::/16: the name of a link is a string",
    '[routes.nowhere]\n"fd00::/16" = "h2"': "fib.toml:1: nowhere: no routing table 'nowhere'",
    "[marks]\nx = 107": "fib.toml:2: x: is no number",
    "[marks]\n7 = true": "fib.toml:2: 7: a routing table is a name or a number",
    "[links]\nh2 = 0": "fib.toml:2: h2: is a number from 1 to 2147483647",
}


@pytest.mark.parametrize(("text", "message"), WRONG.items(), ids=WRONG.keys())
def test_what_is_wrong_with_a_file(text: str, message: str) -> None:
    with pytest.raises(NfcError) as error:
        Fib.parse(text, "fib.toml")
    assert error.value.message.startswith(message)


def test_a_list_without_end() -> None:
    with pytest.raises(NfcError, match=r"fib\.toml: "):
        Fib.parse("own = " + "[" * 100_000, "fib.toml")


def test_a_number_without_end() -> None:
    with pytest.raises(NfcError, match=r"fib\.toml: "):
        Fib.parse("mtu = " + "9" * 5000, "fib.toml")


def test_routes_that_have_the_function() -> None:
    text = """
[routes.main]
"fd2f::/16" = {link = "h2", function = true}
"fd20::/16" = {link = "h3"}
"10.47.0.0/16" = {link = "h2", function = true}
[routes.100]
"fd2f::/16" = "h3"
[marks]
7 = 100
"""
    fib = Fib.parse(text, "fib.toml")
    there = IPv6Address("fd2f::9").packed
    assert fib.hop(there) == ("h2", 0, True)
    assert fib.hop(there, 7) == ("h3", 0, False)
    assert fib.hop(IPv6Address("fd20::9").packed) == ("h3", 0, False)
    assert fib.hop_ipv4(IPv4Address("10.47.0.9").packed) == ("h2", 0, True)
    assert fib.hop_ipv4(IPv4Address("10.48.0.9").packed) == ("", -101, False)


@pytest.mark.parametrize(
    ("text", "link", "found"),
    [
        ('[routes.main]\n"fd2f::/16" = "h2"', "", ("h2", 0, True)),  # the route is there
        ('[routes.main]\n"fd00::/8" = "h3"', "", ("h3", 0, True)),  # one that covers it is
        ('rest = "h4"', "", ("h4", 0, True)),
        ("", "out", ("out", 0, True)),
        ("", "", ("", -101, False)),
    ],
)
def test_a_route_that_is_said_to_have_it(text: str, link: str, found: object) -> None:
    fib = Fib.parse(text, "fib.toml").with_function(IPv6Network("fd2f::/16"), link)
    assert fib.hop(IPv6Address("fd2f::9").packed) == found
