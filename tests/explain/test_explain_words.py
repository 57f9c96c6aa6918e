"""What explanations say: of the library to the word, of generated programs that nothing is left
out."""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from nfc.compiler import compile_file, value_text
from nfc.explain import sentences, words
from nfc.explain.graph import svg
from nfc.explain.report import explain
from nfc.explain.terminal import shown
from nfc.sema import typed, types
from nfc.sema.analyse import analyse_tree
from nfc.syntax.diagnostics import Diagnostics, SourceErrors
from nfc.syntax.parser import parse
from nfc.syntax.source import Source, Span

sys.path.insert(0, str(Path(__file__).parents[1] / "properties"))

from generated_sources import Generated, programs

REPOSITORY = Path(__file__).parents[2]
GOLDEN = Path(__file__).with_name("golden")
FILES = [
    path
    for path in sorted([*REPOSITORY.glob("stdlib/*.nf"), *REPOSITORY.glob("examples/edge/*.nf")])
    if re.search(r"^(endpoint|transit) ", path.read_text(), re.M)
]


@pytest.mark.parametrize("path", FILES, ids=[p.stem for p in FILES])
def test_the_library_to_the_word(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFC_UPDATE=1 writes the texts anew; instructions and loops are LLVM's business."""
    monkeypatch.chdir(REPOSITORY)
    compilation = compile_file(path.relative_to(REPOSITORY))
    said = "\n\n".join(str(explain(compilation, one)) for one in compilation.functions)
    lines = [line for line in said.splitlines() if " instructions" not in line]
    golden = GOLDEN / f"{path.stem}.txt"
    if "NFC_UPDATE" in os.environ:
        golden.write_text("\n".join(lines) + "\n")
    assert "\n".join(lines) + "\n" == golden.read_text()


@settings(
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(program=programs())
def test_nothing_is_left_out(program: Generated, tmp_path: Path) -> None:
    path = tmp_path / "program.nf"
    path.write_text(program.source)
    try:
        compilation = compile_file(path, "6.12")
        explanation = explain(compilation, compilation.functions[0])
    except SourceErrors:  # more stack than there is
        return
    text, picture = str(explanation), svg(explanation)
    (compiled,) = compilation.functions
    assert len(explanation.rules) == len(compiled.function.rules)
    for number, (rule, said) in enumerate(
        zip(compiled.function.rules, explanation.rules, strict=True), 1
    ):
        assert f"{number:>2}. line {rule.span.line}: " in text
        assert bool(said.when) == (rule.guard is not None)
        assert len(said.edits) == len(rule.edits)
        for part in (*said.when, *said.edits, said.verdict):
            assert part in text
        written = [
            number
            for number, edit in enumerate(rule.edits, 1)
            if isinstance(edit, typed.SetHeader | typed.SetTlv | typed.AddTlv | typed.RemoveTlv)
        ]
        merged = {number for one in said.merged for number in one.edits}
        assert set(written) <= merged  # each is some helper call's
    assert picture.startswith("<svg") and picture.count("<text") > len(explanation.rules)


# Named where they are declared, an entry's key where the entry is looked up.
_ELSEWHERE = (Span, typed.Tlv, typed.Table, typed.Entry)


def names_in(item: object) -> set[str]:
    """The names of all that an edit or a condition speaks of."""
    found: set[str] = set()
    waiting = [item]
    while waiting:
        one = waiting.pop()
        match one:
            case typed.TlvRead(tlv=tlv, field=field):
                found |= {tlv.name, field.name or ""}
            case typed.ParamRead(param=param):
                found.add(param.name)
            case typed.StateRead(state=state) | typed.SetState(state=state):
                found.add(state.name)
            case typed.EntryRead(entry=entry, member=member):
                found |= {entry.table.name, member.name}
            case typed.HasEntry(entry=entry):
                found.add(entry.table.name)
                waiting += entry.key
            case typed.SetEntry(entry=entry):
                found.add(entry.table.name)
            case typed.HasTlv(tlv=tlv) | typed.SetTlv(tlv=tlv) | typed.RemoveTlv(tlv=tlv):
                found.add(tlv.name)
            case typed.RemoveAll(tlv=tlv) | typed.TlvValue(tlv=tlv):
                found.add(tlv.name)
            case typed.Put(table=table) | typed.RemoveEntry(table=table):
                found.add(table.name)
            case typed.CountKey(table=table):
                found.add(table.name)
            case typed.Count(counter=counter):
                found.add(counter)
            case typed.Emit(event=event):
                found |= {event.name, *(member.name for member in event.fields)}
            case typed.InPrefix(length=length):
                found.add(f"/{length}")  # behind the address
            case typed.Const(type=types.Ipv6() as kind, value=number) if (
                number
            ):  # zeros may be defaults
                found.add(value_text(kind, number))
        if isinstance(one, tuple):
            waiting += one
        elif is_dataclass(one) and not isinstance(one, _ELSEWHERE):
            waiting += [getattr(one, f.name) for f in fields(one)]
    return found


@settings(
    max_examples=120,
    phases=(Phase.explicit, Phase.generate),  # shrinking such programs takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(program=programs())
def test_everything_is_named(program: Generated) -> None:
    """For every program: what a rule reads, changes and sends is in its sentences."""
    diagnostics = Diagnostics()
    source = Source("program.nf", program.source)
    found = analyse_tree(parse(source, diagnostics), Path("program.nf"), diagnostics)
    assert found is not None, program.source
    for function in found.functions:
        for rule in function.rules:
            guard = " ".join(words.parts(rule.guard))
            assert not missing(names_in(rule.guard), guard), guard
            assert "not so" not in guard and "  " not in guard
            for edit in rule.edits:
                said = sentences.edit(edit)
                assert not missing(names_in(edit), said), said
            verdict = sentences.verdict(rule.verdict, function.hook)
            assert not missing(names_in(rule.verdict), verdict), verdict


def missing(wanted: set[str], text: str) -> set[str]:
    """The names, addresses and prefix lengths that a text does not have."""
    words_there = set(re.findall(r"\w+", text))
    return {w for w in wanted if w not in (text if re.search("[:/]", w) else words_there)}


def test_the_opposite_of_a_condition(tmp_path: Path) -> None:
    """Of each test by itself: what is not there does not hold either way."""
    path = tmp_path / "f.nf"
    path.write_text(
        "use dm\nendpoint f { when not (udp.dst_port == 53 or srh.tag < 7) and not srh has DM"
        " and not (srh.oam == 1 and ip.src in fd00::/16) { drop } otherwise forward }"
    )
    rule = compile_file(path).functions[0].function.rules[0]
    assert words.parts(rule.guard) == [
        "the UDP destination port is not 53",
        "the SRH's tag is at least 7",
        "there is no DM TLV",
        "(the SRH's flag O (OAM) is not set or the source is not in fd00::/16)",
    ]


def test_names_behind_articles() -> None:
    said = [words.article(name) for name in ("DM", "HMAC", "NSH", "HOPS", "EGRESS", "eighth HOP")]
    assert said == ["a DM", "an HMAC", "an NSH", "a HOPS", "an EGRESS", "an eighth HOP"]


def test_what_is_declared_is_said_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "f.nf"
    path.write_text(
        "param gap: duration = 1500ms\nevent seen { age: duration, packet[64] }\n"
        "endpoint f { otherwise { emit seen { age = gap } forward } }"
    )
    compilation = compile_file(path)
    text = str(explain(compilation, compilation.functions[0]))
    assert re.search(r"param +gap +duration += 1500ms$", text, re.M)
    assert "{ age: duration, packet[64] }" in text


def test_conditions_as_values_and_in_a_row(tmp_path: Path) -> None:
    path = tmp_path / "f.nf"
    path.write_text(
        "param on: bool = true\nstate is_on: bool\nevent seen { big: bool }\n"
        "endpoint f { when sample(1 in 10) or not every(3) {\n"
        "emit seen { big = srh.tag > 7 and srh.oam == 0 } set is_on = not on forward }\n"
        "otherwise forward }"
    )
    rule = compile_file(path).functions[0].function.rules[0]
    assert words.parts(rule.guard) == [
        "chance picks it (one packet in 10) or it is not the last of 3 packets that came to this"
        " test on its CPU"
    ]
    assert [sentences.edit(edit) for edit in rule.edits] == [
        "reports seen: big = whether the SRH's tag is more than 7 and the SRH's flag O (OAM) is not"
        " set",
        "sets the state is_on to whether the param on is false",
    ]


def test_bools_that_are_compared_with_conditions(tmp_path: Path) -> None:
    path = tmp_path / "f.nf"
    path.write_text(
        "param on: bool = true\nendpoint f { when (srh.tag == 3) == on"
        " and on != (srh.tag > 4) and (srh.tag < 9 or srh.oam == 1) == true { drop }"
        " otherwise forward }"
    )
    rule = compile_file(path).functions[0].function.rules[0]
    assert words.parts(rule.guard) == [
        "the param on is the same as whether the SRH's tag is 3",
        "the param on is not the same as whether the SRH's tag is more than 4",
        "(the SRH's tag is less than 9 or the SRH's flag O (OAM) is set)",
    ]


def test_the_sizes_of_events_and_counters_and_the_names_of_members(tmp_path: Path) -> None:
    path = tmp_path / "f.nf"
    path.write_text(
        "enum Colour: u8 { RED = 0, GREEN = 1, GRASS = 1 }\nparam colour: Colour = GREEN\n"
        "counter hues[16] { colour: Colour }\n"
        "event whole { a: u8 }\nevent odd { packet[20] }\n"
        "endpoint f { otherwise {\n"
        "emit whole { a = colour } emit odd { } count hues[colour] forward } }"
    )
    compilation = compile_file(path)
    text = str(explain(compilation, compilation.functions[0]))
    assert re.search(r"param +colour +u8 +=\ 1 \(GREEN\)$", text, re.M)
    assert re.search(r"counter +hues +per cpu \[16\] +\{ colour: u8 \} to", text)
    assert re.search(r"event +whole +16 bytes +\{ a: u8 \}$", text, re.M)
    assert re.search(r"event +odd +up to 36 bytes +\{ packet\[20\] \}$", text, re.M)


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        ((0, 0), ["no packet came to the function"] * 2),
        ((1, 0), ["100.0 % of 1 packet", "0.0 % of 1 packet"]),
        ((1, 9999), ["less than 0.1 % of 10000 packets", "more than 99.9 % of 10000 packets"]),
        ((1, 1999), ["0.1 % of 2000 packets", "more than 99.9 % of 2000 packets"]),
    ],
)
def test_shares_are_not_none_or_all_where_a_packet_went_the_other_way(
    taken: tuple[int, int], said: list[str], tmp_path: Path
) -> None:
    path = tmp_path / "f.nf"
    path.write_text("endpoint f { when srh.tag == 1 { drop } otherwise forward }")
    compilation = compile_file(path)
    bare = explain(compilation, compilation.functions[0])
    counted = bare.with_packets(Counter(dict(enumerate(taken))))
    assert [counted.share(rule) for rule in counted.rules] == said


def test_lines_fit_the_terminal() -> None:
    text = "\n\n".join(path.read_text() for path in sorted(GOLDEN.glob("*.txt")))
    wrapped = shown(text, 72, color=False)
    assert max(map(len, wrapped.splitlines())) <= 72
    assert wrapped.split() == text.split()
    coloured = shown(text, 72, color=True)
    assert re.sub(r"\x1b\[\d*m", "", coloured) == wrapped
