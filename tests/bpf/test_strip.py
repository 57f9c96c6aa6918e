"""Stripped objects: what is left, and that stock tools load them without a word."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from bpf_objects import ALL, llvm_object, real_object

from nfc.bpf.elf import SHT_REL, STB_LOCAL, STT_FUNC, STT_OBJECT, read_elf
from nfc.bpf.reader import read_object
from nfc.bpf.strip import strip
from nfc.errors import ObjectError

WANTED = {
    "small": ["lwt_seg6local", ".rellwt_seg6local", ".maps", ".data", "license"],
    "rich": [
        ".text", ".rel.text", "lwt_in", ".rellwt_in", "lwt_xmit", ".rellwt_xmit", ".data",
        ".rodata", ".data.apart", ".maps", "license", ".bss",
    ],
    "legacy": ["lwt_out", ".rellwt_out", "maps", "license"],
}  # fmt: skip
ALWAYS = [".BTF", ".BTF.ext", ".symtab", ".strtab"]


@pytest.mark.parametrize("name", ALL)
def test_sections_that_are_left(name: str) -> None:
    elf = read_elf(strip(real_object(name)))
    assert [s.name for s in elf.sections] == ["", *WANTED[name], *ALWAYS]


@pytest.mark.parametrize("name", ALL)
def test_symbols_that_are_left_are_used_or_name_something(name: str) -> None:
    elf = read_elf(strip(real_object(name)))
    used = {
        rel.symbol.index
        for section in elf.sections
        if section.type != SHT_REL
        for rel in elf.relocations(section)
    }
    for symbol in elf.symbols[1:]:
        assert symbol.index in used or symbol.type in (STT_FUNC, STT_OBJECT)
    locals_first = [symbol.binding != STB_LOCAL for symbol in elf.symbols]
    assert locals_first == sorted(locals_first)


def test_relocations_still_name_the_same_symbols() -> None:
    for name in ALL:
        before, after = read_elf(real_object(name)), read_elf(strip(real_object(name)))
        for section in after.sections:
            old = before.section(section.name)
            if old is None or section.type == SHT_REL or section.name.startswith(".BTF"):
                continue

            def named(elf: object, target: object) -> list[tuple[int, int, str, int]]:
                rels = elf.relocations(target)  # type: ignore[attr-defined]
                return [(r.offset, r.type, r.symbol.name, r.symbol.value) for r in rels]

            assert named(after, section) == named(before, old)


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_lost(name: str) -> None:
    assert read_object(strip(real_object(name))) == read_object(real_object(name))


@pytest.mark.parametrize("name", ALL)
def test_stripping_is_smaller_and_stripping_twice_the_same(name: str) -> None:
    once = strip(real_object(name))
    assert len(once) < len(real_object(name)) * 2 // 3
    assert strip(once) == once
    assert strip(bytes(bytearray(real_object(name)))) == once


def test_alignment_of_sections_is_kept() -> None:
    for section in read_elf(strip(llvm_object())).sections:
        assert section.align <= 1 or section.offset % section.align == 0


def test_what_is_no_object_is_refused() -> None:
    with pytest.raises(ObjectError, match="ELF"):
        strip(b"\x7fELF" + bytes(100))


# ---- stock tools --------------------------------------------------------------------------------

BPFTOOL = shutil.which("bpftool") or "/usr/sbin/bpftool"
IP = shutil.which("ip") or "/usr/sbin/ip"
# libbpf says so at its normal level, or only with bpftool's -d
COMPLAINTS = ("warn", "skip", "unrecognized", "unsupported", "fail", "error:")


def alone(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in mount and network namespaces of its own, with an empty bpffs."""
    setup = "mount -t bpf none /sys/fs/bpf && ip link set lo up && "
    command = ["unshare", "--mount", "--net", "sh", "-c", setup + script]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture
def stripped(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    path = tmp_path / "stripped.o"
    path.write_bytes(strip(real_object(request.param)))
    return path


def needs(tool: str) -> None:
    if not os.path.exists(tool):
        pytest.skip(f"no {os.path.basename(tool)} here")


@pytest.mark.kernel
@pytest.mark.parametrize(
    ("stripped", "how"),
    [("small", "load"), ("small", "load -t"), ("rich", "loadall")],
    indirect=["stripped"],
)
def test_bpftool_loads_it_without_a_word(stripped: Path, how: str) -> None:
    needs(BPFTOOL)
    verb, *typed = how.split()
    kind = "type lwt_seg6local" if typed else ""
    done = alone(f"{BPFTOOL} prog {verb} {stripped} /sys/fs/bpf/x {kind}")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    # And with all that libbpf could say, but for the verifier's steps.
    loud = alone(f"{BPFTOOL} -d prog {verb} {stripped} /sys/fs/bpf/x {kind}")
    assert loud.returncode == 0
    said = [line for line in (loud.stdout + loud.stderr).splitlines() if line.startswith("libbpf")]
    assert said, "bpftool -d is silent"
    assert not [line for line in said if any(word in line.lower() for word in COMPLAINTS)]


@pytest.mark.kernel
def test_bpftool_does_complain_about_an_object_as_llvm_makes_it(tmp_path: Path) -> None:
    needs(BPFTOOL)
    (tmp_path / "raw.o").write_bytes(llvm_object())
    done = alone(f"{BPFTOOL} prog load {tmp_path}/raw.o /sys/fs/bpf/x")
    assert ".eh_frame" in done.stdout + done.stderr


@pytest.mark.kernel
@pytest.mark.parametrize("stripped", ["small"], indirect=True)
def test_bpftool_shows_the_source_and_the_data(stripped: Path) -> None:
    needs(BPFTOOL)
    done = alone(
        f"{BPFTOOL} prog load {stripped} /sys/fs/bpf/x && "
        f"{BPFTOOL} prog dump xlated pinned /sys/fs/bpf/x linum && "
        f"{BPFTOOL} map dump name small.data; {BPFTOOL} map dump name stripped.data"
    )
    assert "emit value [file:small.nf line_num:2 line_col:5]" in done.stdout
    assert '"params": [7,9' in done.stdout.replace("\n", "").replace(" ", "").replace(
        '"params":[', '"params": ['
    )


ROUTES = {
    "small": (
        "ip -6 route add fc00::1/128 encap seg6local action End.BPF endpoint obj {o} "
        "section lwt_seg6local dev v"
    ),
    "rich": "ip -6 route add fc00::1/128 encap bpf xmit obj {o} section lwt_xmit dev v",
}


@pytest.mark.kernel
@pytest.mark.parametrize("stripped", ROUTES, indirect=True)
def test_iproute2_loads_it_without_a_word(stripped: Path, request: pytest.FixtureRequest) -> None:
    needs(IP)
    name = request.node.callspec.params["stripped"]
    route = ROUTES[name].format(o=stripped)
    done = alone(
        f"ip link add v type veth peer name w && ip link set v up && {route} && "
        "echo added && ip -6 route show fc00::1"
    )
    assert done.returncode == 0, done.stderr
    first, *shown = done.stdout.splitlines()
    assert (first, done.stderr) == ("added", "")
    assert "bpf" in " ".join(shown).lower()
    assert list(itertools.chain(shown))
