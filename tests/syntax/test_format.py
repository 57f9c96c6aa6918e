"""For every program and every layout of it: one form, which keeps meaning and comments."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfc.errors import NfcError
from nfc.resources import data_dir
from nfc.syntax.diagnostics import Diagnostics, SourceErrors
from nfc.syntax.format import format_source
from nfc.syntax.language import lark, words
from nfc.syntax.parser import parse
from nfc.syntax.source import MAX_SOURCE_BYTES, Source, Span

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```nf\b.*\n((?s:.*?))^```", re.M)
STDLIB = sorted(data_dir("stdlib").glob("*.nf"))

# What the standard library has no example of, one a line to be shuffled, shortened and broken.
MORE = (
    """
const A: u16 = 0x1f const B = fd00::1 const LONG_NAME: duration = 10ms
counter seen counter bytes
enum E: u4 { X = 0, Y = 1, }
tlv NODE = 210 { node: ipv6 } tlv HOPS = 211 { count: u16, first: u8 = 1 + 2 * A, }
define low(x: u16, y: u8): bool = x & 0xff == 3 or not (x < 4 and x >= 2) and true
endpoint f {
    when srh has HOPS as hops and hops.count < 16 and (srh.oam == 1 or srh.tag in_range) { drop }
}
""".replace(" or srh.tag in_range", "")
    + """
endpoint g {
    when srh has HOPS as h and h.count < 16 or ip.src in fd00:a::/32 and not low(srh.tag, 1) {
        set h.count = h.count + 1
        set h.first = srh.segment_list[0] == fd00::1
        add NODE { node = B, } before h add HOPS {} after h
        remove all NODE replace h with HOPS { count = 0 }
        count seen count bytes by packet.length
        emit seen { tag = srh.tag, count = 4 % (2 - 1) }
        forward via fe80::1
    }
    when sample(1 in 2) forward to table 100
    when every(3) and now() - h.sent > 5ms * 2 {}
    otherwise encap segments [B, ip.dst,] with HOPS { count = 1 }, NODE {}
}
transit t at in { when udp.dst_port == 5000 insert segments [B] with NODE {} otherwise drop }
transit u at xmit { otherwise { set packet.mark = packet.mark | 1 ^ 2 << 3 forward } }
"""
)
PROGRAMS = [path.read_text() for path in STDLIB] + [MORE]


def form(text: str) -> str:
    return format_source(Source("a.nf", text))


def bare(value: Any) -> Any:
    """A tree without its spans."""
    if isinstance(value, tuple):
        return tuple(bare(part) for part in value)
    if not is_dataclass(value):
        return value
    parts = {f.name: getattr(value, f.name) for f in fields(value)}
    return type(value), {n: bare(p) for n, p in parts.items() if not isinstance(p, Span)}


def tree(text: str) -> Any:
    diagnostics = Diagnostics()
    found = bare(parse(Source("a.nf", text), diagnostics))
    diagnostics.check()
    return found


def tokens(text: str) -> list[str]:
    """All tokens but the commas that may be left out: those before a brace or bracket."""
    found = [str(t) for t in lark().lex(text)]
    return [t for t, after in pairwise([*found, ""]) if t != "," or after not in ("]", "}")]


def comments(text: str) -> list[str]:
    """Names have no '#' in them, so all that begins with one is a comment."""
    return sorted(c.rstrip() for c in re.findall(r"#[^\n]*", text))


def keeps_everything(text: str) -> str:
    got = form(text)
    assert tree(got) == tree(text)
    assert tokens(got) == tokens(text)
    assert comments(got) == comments(text)
    assert form(got) == got
    assert got.endswith("\n") or not got
    lines = got.split("\n")
    assert not any(line != line.rstrip(" ") or "\t" in line.partition("#")[0] for line in lines)
    assert "\n\n\n" not in got
    assert not got.startswith("\n")
    assert not re.search(r"[\[{(]\n\n|\n\n *[\]})]", re.sub(r"#[^\n]*", "#", got))
    return got


# ---- properties ------------------------------------------------------------------------------

GAPS = [
    " ",
    "  ",
    "\n",
    "\n\n",
    "\n\n\n  ",
    "\t",
    " # one\n",
    "\n# two {\n",
    "\r\n",
    "\n\n  # 3\n\n",
]


@st.composite
def layouts(draw: st.DrawFn) -> str:
    """A program with another layout: any space or comment between any two tokens."""
    found = [str(t) for t in lark().lex(draw(st.sampled_from(PROGRAMS)))]
    weight = draw(st.sampled_from([1, 4, 30]))
    usual = draw(st.sampled_from([" ", "\n", " \n "]))
    gaps = draw(
        st.lists(
            st.sampled_from([*GAPS, *[usual] * len(GAPS) * weight]),
            min_size=len(found) + 1,
            max_size=len(found) + 1,
        )
    )
    # The parser takes such a word at the start of a line for the next item, even within braces.
    return gaps[0] + "".join(
        token + (gap + " " if gap.endswith("\n") else gap)
        for token, gap in zip(found, gaps[1:], strict=True)
    )


@given(st.one_of(layouts(), st.text("aZ_09:./xbf \n#<&=!*{'\"é", max_size=40)))
def test_words_are_the_tokens_that_the_grammar_finds(text: str) -> None:
    assert [w for w in words(text) if w[0] != "#"] == [str(t) for t in lark().lex(text)]
    assert [w.rstrip() for w in words(text) if w[0] == "#"] == re.findall(r"#[^\n]*(?<!\s)", text)


def test_words_of_every_kind_of_token() -> None:
    text = "fd00::/16 ::1 10.0.0.1/8 1.2.3.4 10ms 0x1f 0b1 << == % - at endpoints { é 5sx"
    assert words(text) == [str(t) for t in lark().lex(text)]


@given(layouts())
@settings(max_examples=150)
def test_any_layout_keeps_meaning_and_comments(text: str) -> None:
    keeps_everything(text)


@given(layouts(), st.integers(1, 60))
@settings(max_examples=150)
def test_any_layout_with_long_names(text: str, length: int) -> None:
    """Every way of breaking lines is taken, as nothing fits."""
    for word in ("srh", "hops", "HOPS", "NODE", "dm", "DM", "B", "low", "fresh", "packet", "seen"):
        text = re.sub(rf"(?<![#\w:]){word}(?![\w:])", word + "x" * length, text)
    keeps_everything(text)


WORDS = st.sampled_from(["a", "bb", "srh.tag", "10", "low(a, b)", "srh.segment_list[1]", "5ms"])


def expressions() -> st.SearchStrategy[str]:
    joined = ["or", "and", "==", "<", "&", "<<", "+", "-", "*", "%"]
    return st.recursive(
        WORDS,
        lambda inner: (
            st.builds(
                lambda a, op, b, wrap: f"({a}) {op} ({b})" if wrap else f"({a} {op} {b})",
                inner,
                st.sampled_from(joined),
                inner,
                st.booleans(),
            )
            | st.builds(lambda a, n: f"f{'x' * n}({a}, {a})", inner, st.integers(0, 40))
        ),
        max_leaves=12,
    )


@given(expressions(), expressions(), expressions())
@settings(max_examples=150)
def test_any_expression(a: str, b: str, c: str) -> None:
    keeps_everything(
        f"param p: u8 = {a} define d(x: u8, y: u8): bool = {b} endpoint f {{ when {c} and {a} "
        f"{{ set srh.tag = {b} emit e {{ a = {c}, b = {a} }} forward via {b} }} when {b} drop "
        f"otherwise encap segments [{a}, {b}] with A {{ x = {c} }}, B {{ x = {a} }} }}"
    )


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_comment(text: str) -> None:
    text = text.replace("\n", " ")
    got = keeps_everything(f"#{text}\nparam a: u8 = 1 #{text}\n#{text}")
    assert got.count(f"#{text}".rstrip()) >= 3


@given(st.sampled_from(PROGRAMS), st.data())
def test_what_does_not_parse_is_refused_with_its_errors(text: str, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(text)))
    diagnostics = Diagnostics()
    broken = text[:cut]
    parse(Source("a.nf", broken), diagnostics)
    if diagnostics.has_errors:
        with pytest.raises(SourceErrors) as refused:
            form(broken)
        assert refused.value.diagnostics == diagnostics.sorted()
    else:
        keeps_everything(broken)


# ---- the form --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", STDLIB, ids=[p.name for p in STDLIB])
def test_the_standard_library_is_in_its_form(path: Path) -> None:
    assert form(path.read_text()) == path.read_text()


def blocks() -> list[tuple[str, str]]:
    return [
        (f"{page.name}:{page.read_text()[: match.start()].count(chr(10)) + 1}", match[1])
        for page in PAGES
        for match in BLOCK.finditer(page.read_text())
    ]


@pytest.mark.parametrize(("name", "text"), blocks(), ids=[b[0] for b in blocks()])
def test_programs_in_documents_are_in_their_form(name: str, text: str) -> None:
    try:
        got = form(text)
    except SourceErrors:
        assert name.startswith("errors.md")  # there programs are wrong on purpose
        return
    assert got == text


# What is written, and what it becomes.
CASES = {
    "nothing": ("", ""),
    "comments alone": ("\n\n# a\n\n\n# b", "# a\n\n# b\n"),
    "line ends of other systems": ("use dm\r\n\r\n# a\r\n", "use dm\n\n# a\n"),
    "columns of params": (
        "param a: u8=1\nparam long:ipv6 = ::1 # c\n# d\nparam b: timestamp = 0 # e\n\nparam c:u8=2",
        "param a:    u8        = 1\n"
        "param long: ipv6      = ::1  # c\n"
        "# d\n"
        "param b:    timestamp = 0    # e\n"
        "\n"
        "param c: u8 = 2\n",
    ),
    "tables, state and counters with keys": (
        "table t:lru [4] {a:ipv6} to {n:u64,}\nstate s:per  cpu u8\ncounter c [4] {p:u16}\n"
        "endpoint f { when t has[ip.src] as x { set x.n=x.n+1 count c [1] by 2 forward }"
        " otherwise { put t [ip.src] {n=1} remove t [ip.dst] set s=1 remove hmac forward } }",
        "table t: lru[4] { a: ipv6 } to { n: u64 }\nstate s: per cpu u8\n"
        "counter c[4] { p: u16 }\n\nendpoint f {\n    when t has [ip.src] as x {\n"
        "        set x.n = x.n + 1\n        count c[1] by 2\n        forward\n    }\n"
        "    otherwise {\n        put t[ip.src] { n = 1 }\n        remove t[ip.dst]\n"
        "        set s = 1\n        remove hmac\n        forward\n    }\n}\n",
    ),
    "columns of consts": (
        "const A=::1\nconst BB: u16=5\nconst C=1ms\n\nconst D=1s",
        "const A       = ::1\nconst BB: u16 = 5\nconst C       = 1ms\n\nconst D = 1s\n",
    ),
    "an item of several lines stands apart, with its comment": (
        "use a\n# f\nendpoint f { otherwise drop }\n# after\ncounter b\ncounter c",
        "use a\n\n# f\nendpoint f {\n    otherwise drop\n}\n\n# after\ncounter b\ncounter c\n",
    ),
    "several statements": (
        "endpoint f { when a { count b drop } when c { drop } otherwise {\ndrop } }",
        "endpoint f {\n    when a {\n        count b\n        drop\n    }\n    when c { drop }\n"
        "    otherwise {\n        drop\n    }\n}\n",
    ),
    "a list keeps its line, without the last comma": (
        "event e{a:u8,b:u8,}",
        "event e { a: u8, b: u8 }\n",
    ),
    "a list keeps its lines, with the last comma": (
        "event e { a: u8,\n\n\n # c\n b: u8 # d\n, count: u8 }",
        "event e {\n    a: u8,\n\n    # c\n    b: u8,  # d\n    count: u8,\n}\n",
    ),
    "a comment behind a bracket": (
        "tlv A = 1 # a\n{ # b\n b: u8, # c\n  # d\n}",
        "# a\ntlv A = 1 {  # b\n    b: u8,  # c\n    # d\n}\n",
    ),
    "a comment where no line ends": (
        "param a # b\n: u8 = # c\n 1 # d\n",
        "# b\n# c\nparam a: u8 = 1  # d\n",
    ),
    "words that are names": (
        "event e { count: u8, table: u8 }\nendpoint f { otherwise { set x.count=x.insert[0]\n"
        "emit e { count = x.drop, table = 1 } forward } }",
        None,
    ),
    "comments within a condition": (
        "endpoint f { when a # b\n and c\n # d\n and e # f\n { drop } otherwise drop }",
        "endpoint f {\n    when a  # b\n            and c\n            # d\n"
        "            and e {  # f\n"
        "        drop\n    }\n    otherwise drop\n}\n",
    ),
    "a condition goes back onto a line": (
        "endpoint f { when a\nand\nb\n{ drop } otherwise\ndrop }",
        "endpoint f {\n    when a and b { drop }\n    otherwise drop\n}\n",
    ),
    "TLVs a line each": (
        "transit t at in { otherwise encap segments [a] with A {},\n B { c = 1 } }",
        "transit t at in {\n    otherwise encap segments [a] with\n        A {},\n"
        "        B { c = 1 }\n}\n",
    ),
    "one TLV of several lines": (
        "transit t at in { otherwise encap segments [a] with A { b = 1,\nc = 2 } }",
        "transit t at in {\n    otherwise encap segments [a] with A {\n        b = 1,\n"
        "        c = 2,\n    }\n}\n",
    ),
    "comments at TLVs": (
        "transit t at in { otherwise encap segments [a] with # b\n # c\n A {}, # d\n B {} # e\n }",
        "transit t at in {\n    otherwise encap segments [a] with  # b\n        # c\n"
        "        A {},  # d\n        B {}  # e\n}\n",
    ),
}


@pytest.mark.parametrize(("text", "want"), CASES.values(), ids=CASES)
def test_becomes(text: str, want: str | None) -> None:
    if want is None:
        with pytest.raises(SourceErrors):
            form(text)
    else:
        assert keeps_everything(text) == want


LONG = "a_rather_long_name_of_a_param_that_somebody_chose"


def test_what_does_not_fit_is_broken_from_the_outside() -> None:
    text = (
        f"define d(x: u8): bool = {LONG} == 1 or {LONG} == 2 and {LONG} == 3\n"
        f"endpoint f {{ when {LONG} == 1 and {LONG} == 2 {{ drop }}\n"
        f"otherwise {{ emit e {{ a = {LONG}, b = {LONG} }} forward via {LONG} + {LONG} }} }}\n"
        f"transit t at in {{ when a encap segments [{LONG}, {LONG}] with A {{ b = {LONG} }} "
        f"otherwise encap segments [a] with A {{ b = {LONG} }}, B {{ c = {LONG} }} }}"
    )
    assert (
        keeps_everything(text)
        == f"""\
define d(x: u8): bool =
    {LONG} == 1
    or {LONG} == 2
        and {LONG} == 3

endpoint f {{
    when {LONG} == 1
            and {LONG} == 2 {{
        drop
    }}
    otherwise {{
        emit e {{
            a = {LONG},
            b = {LONG},
        }}
        forward via {LONG}
            + {LONG}
    }}
}}

transit t at in {{
    when a encap segments [
        {LONG},
        {LONG},
    ] with
        A {{ b = {LONG} }}
    otherwise encap segments [a] with
        A {{ b = {LONG} }},
        B {{ c = {LONG} }}
}}
"""
    )


def test_a_long_line_takes_no_column_with_it() -> None:
    text = f"param a: u8 = 1 # b\nparam c: ipv6 = {' + '.join([LONG] * 2)} # d\ncounter e # f\n"
    assert keeps_everything(text).splitlines()[0] == "param a: u8 = 1  # b"
    near = f"param a: u8 = 1 # {'x' * 80}\nparam c: u8 = {'y' * 60} # d\n"
    assert keeps_everything(near).splitlines()[0] == f"param a: u8 = 1  # {'x' * 80}"


@pytest.mark.parametrize(
    "text",
    [
        "param a: u64 = " + "(" * 47 + "1" + ")" * 47,
        "param a: u64 = " + "f(" * 47 + "x" * 200 + ")" * 47,
        "define a(x: u8): u8 = " + "(x + " * 47 + "y" * 200 + ")" * 47,
        "endpoint f { when " + "(not " * 46 + "y" * 200 + ")" * 46 + " { drop } otherwise drop }",
        "#\n" * 50_000,
        "param a #\n: u8 = 1" + "#\n" * 50_000,
        "param a" + "#\n" * 50_000 + ": u8 = 1",
        "use a\n" * 12_000,
        "param " + "a" * 100_000 + ": u8 = 1 # b\n" + "param a: u8 = 1 # b\n" * 20_000,
        "enum E: u8 { " + ", ".join(f"A{i} = 0" for i in range(5_000)) + " }",
        "endpoint f { otherwise { " + "count a " * 5_000 + "} }",
    ],
    ids=range(11),
)
def test_large_and_deep_texts(text: str) -> None:
    try:
        got = form(text)
    except NfcError as error:
        assert "formatted would be larger" in str(error)
    else:
        assert len(got) <= MAX_SOURCE_BYTES
