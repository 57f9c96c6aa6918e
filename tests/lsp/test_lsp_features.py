"""What the server answers, request by request, without the protocol around it."""

from __future__ import annotations

from pathlib import Path

import pytest
from lsprotocol import types as lsp

from nfc.errors import NfcError
from nfc.lsp import colours, outline, words
from nfc.lsp.completion import complete
from nfc.lsp.document import Document
from nfc.lsp.hover import hover
from nfc.lsp.navigate import definition, highlights, references, symbols_at
from nfc.lsp.program import Program
from nfc.lsp.rename import rename, renameable
from nfc.lsp.signature import signature
from nfc.lsp.workspace import Workspace
from nfc.resources import data_dir
from nfc.syntax.language import lark

HERE = "‸"  # where the cursor stands
DELAY = Path(__file__).with_name("path_delay.nf").read_text()


class At:
    """A program with a cursor."""

    def __init__(self, text: str, folder: Path = Path("/nowhere"), last: str | None = None):
        self.offset = text.index(HERE)
        self.workspace = Workspace(folders=[folder])
        before = None
        if last is not None:
            old = self.workspace.put(folder / "a.nf", last, 0)
            before = Program(tuple(self.workspace.used(old)))
        self.document = self.workspace.put(folder / "a.nf", text.replace(HERE, ""), 1)
        self.program = Program(tuple(self.workspace.used(self.document)), before)

    @property
    def all(self) -> tuple[Program, Document, int]:
        return self.program, self.document, self.offset

    def offers(self) -> set[str]:
        return {offer.label for offer in complete(*self.all)}


# ---- completion ---------------------------------------------------------------------------------

DECLARED = """use dm
param far: ipv6 = ::1
const LIMIT: u16 = 5
table seen: hash[8] { src: ipv6 } to { hits: u64 }
event late { session: u24, at: timestamp }
counter lost
state total: u64
define old(t: timestamp): bool = now() - t > 5ms
"""


@pytest.mark.parametrize(
    ("text", "there", "not_there"),
    [
        ("endpoint f { when srh has DM as dm { ‸", {"set", "add", "decap", "put"}, {"when"}),
        ("transit f at in { otherwise { ‸", {"encap", "insert", "drop"}, {"decap", "add"}),
        ("transit f at out { otherwise { ‸", {"forward", "drop"}, {"encap", "insert", "decap"}),
        ("transit f at xmit { otherwise { ‸", {"encap", "set"}, {"insert", "add", "replace"}),
        ("transit f at out { otherwise { forward ‸", set(), {"via", "to", "set", "drop"}),
        ("endpoint f { otherwise { forward ‸", {"via", "to"}, {"set", "drop"}),
        ("transit f at xmit { otherwise { forward ‸", {"to"}, {"via", "set", "drop"}),
        ("transit f at xmit { otherwise { forward to ‸", {"far", "LIMIT"}, {"table"}),
        ("transit f at xmit { otherwise { forward to 4 ‸", {"via"}, {"from", "table"}),
        ("transit f at xmit { otherwise { forward to 4 via far ‸", {"from"}, {"via", "to"}),
        ("endpoint f { otherwise { forward to ‸", {"table"}, {"far", "LIMIT", "srh"}),
        ("endpoint f { otherwise { decap to ‸", {"table"}, {"far", "LIMIT", "srh"}),
        ("transit f at ‸", {"in", "out", "xmit"}, {"endpoint"}),
        ("endpoint f { when srh.‸", {"tag", "flags", "segment_list"}, {"src"}),
        ("endpoint f { otherwise { set srh.‸", {"tag", "flags"}, {"segments_left"}),
        ("endpoint f { otherwise { set packet.‸", {"mark", "priority"}, {"cpu"}),
        ("endpoint f { otherwise { set ‸", {"srh", "packet", "total"}, {"ip", "far"}),
        ("transit f at xmit { otherwise { set ‸", {"srh", "ip", "packet"}, {"inner"}),
        ("endpoint f { when srh has ‸", {"DM", "URO"}, {"seen"}),
        ("endpoint f { when srh has DM as dm and dm.‸", {"sent", "control"}, {"port"}),
        ("endpoint f { when srh has DM as dm and dm.control == ‸", {"IN_BAND", "LIMIT"}, {"DM"}),
        ("endpoint f { when srh has DM as dm { set ‸", {"dm"}, {"DM"}),
        ("endpoint f { when ‸", {"far", "ip", "seen", "not", "old", "now"}, {"late", "lost"}),
        ("endpoint f { otherwise { emit ‸", {"late"}, {"lost", "DM"}),
        ("endpoint f { otherwise { emit late { ‸", {"session", "at"}, {"far"}),
        ("endpoint f { otherwise { emit late { at = now(), ‸", {"session"}, {"at"}),
        ("endpoint f { otherwise { count ‸", {"lost"}, {"late"}),
        ("endpoint f { otherwise { put ‸", {"seen"}, {"lost"}),
        ("endpoint f { otherwise { add URO { ‸", {"port", "address"}, {"session"}),
        ("endpoint f { when seen has [ip.src] as s and s.‸", {"hits"}, {"src"}),
        ("endpoint f { otherwise forward to table ‸", {"main", "local", "LIMIT"}, {"far"}),
        ("use ‸", {"dm", "ioam", "tlvs"}, {"endpoint"}),
        ("param x: ‸", {"u32", "ipv6", "Control"}, {"DM"}),
        ("table x: ‸", {"hash", "lru", "prefix", "array", "per"}, {"u32"}),
        ("define x(a: u8): u8 = ‸", {"a", "old", "LIMIT"}, {"DM"}),
        ("const x: u16 = ‸", {"LIMIT", "IN_BAND"}, {"ip", "far", "now"}),
        ("tlv X = 9 { ‸", {"reserved"}, {"u8", "far"}),
        ("‸", {"endpoint", "use", "tlv"}, {"set", "drop"}),
        ("endpoint f { otherwise drop } # a comm‸", set(), {"endpoint", "drop"}),
        ("endpoint f { when ip.hop_limit == 6‸", set(), {"far"}),
    ],
)  # fmt: skip
def test_completion_knows_the_place(text: str, there: set[str], not_there: set[str]) -> None:
    offers = At(DECLARED + text).offers()
    assert there <= offers, there - offers
    assert not not_there & offers
    # The same in the middle of a program, with everything behind it.
    after = At(DECLARED + text + "\n\nendpoint other { otherwise forward }\n").offers()
    assert there <= after, there - after


def test_members_of_the_right_enum_come_first() -> None:
    at = At(DECLARED + "endpoint f { when srh has DM as dm and dm.control == ‸")
    first = [offer.label for offer in complete(*at.all) if offer.first]
    assert set(first) >= {"IN_BAND", "OUT_OF_BAND"} and "PTP" not in first


def test_what_is_broken_now_is_completed_from_before() -> None:
    whole = "tlv X = 9 { one: u8 }\nendpoint f { when srh has X as x and x. }\n"
    broken = whole.replace("one: u8 }", "one: u8, two: }").replace("x. }", "x.‸ }")
    assert "one" in At(broken, last=whole).offers()


def test_the_last_good_declaration_outlives_several_changes() -> None:
    workspace, program = Workspace(), None
    texts = ["u8 }", "u8, t: }", "u8, tw: }", "u8, two: }"]
    for number, text in enumerate(texts):
        document = workspace.put(Path("/nowhere/a.nf"), "tlv X = 9 { one: " + text, number)
        program = Program(tuple(workspace.used(document)), program)
        if number in (0, len(texts) - 1):  # between them nobody asks for types
            assert "X" in program.scope.tlvs
    assert program is not None and program.last is None


# ---- hover, signature ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mark", "shown"),
    [
        ("DM as", ["tlv DM = 7", "48 bytes", "control              Control"]),
        ("dm.sent", ["TLV `DM`"]),
        ("srh has", ["RFC 8754, section 2"]),
        ("ip.dst", ["RFC 8200"]),
        ("far_end, ip", ["param far_end", "nfc set", "the SID that runs end_dm"]),
        ("OUT_OF_BAND,", ["Control.OUT_OF_BAND = 1", "query: send the record"]),
        ("sample(", ["one packet in n"]),
        ("timestamp }", ["nanoseconds of TAI"]),
        ("mark_delay at", ["transit mark_delay at in", "One packet in `one_in` gets"]),
        ("in {", ["route's input"]),
        ("decap to", ["End.DT6", "RFC 8986"]),
        ("delay_sample { session: ", ["A record of 32 bytes"]),
    ],
)
def test_hover(mark: str, shown: list[str]) -> None:
    found = hover(*At(DELAY.replace(mark, HERE + mark, 1)).all)
    assert found is not None and isinstance(found.contents, lsp.MarkupContent)
    for text in shown:
        assert text in found.contents.value


VALUES = """use dm
param limit: duration = 5ms
define half(x: u16): u16 = x / 2
endpoint f {
    when srh has DM as dm and now() - dm.sent > limit * 2 and half(srh.tag) < 40 { drop }
    when srh.tag == nowhere { drop }
    otherwise {
        set srh.tag = srh.tag & 0xff + 1
        forward
    }
}
"""


@pytest.mark.parametrize(
    ("mark", "shown"),
    [
        ("- dm.sent", ["now() - dm.sent: duration", "A length of time in nanoseconds"]),
        ("> limit", ["now() - dm.sent > limit * 2: bool"]),
        ("* 2", ["limit * 2: duration"]),
        ("limit * 2", ["param limit: duration", "A length of time in nanoseconds"]),
        ("and half", ["half(srh.tag) < 40: bool", "Both conditions hold"]),
        ("40 {", ["40 = 40", "at least 6 bits"]),
        ("& 0xff", ["srh.tag & 0xff + 1: u9"]),
        ("0xff", ["0xff = 255", "at least 8 bits"]),
        ("/ 2", ["x / 2: u16"]),
        ("5ms", ["5ms: duration"]),
    ],
)
def test_hover_over_any_expression(mark: str, shown: list[str]) -> None:
    found = hover(*At(VALUES.replace(mark, HERE + mark, 1)).all)
    assert found is not None and isinstance(found.contents, lsp.MarkupContent)
    for text in shown:
        assert text in found.contents.value


def test_hover_over_what_is_no_expression_or_wrong() -> None:
    assert hover(*At(VALUES.replace("== nowhere", f"{HERE}== nowhere")).all) is None
    assert hover(*At(VALUES.replace("{ drop }", f"{HERE}{{ drop }}", 1)).all) is None


def test_every_word_of_the_grammar_is_told_of() -> None:
    patterns = [t.pattern for t in lark().terminals if t.pattern.type == "str"]
    assert {p.value for p in patterns if p.value.isalpha()} == set(words.KEYWORDS)


def test_signature_help() -> None:
    program = "# How old.\ndefine older(t: timestamp, most: duration): bool = now() - t > most\n"
    found = signature(*At(program + "endpoint f { when older(now(), ‸").all)
    assert found is not None and found.active_parameter == 1
    assert found.signatures[0].label == "older(t: timestamp, most: duration): bool"
    assert signature(*At("endpoint f { when (1 + ‸").all) is None


# ---- from name to name --------------------------------------------------------------------------


def test_definition_goes_to_declarations_and_files() -> None:
    for mark, file, word in [
        ("far_end, ip", "a.nf", "far_end"),
        ("dm.sent", "a.nf", "dm"),
        ("DM as", "dm.nf", "DM"),
        ("sent, received", "dm.nf", "sent"),
        ("OUT_OF_BAND,", "dm.nf", "OUT_OF_BAND"),
    ]:
        at = At(DELAY.replace(mark, HERE + mark, 1) if mark != "sent, received" else
                DELAY.replace("dm.sent, received", f"dm.{HERE}sent, received"))  # fmt: skip
        (place,) = definition(at.workspace, *at.all)
        assert place.document.path.name == file
        assert place.document.text.text[place.start : place.end] == word
    at = At(DELAY.replace("use dm", f"use {HERE}dm"))
    (place,) = definition(at.workspace, *at.all)
    assert (place.document.path, place.start) == (data_dir("stdlib") / "dm.nf", 0)


def test_references_and_highlights_stay_within_a_rule_for_what_it_binds() -> None:
    at = At(DELAY.replace("DM as dm", f"DM as {HERE}dm", 1))
    (symbol,) = symbols_at(*at.all)
    found = references(at.workspace, at.program, symbol)
    first_rule = DELAY.index("decap to")
    assert len(found) == 6 and all(p.start < first_rule for p in found)
    assert len(highlights(*at.all)) == 6


def test_rename_goes_through_all_files_of_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "shared.nf").write_text("tlv MINE = 200 { hops: u8 }\nconst MOST: u8 = 3\n")
    (tmp_path / "other.nf").write_text(
        "use shared\nendpoint g { when srh has MINE as m and m.hops > MOST { drop }\n"
        "    otherwise forward }\n"
    )
    (tmp_path / "apart.nf").write_text("tlv MINE = 7 { hops: u8 }\n")
    text = "use shared\nendpoint f {\n    otherwise { add MINE { hop‸s = MOST } forward }\n}\n"
    at = At(text, tmp_path)
    places = rename(at.workspace, *at.all, "count")
    changed = {
        document.path.name: sorted(document.text.text[p.start : p.end] for p in named)
        for document, named in places.items()
    }
    assert changed == {"shared.nf": ["hops"], "other.nf": ["hops"], "a.nf": ["hops"]}


@pytest.mark.parametrize(
    ("text", "new", "why"),
    [
        ("param fa‸r: ipv6 = ::1", "when", "a word of the language"),
        ("param fa‸r: ipv6 = ::1", "1st", "do not begin with a digit"),
        ("param fa‸r: ipv6 = ::1", "", "made of letters"),
        ("param fa‸r: ipv6 = ::1", "srh", "a word of the language"),
        ("param fa‸r: ipv6 = ::1\nconst NEAR: ipv6 = ::2", "NEAR", "declared here already"),
        ("enum E: u8 { A‸ = 0, B = 1 }", "B", "declared in E already"),
        ("tlv X = 9 { on‸e: u8, two: u8 }", "two", "declared in X already"),
        ("endpoint f‸ { otherwise forward }", "f_stats", "nfc's maps"),
        ("use dm\nendpoint f { when srh has D‸M { drop } otherwise forward }", "X", "standard"),
        ("endpoint f { when i‸p.hop_limit == 1 { drop } otherwise forward }", "x", "the language"),
        ("use d‸m", "x", "the name of a file"),
        ("endpoint f { when srh has X as x‸ and srh has X[1] as y { drop } }", "y", "this rule"),
        ("define d(a‸: u8): u8 = a + B\nconst B: u8 = 1", "B", "declared here already"),
        ("const B‸: u8 = 1\ndefine d(a: u8): u8 = a + B", "a", "in a definition already"),
        ("# no‸thing", "x", "no name here"),
    ],
)
def test_rename_refuses(text: str, new: str, why: str) -> None:
    at = At(text)
    with pytest.raises(NfcError, match=why):
        rename(at.workspace, *at.all, new)


def test_a_field_may_be_called_by_a_soft_word() -> None:
    at = At("tlv X = 9 { on‸e: u8 }\nendpoint f { otherwise { add X { one = 1 } forward } }")
    assert renameable(*at.all)[0].name == "one"
    (named,) = rename(at.workspace, *at.all, "first").values()
    assert len(named) == 2


# ---- the whole document -------------------------------------------------------------------------


def test_symbols_and_folds() -> None:
    at = At(HERE + DELAY)
    found = outline.symbols(at.document)
    assert [s.name for s in found][-3:] == ["delay_sample", "mark_delay", "end_dm"]
    rules = [s.name for s in found[-1].children or []]
    assert len(rules) == 3 and rules[-1] == "otherwise forward"
    lines = DELAY.splitlines()
    folds = outline.folds(at.document)
    assert any(lines[f.start_line].startswith("endpoint end_dm") for f in folds)
    assert any(f.kind == lsp.FoldingRangeKind.Comment and f.start_line == 0 for f in folds)
    assert all(f.start_line < f.end_line < len(lines) for f in folds)


def test_semantic_tokens_cover_what_is_written() -> None:
    at = At(HERE + DELAY)
    data = colours.tokens(at.program, at.document)
    lines = DELAY.splitlines()
    found: list[tuple[str, str]] = []
    line = column = 0
    for i in range(0, len(data), 5):
        down, right, size, kind, _ = data[i : i + 5]
        line, column = line + down, right if down else column + right
        found.append((lines[line][column : column + size], colours.TYPES[kind]))
    assert ("DM", "struct") in found and ("OUT_OF_BAND", "enumMember") in found
    assert ("far_end", "parameter") in found and ("when", "keyword") in found
    assert ("sent", "property") in found and ("fd00:b::d", "number") in found
    assert ("delay_sample", "event") in found and ("mark_delay", "function") in found
    assert ("# who gets the records", "comment") in found
    assert all(text == text.strip() and text for text, _ in found)
