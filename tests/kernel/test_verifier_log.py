"""The verifier's log as a value: kernels old and new, and a compiled function's own lines."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import asm
from nfc.bpf.object import LineInfo, Object, Program
from nfc.bpf.reader import read_object
from nfc.compiler import compile_file
from nfc.errors import KernelError
from nfc.kernel.loader import load
from nfc.kernel.verifier_log import SourceNote, Stats, explain, locate, parse
from nfc.resources import data_dir


@dataclass(frozen=True)
class Case:
    """A log, and what it says."""

    name: str
    log: str
    message: tuple[str, ...]
    insn: int | None
    sources: tuple[SourceNote, ...] = ()
    processed: int = 2


END = " insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n"
CASES = [
    Case(
        "5.10, every step",
        """func#0 @0
0: R1=ctx(id=0,off=0,imm=0) R10=fp0
; return *(int *)x;
0: (b7) r2 = 0
1: R1=ctx(id=0,off=0,imm=0) R2_w=inv0 R10=fp0
; second
1: (61) r0 = *(u32 *)(r2 +0)
R2 invalid mem access 'inv'
processed 2"""
        + END,
        ("R2 invalid mem access 'inv'",),
        1,
        (SourceNote(0, "return *(int *)x;", "", 0), SourceNote(1, "second", "", 0)),
    ),
    Case(
        "5.15, branches and precision",
        """0: (61) r2 = *(u32 *)(r1 +76)
1: (15) if r2 == 0x0 goto pc+2
 R1=ctx(id=0,off=0,imm=0) R2_w=inv(id=0) R10=fp0
from 1 to 4: R1=ctx(id=0,off=0,imm=0) R2=inv0 R10=fp0
last_idx 4 first_idx 0
regs=4 stack=0 before 1: (15) if r2 == 0x0 goto pc+2
4: (0f) r1 += r2
R1 is ctx, variable offset
math between ctx pointer and register with unbounded min value is not allowed
processed 7"""
        + END,
        (
            "R1 is ctx, variable offset",
            "math between ctx pointer and register with unbounded min value is not allowed",
        ),
        4,
        processed=7,
    ),
    Case(
        "6.1, state behind the instruction",
        """0: R1=ctx(off=0,imm=0) R10=fp0
0: (61) r2 = *(u32 *)(r1 +76)         ; R1=ctx(off=0,imm=0) R2_w=pkt(off=0,r=0,imm=0)
1: (71) r0 = *(u8 *)(r2 +0)
invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)
R2 offset is outside of the packet
processed 2"""
        + END,
        (
            "invalid access to packet, off=0 size=1, R2(id=0,off=0,r=0)",
            "R2 offset is outside of the packet",
        ),
        1,
    ),
    Case(
        "6.18, source lines with their file",
        """0: R1=ctx() R10=fp0
; when srh.tag == 1 @ tag.nf:3
0: (b7) r0 = 0                        ; R0=0
; set srh.tag = 2 @ tag.nf:4
1: (85) call bpf_lwt_seg6_store_bytes#74
program of this type cannot use helper bpf_lwt_seg6_store_bytes#74
processed 2"""
        + END,
        ("program of this type cannot use helper bpf_lwt_seg6_store_bytes#74",),
        1,
        (
            SourceNote(0, "when srh.tag == 1", "tag.nf", 3),
            SourceNote(1, "set srh.tag = 2", "tag.nf", 4),
        ),
    ),
    Case(
        "nothing walked",
        "jump out of range from insn 4 to 101\nprocessed 0" + END,
        ("jump out of range from insn 4 to 101",),
        4,
        processed=0,
    ),
    Case(
        "states after the message",
        """0: (05) goto pc-1
infinite loop detected at insn 0
cur state: R1=ctx() R10=fp0
old state: R1=ctx() R10=fp0
processed 9"""
        + END,
        ("infinite loop detected at insn 0",),
        0,
        processed=9,
    ),
    Case(
        "accepted",
        """func#0 @0
Live regs before insn:
      0: .......... (b7) r0 = 0
      1: 0......... (95) exit
0: R1=ctx() R10=fp0
0: (b7) r0 = 0                        ; R0=0
1: (95) exit
verification time 12 usec
stack depth 0
processed 2"""
        + END,
        (),
        1,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_message_the_place_and_the_sources(case: Case) -> None:
    log = parse(case.log)
    assert log.message == case.message
    assert log.insn == case.insn
    assert log.sources == case.sources
    assert log.stats == Stats(case.processed, 1_000_000, 0, 0, 0)


@given(st.text())
def test_for_every_text_there_is_a_value_and_an_explanation(text: str) -> None:
    program = Program("p", "s", asm.RETURN_0)
    assert parse(text).sources is not None
    assert explain(text, program)


@given(st.text(alphabet="0123456789:;()@ Rrinsfomt=,.\n#-", max_size=300))
def test_for_every_text_like_a_log_the_place_is_in_the_program_or_none(text: str) -> None:
    lines = (LineInfo(0, "f.nf", "a", 1, 1), LineInfo(8, "f.nf", "b", 2, 1))
    found = locate(parse(text), Program("p", "s", asm.RETURN_0, line_info=lines))
    assert found is None or found in lines


def test_without_line_info_the_place_is_the_logs_or_the_instruction() -> None:
    program = Program("p", "s", asm.RETURN_0)
    [with_file] = [case for case in CASES if case.name.startswith("6.18")]
    assert explain(with_file.log, program).startswith("tag.nf:4: program of this type")
    [without] = [case for case in CASES if case.name.startswith("6.1,")]
    assert explain(without.log, program).startswith("instruction 1: R2 offset is outside")
    assert explain("", program) == "p: no reason given"


@pytest.mark.kernel
@pytest.mark.usefixtures("no_leak")
class TestCompiled:
    """`tag.nf`, which calls a helper that only endpoints have."""

    def test_the_kernel_takes_it_with_its_types_and_lines(self) -> None:
        obj = self.tag()
        [program] = obj.programs
        with load(obj, program.name, hook="endpoint", log=2) as loaded:
            files = {note.file for note in parse(loaded.log).sources}
            assert files <= {"tag.nf", ""}
            assert parse(loaded.log).sources
            assert loaded.info().name == program.name[:15]

    def test_a_refusal_names_the_line_of_the_source(self) -> None:
        obj = self.tag()
        [program] = obj.programs
        with pytest.raises(KernelError) as refused:
            load(obj, program.name, hook="out")
        told = explain(refused.value.log, program)
        log = parse(refused.value.log)
        place = locate(log, program)
        assert place is not None
        assert place.file.endswith("tag.nf")
        assert told.startswith(f"{place.file}:{place.line}: {log.message[-1]}\n")
        source = (data_dir("stdlib") / "tag.nf").read_text().splitlines()
        assert source[place.line - 1].strip() in told

    def tag(self) -> Object:
        compilation = compile_file(data_dir("stdlib") / "tag.nf", "6.18")
        return read_object(compilation.object(compilation.functions))
