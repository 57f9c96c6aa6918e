"""What a lab's file may say, and what a wrong one gets."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.errors import NfcError
from nfc.lab.file import parse, read
from nfc.lab.picture import layout, svg

BASE = """
[node.h1]
forwarding = false
[node.r1]
addresses = ["fd00:a::1/128"]
at = [3, 1]
[node.h2]
[[link]]
ends = ["h1", "r1"]
addresses = ["fd00:1::1/64", "fd00:1::2/64"]
[[link]]
name = "slow"
ends = ["r1:wan", "h2"]
addresses = ["fd00:2::1/64", "fd00:2::2/64"]
rate = "1.5mbit"
delay = "250us"
loss = "0.5%"
seed = 7
back = { rate = "1gbit", queue = "64kB" }
"""
FILE = Path("some/lab.toml")


def test_a_whole_file() -> None:
    found = parse(BASE, FILE)
    assert found.name == "lab"
    plain, slow = found.links
    assert not plain.wire
    assert slow.wire
    assert [f"{end.node}:{end.interface}" for end in slow.ends] == ["r1:wan", "h2:eth0"]
    assert (slow.there.rate, slow.there.delay, slow.there.loss) == (1_500_000, 250_000, 0.005)
    assert (slow.back.rate, slow.back.delay, slow.back.queue) == (10**9, 250_000, 64_000)
    assert (slow.there.seed, slow.back.seed) == (7, 8)


WRONG = {
    "[nodes.x]": "some/lab.toml: nodes: there is no such key\n  did you mean 'node'?",
    "[node.h3]\nforward = true": "node.h3.forward: there is no such key\n  did you "
    "mean 'forwarding'",
    '[node."a/b"]': "node.a/b must be a name of up to 32 letters",
    '[node.h3]\naddresses = ["fd00::1"]': "node.h3.addresses must be an IPv6 address with a prefix",
    '[[link]]\nends = ["h1", "r2"]\naddresses = ["fd00:9::1/64", "fd00:9::2/64"]': "link[3].ends: "
    "there is no node 'r2'\n  there are: h1, r1, h2",
    '[[link]]\nends = ["h1", "r1"]': "link[3].addresses is missing",
    '[[link]]\nends = ["h1:eth0", "r1"]\naddresses = ["fd00:9::1/64", "fd00:9::2/64"]': "link[3]."
    "ends: h1 has an interface 'eth0' already",
    '[[link]]\nends = ["h1", "r1"]\naddresses = ["fd00:9::1/64", "fd00:9::2/64"]\nrate = "fast"': (
        'link[3].rate must be a rate above 0, such as "50mbit" (bit, kbit, mbit, gbit), not \'f'
    ),
    '[[link]]\nends = ["h1", "r1"]\naddresses = ["fd00:9::1/64", "fd00:9::2/64"]\n'
    'back = { dely = "1ms" }': "link[3].back.dely: there is no such key\n  did you mean 'delay'?",
    '[[route]]\nnode = "r1"\nto = "fd00::/16"': "route[1] has neither via, dev nor hops",
    '[[route]]\nnode = "r1"\nto = "fd00::/16"\ndev = "wam"': "route[1].dev: r1 has no interface "
    "'wam'\n  did you mean 'wan'?",
    '[[route]]\nnode = "r1"\nto = "fd00::1/16"\ndev = "wan"': "route[1].to must be an IPv6 prefix",
    '[[route]]\nnode = "r1"\nto = "fd00::/16"\nhops = [{ dev = "wan" }]': "route[1].hops must be a",
    '[[function]]\nnode = "r1"\nfile = "emd.nf"\nroute = "fd00::1"\ndev = "wan"': "function[1].file"
    ": there is no emd.nf\n  did you mean 'end.nf'?",
    '[[step]]\ndo = "pink"': "step[1].do: there is no step 'pink'\n  did you mean 'ping'?",
    '[[step]]\ndo = "ping"\nfrom = "h1"': "step[1].to is missing",
    '[[step]]\ndo = "link"\nlink = "fast"': "step[1].link: there is no link 'fast'",
    '[[capture]]\nnode = "h1"\ninterface = "eth0"\nfile = "../x"': "capture[1].file must be a name",
    '[[link]]\nends = ["h1", "r1"]\naddresses = ["fd00:9::1/64", "fd00:9::1/64"]': "link[3]."
    "addresses: both ends have fd00:9::1/64",
    '[[capture]]\nnode = "h1"\ninterface = "eth0"\nfile = "x"\n[[capture]]\nnode = "h2"\n'
    'interface = "eth0"\nfile = "x"': "capture[2].file: another capture goes into x",
    '[[step]]\ndo = "link"\nlink = "link1"\ndelay = "1ms"': "step[1].link: 'link1' has no wire",
    "[[step]": "some/lab.toml: Expected",
}


@pytest.mark.parametrize("more", WRONG)
def test_a_wrong_file_says_where_and_what(more: str) -> None:
    with pytest.raises(NfcError) as caught:
        parse(f"{BASE}\n{more}\n", FILE)
    said = caught.value.message + (f"\n  {caught.value.hint}" if caught.value.hint else "")
    assert said.startswith("some/lab.toml: ")
    assert WRONG[more] in said


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["ends", "addresses", "hops", "to", "node", "do", "seg6", "back", "via", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    st.sampled_from(["node", "link", "route", "function", "service", "capture", "step", "name"]),
)
def test_whatever_a_file_says_ends_in_an_error_of_ours(value: object, key: str) -> None:
    from nfc.lab.file import _Reader

    found = {"node": {"a": {}, "b": {}}, key: value}
    try:
        topology = _Reader(FILE).topology(found)
    except NfcError as error:
        assert str(FILE) in error.message
    else:
        assert topology.nodes


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(NfcError, match="cannot read"):
        read(tmp_path / "none.toml")
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(NfcError, match="not text in UTF-8"):
        read(tmp_path / "bytes.toml")


# ---- the picture -------------------------------------------------------------------------------


def test_the_picture_has_every_node_and_link_apart() -> None:
    more = """
[node.a]
[node.b]
[[link]]
ends = ["a", "b"]
addresses = ["fd00:8::1/64", "fd00:8::2/64"]
delay = "5ms"
[[link]]
ends = ["a", "b"]
addresses = ["fd00:9::1/64", "fd00:9::2/64"]
[[function]]
node = "r1"
file = "end.nf"
route = "fd00:a::e"
dev = "wan"
"""
    topology = parse(BASE + more, FILE)
    drawn = svg(topology)
    assert drawn == svg(topology)
    root = ElementTree.fromstring(drawn)
    paths = [e.get("d") for e in root.iter("{http://www.w3.org/2000/svg}path")]
    assert len(paths) == len(set(paths)) == 4
    texts = [e.text for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"h1", "r1", "h2", "a", "b", "end", "fd00:a::e", "5 ms"} <= set(texts)
    assert "prefers-color-scheme: dark" in drawn
    places = layout(topology)
    assert len(set(places.values())) == len(places)
    assert places["r1"][0] - places["h1"][0] == 3
