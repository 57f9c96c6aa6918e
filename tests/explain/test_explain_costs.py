"""Costs and needs, held against what runs: no packet takes a longer way than is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nfc.bpf.isa import Instruction, decode, encode
from nfc.bpf.link import link
from nfc.bpf.object import LineInfo, Program
from nfc.bpf.reader import read_object
from nfc.compiler import Compilation, Compiled, compile_file
from nfc.explain.cost import RuleCost, rule_costs
from nfc.explain.flow import Lines
from nfc.explain.labels import body_line, labelled, labelled_costs
from nfc.explain.report import explain
from nfc.packet import Packet, ip, packet, srh, udp
from nfc.resources import data_dir
from nfc.run.session import Session
from nfc.run.subject import of

SID, NEXT = "fd00:b::d", "fd00:2::2"


def query() -> Packet:
    return packet(ip("fd00:1::1", SID), srh([SID, NEXT], left=1), udp(4000, 5000), b"x")


def linked(compilation: Compilation, compiled: Compiled) -> Program:
    return link(read_object(compilation.object([compiled])), compiled.function.name)


def worst(cost: RuleCost) -> int:
    """Instructions with every loop at its most rounds."""
    return cost.instructions + sum(x.instructions * ((x.rounds or 1) - 1) for x in cost.loops)


@pytest.mark.parametrize("name", ["tag", "end", "nsh", "x", "t"])
def test_what_runs_is_within_what_is_said(name: str) -> None:
    compilation = compile_file(data_dir("stdlib") / f"{name}.nf")
    compiled = compilation.functions[0]
    costs = rule_costs(linked(compilation, compiled), compiled.manifest)
    subject = of(compilation, compiled)
    session = Session(subject, params={}, fib=None, engine="interpreter", seed=0)
    ran = session.run(bytes(query()), 0, traced=True)
    assert ran.rule is not None
    cost = costs[ran.rule]
    assert cost is not None
    steps = ran.outcome.steps
    code = linked(compilation, compiled).code
    calls = [s for s in steps if code[8 * s.slot] == 0x85 and code[8 * s.slot + 1] >> 4 == 0]
    assert 0 < len(steps) <= worst(cost)
    assert len(calls) <= len(cost.calls)
    assert len(steps) > cost.instructions // 3  # it is no mere upper bound


def compiled_from(folder: Path, source: str) -> tuple[Compilation, Compiled]:
    path = folder / "f.nf"
    path.write_text(source)
    compilation = compile_file(path, "6.12")
    return compilation, compilation.functions[0]


def test_edits_that_are_one_call(tmp_path: Path) -> None:
    source = (
        "tlv A = 200 { x: u8, y: u8 } endpoint f { when srh has A[1] as a { set a.x = 1"
        " set srh.tag = 2 set a.y = 3 set srh.oam = 1 add A {} forward } otherwise drop }"
    )
    rule, _ = explain(*compiled_from(tmp_path, source)).rules
    merged = {one.edits: (one.call, one.size) for one in rule.merged}
    assert merged[1, 3] == ("bpf_lwt_seg6_store_bytes", 2)
    assert merged[2, 4] == ("bpf_lwt_seg6_store_bytes", 3)
    assert merged[5,][0].startswith("bpf_lwt_seg6_adjust_srh")


def test_the_oldest_kernel_and_why(tmp_path: Path) -> None:
    def oldest(source: str) -> tuple[str, str]:
        found = explain(*compiled_from(tmp_path, source))
        return str(found.oldest), found.needs[0].what

    plain = "transit f at in { otherwise drop }"
    assert oldest(plain) == ("5.3", "the oldest that nfc compiles for")
    event = "event e { a: u8 } endpoint f { otherwise { emit e { a = 1 } forward } }"
    assert oldest(event)[0] == "5.8"
    clock = "event e { a: timestamp } endpoint f { otherwise { emit e { a = now() } forward } }"
    assert oldest(clock) == ("6.1", "bpf_ktime_get_tai_ns")


def test_rules_on_one_line_are_told_apart(tmp_path: Path) -> None:
    """A field of an entry lies where the second rule's count does, and is changed as counts are."""
    rules = (
        "when t has [1] as x and x.v > 3 { set x.v = x.v + 1 set x.w = x.w + 1 forward }",
        "when srh.tag == 1 { drop }",
        "otherwise forward",
    )
    table = "table t: per cpu array[4] to { v: u64, w: u64 }\n"
    shapes = []
    for between in (" ", "\n"):
        found = explain(*compiled_from(tmp_path, f"{table}endpoint f {{ {between.join(rules)} }}"))
        shapes.append([(c.instructions, c.calls, c.stack) for r in found.rules if (c := r.cost)])
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == 3 and shapes[0][1][0] > shapes[0][0][0]


@pytest.mark.parametrize("name", ["delay", "ioam", "egress", "path_tracing"])
def test_other_line_numbers_change_no_code(name: str) -> None:
    compilation = compile_file(data_dir("stdlib") / f"{name}.nf")
    for compiled in compilation.functions:
        assert linked(compilation, compiled).code == labelled(compilation, compiled).code


def test_a_rules_stack_is_its_own(tmp_path: Path) -> None:
    found = explain(
        *compiled_from(
            tmp_path,
            "event e { a: ipv6, b: ipv6 } endpoint f {\n"
            "when srh.tag == 1 { emit e { a = ip.src, b = ip.dst } forward }\notherwise forward }",
        )
    )
    first, last = (rule.cost for rule in found.rules)
    assert first is not None and last is not None
    assert last.stack + 40 <= first.stack <= found.checked.stack


def test_the_oldest_kernel_is_one_whose_check_takes_it() -> None:
    for name in ("delay", "tag", "ioam"):
        compilation = compile_file(data_dir("stdlib") / f"{name}.nf")
        for compiled in compilation.functions:
            found = explain(compilation, compiled)
            assert found.checked.ok and found.checked.kernel == str(found.oldest)


SOURCES = [data_dir("stdlib") / "nsh.nf", Path(__file__).parents[1] / "lsp" / "path_delay.nf"]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_only_a_rule_without_code_costs_nothing(path: Path) -> None:
    """LLVM counts the packets of path_delay's first rule with a copy of the address."""
    compilation = compile_file(path)
    for compiled in compilation.functions:
        program = labelled(compilation, compiled)
        lines = Lines(program)
        there = {lines.at(slot) for slot, _ in decode(program.code)}
        costs = labelled_costs(compilation, compiled)
        found = [index for index, cost in enumerate(costs) if cost is None]
        assert [index for index in found if body_line(index) in there] == []


LOAD = Instruction(0x79, 1, 6, 8)  # r1 = *(u64 *)(r6 + 8)
MORE = Instruction(0x07, 1, 0, 0, 1)
STORE = Instruction(0x7B, 6, 1, 8)
EXIT = Instruction(0x95)


@pytest.mark.parametrize(
    ("code", "counts"),
    [
        ([LOAD, MORE, STORE], True),
        ([LOAD, MORE, Instruction(0xBF, 2, 6), Instruction(0x7B, 2, 1, 8)], True),
        ([LOAD, Instruction(0xBF, 3, 1), Instruction(0x07, 3, 0, 0, 1), Instruction(0x7B, 6, 3, 8)],
         True),
        ([LOAD, STORE], False),
        ([LOAD, MORE, MORE, STORE], False),
        ([LOAD, MORE, Instruction(0xB7, 1), STORE], False),
        ([LOAD, MORE, Instruction(0x7B, 6, 1, 16)], False),
        ([Instruction(0x79, 1, 6, 16), MORE, STORE], False),
    ],
)  # fmt: skip
def test_where_packets_are_counted(code: list[Instruction], counts: bool) -> None:
    program = Program("f", "f", encode([*code, EXIT]), line_info=(LineInfo(0, "f.nf", "", 7, 1),))
    compilation = compile_file(data_dir("stdlib") / "tag.nf")
    first, second = (
        replace(c, line=line, kind="rule")
        for c, line in zip(compilation.functions[0].manifest.counters, (1, 7), strict=False)
    )
    manifest = replace(compilation.functions[0].manifest, counters=(first, second))
    none, cost = rule_costs(program, manifest)
    assert none is None
    assert cost is None or cost.instructions == len(code) + 1
    assert (cost is not None) == counts


@pytest.mark.parametrize(("name", "loops"), [("delay", False), ("tag", True)])
def test_a_jump_back_is_no_loop_by_itself(name: str, loops: bool) -> None:
    """LLVM puts what two ways share behind one of them; the other jumps back to it."""
    compilation = compile_file(data_dir("stdlib") / f"{name}.nf")
    compiled = compilation.functions[0]
    program = linked(compilation, compiled)
    assert min(i.jump or 0 for _, i in decode(program.code)) < 0
    assert ("loops" in [need.what for need in explain(compilation, compiled).needs]) == loops
