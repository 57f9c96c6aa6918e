"""Loading hand-made objects: maps, data, relocations, calls, refusals, and no leaks."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel import asm
from nfc.bpf.object import (
    DataSection,
    LineInfo,
    MapDef,
    Object,
    Program,
    Relocation,
    RelocationKind,
)
from nfc.errors import KernelError, NfcError, ObjectError
from nfc.kernel import features, maps, programs, verifier_log
from nfc.kernel.fill import fill
from nfc.kernel.loader import load
from nfc.kernel.maps import Map, index_key

FRAME = bytes(12) + b"\x86\xdd" + b"\x60" + bytes(99)
COUNTER = MapDef("counter", maps.ARRAY, 4, 8, 1)


def counting(result: int = 0) -> Object:
    place = Relocation(asm.LOOKUP_MAP_AT, RelocationKind.MAP, "counter")
    return Object(
        (Program("count", "lwt_in", asm.count_in_entry_0(result), (place,)),),
        (COUNTER,),
        license="GPL",
    )


def reading_data(section: str, addend: int) -> Program:
    """Gives the u32 that lies `addend` bytes into a data section."""
    code = asm.ld_imm64(1) + asm.load(4, 0, 1, 0) + asm.EXIT
    return Program("read", "lwt_in", code, (Relocation(0, RelocationKind.DATA, section, addend),))


def calling() -> Object:
    """main gives inner() + 1; inner gives 41."""
    main = asm.insn(0x85, 0, 1, imm=-1) + asm.insn(0x07, 0, imm=1) + asm.EXIT
    return Object(
        (
            Program("main", "lwt_in", main, (Relocation(0, RelocationKind.CALL, "inner"),)),
            Program("inner", ".text", asm.mov(0, 41) + asm.EXIT),
        ),
        license="GPL",
    )


@pytest.mark.kernel
@pytest.mark.usefixtures("no_leak")
class TestLoad:
    @pytest.mark.parametrize("hook", ["endpoint", "in", "out", "xmit"])
    def test_the_least_program_loads_for_every_hook(self, hook: str) -> None:
        obj = Object((Program("least", "s", asm.RETURN_0),), license="GPL")
        with load(obj, "least", hook=hook) as loaded:
            found = loaded.info()
            assert (found.name, found.hook, found.xlated_size) == ("least", hook, 16)
            assert found.jited_size > 0
            assert programs.info_by_id(found.id) == found

    def test_a_map_is_made_and_counts(self) -> None:
        with load(counting(), "count", hook="in") as loaded:
            programs.test_run(loaded.fd, FRAME, repeat=5)
            assert loaded.maps["counter"].lookup(index_key(0)) == struct.pack("=Q", 5)
            assert loaded.info().map_ids == (loaded.maps["counter"].info.id,)

    def test_a_map_is_reused_and_stays_the_callers(self) -> None:
        with Map.create(COUNTER) as mine:
            with load(counting(), "count", hook="in", reuse_maps={"counter": mine}) as loaded:
                assert loaded.info().map_ids == (mine.info.id,)
                programs.test_run(loaded.fd, FRAME)
            with load(counting(), "count", hook="in", reuse_maps={"counter": mine.fd}) as loaded:
                programs.test_run(loaded.fd, FRAME)
            assert mine.lookup(index_key(0)) == struct.pack("=Q", 2)

    def test_a_map_of_another_shape_is_not_reused(self) -> None:
        with (
            Map.create(replace(COUNTER, value_size=16)) as wide,
            pytest.raises(KernelError, match="cannot reuse map counter"),
        ):
            load(counting(), "count", hook="in", reuse_maps={"counter": wide})

    @pytest.mark.parametrize("readonly", [False, True])
    def test_data_is_there_before_the_first_packet(self, readonly: bool) -> None:
        content = struct.pack("=III", 11, 22, 33)
        name = ".rodata" if readonly else ".data"
        for index, value in enumerate((11, 22, 33)):
            obj = Object(
                (reading_data(name, 4 * index),),
                data=(DataSection(name, content, readonly),),
                license="GPL",
            )
            with load(obj, "read", hook="in") as loaded:
                assert programs.test_run(loaded.fd, FRAME).result == value
                if readonly:
                    with pytest.raises(KernelError):
                        loaded.maps[name].update(index_key(0), content)
                else:
                    loaded.maps[name].update(index_key(0), struct.pack("=III", 7, 7, 7))
                    assert programs.test_run(loaded.fd, FRAME).result == 7

    def test_a_function_is_linked_in(self) -> None:
        with load(calling(), "main", hook="in") as loaded:
            assert programs.test_run(loaded.fd, FRAME).result == 42

    def test_maps_hold_what_the_object_lists(self) -> None:
        """Programs, which a tail call finds, and maps."""
        inner = MapDef("inner", maps.ARRAY, 4, 8, 1)
        outer = MapDef("outer", 12, 4, 4, 2, inner=inner, values=((1, "inner"),))
        calls = MapDef("calls", 3, 4, 4, 3, values=((2, "called"),))
        jump = asm.ld_imm64(2) + asm.mov(3, 2) + asm.call(12) + asm.mov(0, 3) + asm.EXIT
        at = (Relocation(0, RelocationKind.MAP, "calls"),)
        obj = Object(
            (Program("jump", "lwt_in", jump, at), Program("called", "1/2", asm.RETURN_2)),
            (inner, outer, calls),
            license="GPL",
        )
        with load(obj, "jump", hook="in") as loaded:
            assert programs.test_run(loaded.fd, FRAME).result == 2
            inside = loaded.maps["outer"].lookup(index_key(1))
            assert inside == struct.pack("=I", loaded.maps["inner"].info.id)
        with load(obj, "jump", hook="in", filled=False) as loaded:
            assert programs.test_run(loaded.fd, FRAME).result == 3
        none = replace(obj, programs=(obj.programs[0], replace(obj.programs[1], code=asm.EXIT)))
        with pytest.raises(KernelError, match="refused program called"):
            load(none, "jump", hook="in")
        full = replace(obj, maps=(inner, outer, replace(calls, values=((3, "called"),))))
        with pytest.raises(KernelError, match=r"cannot|E2BIG"):
            load(full, "jump", hook="in")

    def test_a_refusal_has_the_reason_and_the_whole_log(self) -> None:
        obj = Object((Program("bad", "s", asm.mov(1, 1) + asm.EXIT),), license="GPL")
        with pytest.raises(KernelError) as refused:
            load(obj, "bad", hook="in")
        assert refused.value.message.endswith("refused program bad: R0 !read_ok")
        assert refused.value.errno == 13
        parsed = verifier_log.parse(refused.value.log)
        assert parsed.insn == 1
        assert parsed.stats is not None
        assert parsed.stats.processed == 2

    def test_a_log_longer_than_the_first_buffer_is_read_whole(self) -> None:
        # Jumps on packet bytes that never agree: every path prints its own trace.
        branches = b"".join(asm.insn(0x15, 1, off=0, imm=n) + asm.mov(2, n) for n in range(3000))
        code = asm.load(4, 1, 1, 0) + branches + asm.EXIT
        with pytest.raises(KernelError) as refused:
            load(Object((Program("long", "s", code),), license="GPL"), "long", hook="in")
        assert len(refused.value.log) > 1 << 16
        assert refused.value.message.endswith("R0 !read_ok")

    def test_the_log_of_an_accepted_program_on_request(self) -> None:
        obj = Object((Program("ok", "s", asm.RETURN_0),), license="GPL")
        with load(obj, "ok", hook="in", log=2) as loaded:
            assert "(95) exit" in loaded.log
            assert verifier_log.parse(loaded.log).message == ()
        with load(obj, "ok", hook="in") as loaded:
            assert loaded.log == ""

    def test_an_unknown_program_type_is_said(self) -> None:
        obj = Object((Program("p", "s", asm.RETURN_0),), license="GPL")
        with pytest.raises(KernelError) as refused:
            load(obj, "p", hook=9999)
        assert "9999" in (refused.value.hint or "")

    def test_btf_that_is_none_is_refused(self) -> None:
        obj = replace(counting(), btf=b"\x9f\xeb\x01\x00" + bytes(20))
        with pytest.raises(ObjectError, match="BTF"):
            load(obj, "count", hook="in")

    def test_btf_that_only_the_kernel_does_not_know_is_left_out(self) -> None:
        # Well formed, and refused by every kernel: an integer of 33 bits in 4 bytes.
        named = struct.pack("<III", 0, 1 << 24, 4) + struct.pack("<I", 33)
        header = struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(named), len(named), 1)
        obj = replace(counting(), btf=header + named + b"\0")
        with load(obj, "count", hook="in") as loaded:
            assert loaded.info().name == "count"

    def test_a_failure_at_any_step_leaks_nothing(self) -> None:
        # The fixture compares descriptors; each of these fails later than the one before.
        bad_map = replace(counting(), maps=(COUNTER, MapDef("x", 999, 1, 1, 1)))
        empty = replace(counting(), data=(DataSection(".data", b"", False),))
        no_map = replace(counting(), maps=())
        refused = Object((Program("count", "s", asm.EXIT),), (COUNTER,), license="GPL")
        for obj in (bad_map, empty, no_map, refused):
            with pytest.raises(NfcError):
                load(obj, "count", hook="in")

    def test_runs_are_counted_on_request(self) -> None:
        with load(counting(), "count", hook="in") as loaded:
            with programs.enable_stats():
                programs.test_run(loaded.fd, FRAME, repeat=10)
            found = loaded.info()
            assert found.run_count == 10
            assert found.run_time_ns > 0

    def test_the_endpoint_type_cannot_be_test_run(self) -> None:
        obj = Object((Program("p", "s", asm.RETURN_0),), license="GPL")
        with load(obj, "p", hook="endpoint") as loaded, pytest.raises(KernelError) as refused:
            programs.test_run(loaded.fd, FRAME)
        assert refused.value.errno == 524

    def test_a_test_run_that_is_too_short_is_refused(self) -> None:
        with load(counting(), "count", hook="in") as loaded, pytest.raises(KernelError):
            programs.test_run(loaded.fd, b"")

    def test_features_finds_all_hooks_here(self) -> None:
        found = features.probe()
        assert dict(found.hooks) == dict.fromkeys(("endpoint", "in", "out", "xmit"))
        assert found.release == os.uname().release
        assert found.possible_cpus >= (os.cpu_count() or 1)
        assert found.missing_capabilities == ()

    def test_without_capabilities_the_missing_ones_are_named(self) -> None:
        # In another process, which gives its rights away first.
        script = (
            "import os; from nfc.bpf.object import *; from nfc.errors import *\n"
            "from nfc.kernel import loader, features\n"
            "os.setgid(65534); os.setuid(65534)\n"
            "obj = Object((Program('p', 's', features.RETURN_ZERO),), license='GPL')\n"
            "try: loader.load(obj, 'p', hook='in')\n"
            "except PrivilegeError as e: print(e.message, '|', e.hint)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        )
        assert "CAP_BPF" in done.stdout
        assert "CAP_NET_ADMIN" in done.stdout
        assert "unprivileged_bpf_disabled" in done.stdout


class TestFill:
    @pytest.mark.parametrize(
        ("relocation", "says"),
        [
            (Relocation(0, RelocationKind.MAP, "m"), "opcode"),
            (Relocation(4, RelocationKind.MAP, "m"), "outside"),
            (Relocation(-8, RelocationKind.MAP, "m"), "outside"),
            (Relocation(1 << 40, RelocationKind.MAP, "m"), "outside"),
            (Relocation(8, RelocationKind.MAP, "none"), "not there"),
            (Relocation(8, RelocationKind.DATA, "d", 1 << 31), "too far"),
        ],
    )
    def test_a_relocation_that_does_not_fit_has_a_place(
        self, relocation: Relocation, says: str
    ) -> None:
        code = asm.mov(0, 0) + asm.ld_imm64(1) + asm.EXIT
        with pytest.raises(ObjectError, match=says) as refused:
            fill(Program("p", "s", code, (relocation,)), {"m": 5, "d": 6})
        assert refused.value.where.startswith("program p, byte")

    @given(
        st.binary(max_size=64),
        st.lists(
            st.builds(
                Relocation,
                st.integers(-16, 80),
                st.sampled_from([RelocationKind.MAP, RelocationKind.DATA]),
                st.sampled_from(["m", "d", "none"]),
                st.integers(-(1 << 33), 1 << 33),
            ),
            max_size=4,
        ),
        st.binary(max_size=40),
    )
    def test_for_every_program_filling_gives_code_or_an_object_error(
        self, code: bytes, relocations: list[Relocation], lines: bytes
    ) -> None:
        program = Program("p", "s", code, tuple(relocations), raw_line_info=lines)
        try:
            filled = fill(program, {"m": 5, "d": 6})
        except ObjectError:
            return
        assert len(filled.code) == len(code)


def test_line_of_the_refused_instruction() -> None:
    lines = (LineInfo(0, "f.nf", "when a", 3, 1), LineInfo(16, "f.nf", "drop", 4, 1))
    program = Program("p", "s", asm.mov(0, 0) * 4, line_info=lines)
    log = "2: (b7) r0 = 0\n3: (95) exit\nR1 !read_ok\nprocessed 4 insns"
    assert verifier_log.explain(log, program) == (
        "f.nf:4: R1 !read_ok\n    drop\n  kernel: R1 !read_ok"
    )
