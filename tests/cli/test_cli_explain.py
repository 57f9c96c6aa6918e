"""nfc explain, as people call it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

Nfc = Callable[..., tuple[int, str, str]]
REPOSITORY = Path(__file__).parents[2]
DELAY = REPOSITORY / "stdlib" / "delay.nf"
CAPTURE = REPOSITORY / "captures" / "delay.pcapng"


def test_all_functions_or_one(nfc: Nfc) -> None:
    code, out, err = nfc("explain", DELAY)
    assert (code, err) == (0, "")
    assert "mark_delay (in)" in out and "end_dm (endpoint)" in out
    code, out, err = nfc("explain", DELAY, "--function", "end_dm")
    assert "mark_delay" not in out
    code, out, err = nfc("explain", DELAY, "--function", "end_dn")
    assert (code, out) == (2, "")
    assert "did you mean 'end_dm'" in err


def test_json(nfc: Nfc) -> None:
    code, out, _ = nfc("explain", DELAY, "--json")
    assert code == 0
    first, second = json.loads(out)["functions"]
    assert first["hook"] == "in" and second["kernel"] == "6.1"
    assert second["rules"][-1]["when"] == []
    assert second["rules"][1]["merged"][0]["edits"] == [1, 2, 3, 4, 5]
    assert second["rules"][1]["cost"]["loops"][1]["rounds"] == 32


def test_the_picture_is_the_one_in_the_docs(nfc: Nfc, tmp_path: Path) -> None:
    """scripts/pictures draws it anew."""
    for source, function, name in (
        ("stdlib/delay.nf", "end_dm", "end_dm.svg"),
        ("examples/edge/edge.nf", "edge", "edge.svg"),
    ):
        out = tmp_path / name
        code, _, err = nfc("explain", REPOSITORY / source, "--function", function, "--svg", out)
        assert (code, err) == (0, "")
        drawn = out.read_text()
        assert drawn == (REPOSITORY / "docs" / "pictures" / name).read_text()
        ElementTree.fromstring(drawn)


def test_shares_of_a_capture(nfc: Nfc) -> None:
    code, out, _ = nfc("explain", DELAY, "--function", "mark_delay", "--pcap", CAPTURE, "--json")
    assert code == 0
    (function,) = json.loads(out)["functions"]
    assert function["packets"] == sum(rule["packets"] for rule in function["rules"]) > 0


def test_params_and_tables_of_a_capture(nfc: Nfc, tmp_path: Path) -> None:
    """What a capture comes to with them is what `nfc run` says."""
    source = tmp_path / "f.nf"
    source.write_text(
        "param most: u8 = 0\n"
        "table friends: prefix[9] { source: ipv6 } to { mark: u32 }\n"
        "transit f at in {\n"
        "    when friends has [ip.src] as f and f.mark == 7 { drop }\n"
        "    when ip.hop_limit > most { drop }\n"
        "    otherwise forward\n}\n"
    )
    table = tmp_path / "friends.json"
    entry = {"key": {"source": "fd00:1::/32"}, "value": {"mark": 7}}
    table.write_text(json.dumps({"table": "friends", "entries": [entry]}))

    def taken(*words: object) -> list[int]:
        code, out, _ = nfc("explain", source, "--pcap", CAPTURE, *words, "--json")
        assert code == 0
        return [rule["packets"] for rule in json.loads(out)["functions"][0]["rules"]]

    assert taken() == [0, 1000, 0]
    assert taken("--param", "most=255") == [0, 0, 1000]
    assert taken("--table", table) == [1000, 0, 0]
    code, _, err = nfc("explain", source, "--pcap", CAPTURE, "--param", "least=1")
    assert code == 2 and "most" in err
    code, _, err = nfc("explain", source, "--param", "most=1")
    assert code == 2 and "--pcap" in err


def test_what_cannot_be(nfc: Nfc, tmp_path: Path) -> None:
    code, out, err = nfc("explain", DELAY, "--svg", tmp_path / "x.svg")
    assert (code, out) == (2, "") and "say which with --function" in err
    nowhere = tmp_path / "no" / "x.svg"
    code, out, err = nfc("explain", DELAY, "--function", "end_dm", "--svg", nowhere)
    assert (code, out) == (1, "") and "cannot write" in err
    junk = tmp_path / "junk.pcap"
    junk.write_bytes(b"no capture")
    code, out, err = nfc("explain", DELAY, "--pcap", junk)
    assert (code, out) == (1, "") and "junk.pcap" in err
