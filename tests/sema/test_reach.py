"""Warnings about rules that no packet takes: only where that is certain."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfc.compiler import compile_file

FOUND = [
    ("when srh.tag == 1 { drop } when srh.tag == 1 { forward }", "no packet takes this rule"),
    ("when srh.tag == N { drop } when srh.tag  ==  N { forward }", "no packet takes this rule"),
    (
        "when low(srh.tag) == 1 { drop } when srh.oam == 1 and low(srh.tag) == 1 { forward }",
        "no packet takes this rule",
    ),
    ("when srh has T { drop } when srh has T as t and t.a == 1 { forward }", "no packet takes"),
    ("when true { forward }", "this always holds"),
    ("when not (1 == 2) or 3 > 4 { forward }", "this always holds"),
    ("when not (udp.dst_port == 1 and false) { forward }", "this always holds"),
    ("when srh.tag == 1 and false { forward }", "this never holds"),
    ("when fd00::1 in fe00::/16 { forward }", "this never holds"),
    ("when srh.tag == 1 { set srh.tag = 2 drop }", "this edits a packet that is then dropped"),
]
# Each could be taken, though it looks like the one before.
NOT_FOUND = [
    "when sample(1 in 2) { drop } when sample(1 in 2) { forward }",
    "when every(2) { drop } when every(2) { forward }",
    "when sample(1 in 2) and srh.tag == 1 { drop } when srh.tag == 1 { forward }",
    "when srh.tag == 1 and srh.oam == 1 { drop } when srh.tag == 1 { forward }",
    "when srh.tag == 1 or srh.oam == 1 { drop } when srh.tag == 2 { forward }",
    "when srh.tag == 1 { drop } when srh.tag == 2 { forward }",
    "when srh.tag == n { drop } when srh.tag == N { forward }",
    "when srh has T { drop } when srh has U { forward }",
    "when not (udp.dst_port == 1 and true) { forward }",  # no UDP: does not hold
    "when udp.dst_port >= 0 { forward }",
    "when srh.tag == 1 { count seen drop }",
    "when srh.tag == 1 { emit e { tag = srh.tag } drop }",
]
DECLARED = (
    "const N: u16 = 7 param n: u16 = 7 counter seen event e { tag: u16 } "
    "tlv T = 9 { a: u8 } tlv U = 10 { a: u8 } define low(x: u16): u16 = x & 255 "
)


def warnings(rules: str, folder: Path) -> list[str]:
    path = folder / "program.nf"
    path.write_text(f"{DECLARED} endpoint f {{ {rules} otherwise forward }}")
    return [w.message for w in compile_file(path).warnings]


@pytest.mark.parametrize(("rules", "message"), FOUND, ids=[f[0] for f in FOUND])
def test_found(rules: str, message: str, tmp_path: Path) -> None:
    (found,) = warnings(rules, tmp_path)
    assert found.startswith(message)


@pytest.mark.parametrize("rules", NOT_FOUND)
def test_not_found(rules: str, tmp_path: Path) -> None:
    assert warnings(rules, tmp_path) == []
