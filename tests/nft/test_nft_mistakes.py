"""Mistakes in packet tests: each is told at its place, with what is nearest; all in one run."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfc.nft.load import load
from nfc.resources import data_dir
from nfc.syntax.diagnostics import SourceErrors

# What is written, where ‹ › encloses what is underlined; the message; the hint.
MISTAKES = [
    ("use ‹tlv›", "there is no tlv.nf beside this file", "did you mean 'tlvs'?"),
    ("const A = 1\nconst ‹A› = 2", "'A' is declared twice", "first in line 1"),
    ("packet q = ‹udp› / \"x\"", "a packet begins with ip", "ip / srh […] / udp"),
    ("packet q = ‹q›", "q is made of itself", None),
    ("packet q = ip { ‹hoplimit› = 3 }", "ip has no field 'hoplimit'", "did you mean 'hop_limit'?"),
    ("packet q = ip { hop_limit = ‹300› }", "300 does not fit ip.hop_limit, which is a u8", None),
    ("packet q = ip { src = ‹7› }", "ip.src is an ipv6, not a number", None),
    ("packet q = ip { src = ‹10.0.0.1› }", "this does not fit ip.src", None),
    ("packet q = ip / srh [-> fd00::1, -> fd00::2]", "two segments are marked", None),
    ("packet q = ip / srh [‹]›", "expected a value or '->', found ']'", None),
    ("packet q = ip / srh [fd00::1] with ‹DMM› {}", "there is no TLV 'DMM'", "did you mean 'DM'?"),
    ("packet q = ip / srh [fd00::1] with DM { ‹sesion› = 1 }", "DM has no field 'sesion'",
     "did you mean 'session'?"),
    ("packet q = ip / srh [fd00::1] with DM { control = ‹FOO› }",
     "there is no value 'FOO' for DM.control", None),
    ("packet q = ip / srh [fd00::1] with DM { sent = ‹5› }", "say in what unit", "5ns, 5s"),
    ("packet q = ip / srh [fd00::1] with ‹padding 1›", "a PadN has 2 bytes or more", "pad1"),
    ("packet q = ip / srh [fd00::1] with padding ‹300›", "300 is too large here: at most", None),
    ("packet q = ip / srh [fd00::1] with ‹*›, DM {}", "'*' stands for all that follow", None),
    ("packet q = ip / ‹*› / udp", "'*' comes last", None),
    ("packet q = ip / ‹\"x\"› / udp", "the payload comes last", None),
    ("packet q = ip / ‹0x1›", "is no bytes", "two hexadecimal digits a byte"),
    ("packet q = ip / bytes ‹9001›", "9001 is too large here: at most 9000", None),
    ("packet q = ‹ip / srh [fd00::1] / udp / udp›", "no header can follow UDP", None),
    ("packet q = ip / ‹icmp6 1 -> 2›", "icmp6 goes from nowhere to nowhere", None),
    ("packet q = ip / ‹\"\\q\"›", "a text has no \\q", "\\xNN"),
    ("packet q = ip / ‹\"›abc", "a packet test has no character '\"'", "ends on the line"),
    ("‹tset› \"x\" { }", "'tset' begins nothing", "did you mean 'test'?"),
    ("test ‹of› end_dm { }", "expected a text in quotes", 'test "adds a TLV" of nsh'),
    ("‹test \"x\"› { send p }", "delay.nf has 2 functions: of which is this?", 'test "x" of mark'),
    ("test \"x\" of ‹end_dmm› { send p }", "has no function 'end_dmm'", "did you mean 'end_dm'?"),
    ("test \"x\" of end_dm ‹{› send p", "this '{' is never closed", None),
    ("test \"x\" of end_dm { send p ‹]› }", "cannot close", None),
    ("test \"x\" of end_dm { send p } ‹}›", "this '}' closes nothing", None),
    ("test \"x\" of end_dm { send ip‹;› expect drop }", "no character ';'", "nothing between"),
    ("test \"x\" of end_dm { ‹parm› one_in = 1 }", "expected a step", "did you mean 'param'?"),
    ("test \"x\" of end_dm { param ‹one_inn› = 1 }", "no param 'one_inn'", "'one_in'"),
    ("test \"x\" of end_dm { param one_in = ‹0x1ffffffff› }", "which is a u32", None),
    ("test \"x\" of end_dm { param one_in = ‹_› }", "has to be said here", "expected"),
    ("test \"x\" of end_dm { state ‹y› = 1 }", "there is no state 'y'", "states: none"),
    ("test \"x\" of end_dm { put ‹foo›[1] {} }", "there is no table 'foo'", None),
    ("test \"x\" of end_dm { expect ‹drop› }", "nothing is expected before", None),
    ("test \"x\" of end_dm { clock ‹5› }", "say in what unit", None),
    ("test \"x\" of end_dm { wait ‹fd00::1› }", "does not fit the time to wait", None),
    ("test \"x\" of end_dm { send p ‹route ::/0 to x› }", "before the first packet", None),
    ("test \"x\" of end_dm { route ‹10.0.0.0/8› to x }", "routes are IPv6 prefixes", None),
    ("test \"x\" of end_dm { fail ‹skb_load_byte› }", "no helper", "'skb_load_bytes'"),
    ("test \"x\" of end_dm { fail skb_load_bytes with ‹EINVALL› }", "no error", "'EINVAL'"),
    ("test \"x\" of end_dm { fail ‹ktime_get_ns› }", "does not fail", "all the same"),
    ("test \"x\" of end_dm { send ‹prob› }", "there is no packet 'prob'", None),
    ("test \"x\" of end_dm { send ip ‹_› -> fd00::1 }", "ip.src has to be said here", None),
    ("test \"x\" of end_dm { send p where ‹foo› = 1 }", "packet has no field 'foo'", "mark"),
    ("test \"x\" of end_dm { send p expect ‹drp› }", "no packet 'drp'", "did you mean 'drop'?"),
    ("test \"x\" of end_dm { send p expect ‹decapsulated› }", "no packet inside", None),
    ("test \"x\" of end_dm { send p expect ‹advanced› }", "no packet 'advanced'", None),
    ("test \"x\" of end_dm { send p expect p { set srh.‹tagg› = 1 } }", "no field 'tagg'", "'tag'"),
    ("test \"x\" of end_dm { send p expect p { set ‹shr›.tag = 1 } }", "no header or TLV", "'srh'"),
    ("test \"x\" of end_dm { send p expect p { set ‹srh›[1].tag = 1 } }", "no srh[1]", None),
    ("test \"x\" of end_dm { send p expect p { set ‹DM›.sent = 1s } }", "packet has no DM", None),
    ("test \"x\" of end_dm { send p expect p { remove ‹DM› } }", "this packet has no DM", None),
    ("test \"x\" of end_dm { send p expect p { ‹tag› = 5 } }", "expected", "set srh.tag = 5"),
    ("test \"x\" of end_dm { send p expect event ‹delay› {} }", "emits no event", None),
    ("test \"x\" of end_dm { send p expect count ‹foo› = 1 }", "no counter 'foo'", "it counts"),
    ("test \"x\" of end_dm { send p expect drop ‹put_failed› }", "no error", "action_failed"),
    ("test \"x\" of end_dm { send p expect ‹rule 9› }", "end_dm has rules 1 to 5", None),
    ("test \"x\" of end_dm { send p expect ip { hop_limit = ‹9 .. 3› } }", "range is empty", None),
]  # fmt: skip
HEAD = "packet p = ip / srh [fd00:b::d, fd00:2::2] / udp\n"


def errors(tmp_path: Path, text: str) -> SourceErrors:
    program = (data_dir("stdlib") / "delay.nf").read_text()
    tmp_path.joinpath("delay.nf").write_text(program)
    tmp_path.joinpath("delay.nft").write_text(text)
    with pytest.raises(SourceErrors) as found:
        load(tmp_path / "delay.nft")
    return found.value


@pytest.mark.parametrize(("text", "message", "hint"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_a_mistake(tmp_path: Path, text: str, message: str, hint: str | None) -> None:
    plain = text.replace("‹", "").replace("›", "")
    found = errors(tmp_path, f"{plain}\n{HEAD}")
    first = found.diagnostics[0]
    assert message in first.message
    assert hint is None or hint in (first.hint or "")
    if "‹" in text:
        where = text.index("‹")
        assert first.span.start == where
    assert first.render()


def test_all_in_one_run(tmp_path: Path) -> None:
    """Errors of different items, and of one test; what follows from another is left out."""
    found = errors(
        tmp_path,
        HEAD + "packet q = p { set srh.tagg = 1 }\n"
        'test "a" of end_dm { param one_inn = 1 send r expect forwarded expect rule 9 }\n'
        'test "b" of end_dm { sned p }\n'
        'test "c" of end_dm { send q expect forwarded }\n',
    )
    lines = [(d.span.line, d.message) for d in found.diagnostics]
    assert lines == [
        (2, "srh has no field 'tagg'"),
        (3, "there is no param 'one_inn'"),
        (3, "there is no packet 'r'"),
        (3, "end_dm has rules 1 to 5"),
        (4, "expected a step or '}', found 'sned'"),
    ]


@pytest.mark.parametrize("text", ["test", "packet", "const", "use", "test # x"])
def test_an_item_that_is_one_word(tmp_path: Path, text: str) -> None:
    (problem,) = errors(tmp_path, text).diagnostics
    assert problem.message.endswith("found the end of this item")
    assert (problem.hint is not None) == text.startswith("test")


def test_no_program(tmp_path: Path) -> None:
    from nfc.errors import NfcError

    tmp_path.joinpath("x.nft").write_text(HEAD)
    with pytest.raises(NfcError, match=r"there is no x\.nf beside"):
        load(tmp_path / "x.nft")


def test_what_consts_are_made_of_is_bounded(tmp_path: Path) -> None:
    text = "const A0 = 1\n"
    text += "".join(f"const A{i} = {' + '.join([f'A{i - 1}'] * 12)}\n" for i in range(1, 12))
    found = errors(tmp_path, text + "packet q = ip { hop_limit = A11 }\n" + HEAD)
    assert "consts" in found.diagnostics[0].message


def test_packets_made_of_packets_are_bounded(tmp_path: Path) -> None:
    text = "packet a0 = ip / ip\n"
    text += "".join(f"packet a{i} = a{i - 1} / a{i - 1} / a{i - 1}\n" for i in range(1, 14))
    found = errors(tmp_path, text)
    assert "200 headers" in found.diagnostics[0].message
