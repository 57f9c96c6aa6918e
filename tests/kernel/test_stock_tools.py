"""What `nfc build` writes is loaded by bpftool and iproute2 as it is, without a word from them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel.deployed import SID, Router, router
from nfc.compiler import Compilation, compile_file
from nfc.kernel import pins
from nfc.packet import decode
from nfc.resources import data_dir

pytestmark = pytest.mark.kernel

STDLIB = data_dir("stdlib")
# Files of declarations alone make no object.
FILES = sorted(p.stem for p in STDLIB.glob("*.nf") if compile_file(p).functions)
SECTIONS = {"endpoint": "lwt_seg6local", "in": "lwt_in", "out": "lwt_out", "xmit": "lwt_xmit"}
EVERYTHING = """
param limit: u16 = 5
param node: ipv6 = fd00::1
event seen { tag: u16, node: ipv6 }

endpoint ours {
    when every(limit) { emit seen { tag = srh.tag, node = node } set packet.mark = 1 forward }
    otherwise forward
}
transit at_in at in {
    when sample(1 in 2) { emit seen { tag = 1, node = node } forward }
    otherwise forward
}
transit at_out at out {
    when ip.src == node { drop }
    otherwise forward
}
transit at_xmit at xmit {
    otherwise { set packet.priority = limit & 0xff forward }
}
"""


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every file's object, under its name."""
    folder = tmp_path_factory.mktemp("objects")
    (folder / "everything.nf").write_text(EVERYTHING)
    for source in [*(STDLIB / f"{name}.nf" for name in FILES), folder / "everything.nf"]:
        done = silent(sys.executable, "-m", "nfc", "build", source, "-o", folder)
        assert done.stdout.startswith(str(folder / f"{source.stem}.o"))
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    with router(tmp_path_factory.mktemp("programs")) as built:
        yield built


def silent(*command: object) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed and write nothing to standard error."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr + done.stdout
    return done


def compiled(objects: Path, name: str) -> Compilation:
    folder = objects if name == "everything" else STDLIB
    return compile_file(folder / f"{name}.nf")


ALL = pytest.mark.parametrize("name", [*FILES, "everything"])


@ALL
def test_bpftool_loads_it(objects: Path, bpffs: Path, name: str) -> None:
    """All programs, and the first alone; the kernel then shows the source's lines."""
    compilation = compiled(objects, name)
    path = objects / f"{name}.o"
    folder = bpffs / "all"
    assert silent("bpftool", "prog", "loadall", path, folder).stdout == ""
    functions = {f.function.name: f for f in compilation.functions}
    assert set(os.listdir(folder)) == set(functions)
    lines = compilation.source.text.splitlines()
    for each, function in functions.items():
        shown = silent("bpftool", "prog", "dump", "xlated", "pinned", folder / each, "linum")
        found = re.findall(
            r"^; (.*) \[file:(\S+) line_num:(\d+) line_col:\d+\]", shown.stdout, re.M
        )
        assert len({number for _, _, number in found}) >= 2
        for text, file, number in found:
            assert file == f"{name}.nf"
            assert text.strip() == lines[int(number) - 1].strip()
        verdicts = [r.verdict.span.line for r in function.function.rules]
        assert {int(number) for _, _, number in found} >= set(verdicts)
    if len(functions) == 1:
        assert silent("bpftool", "prog", "load", path, bpffs / "one").stdout == ""
    for pin in (*folder.iterdir(), bpffs / "one"):
        pin.unlink(missing_ok=True)
    folder.rmdir()


@ALL
def test_bpftool_shows_names(objects: Path, bpffs: Path, name: str) -> None:
    """Counters by rule, params and events by their names in BTF, and in a map's dump."""
    compilation = compiled(objects, name)
    path = objects / f"{name}.o"
    shown = silent("bpftool", "btf", "dump", "file", path).stdout
    for function in compilation.functions:
        manifest = function.manifest
        assert f"FUNC '{manifest.function}'" in shown
        assert f"VAR '{manifest.stats_map}'" in shown
        for counter in manifest.counters:
            assert f"'{counter.name}'" in shown
        for param in manifest.params:
            assert f"'{param.field.name}'" in shown
    silent("bpftool", "prog", "loadall", path, bpffs / "all", "pinmaps", bpffs / "maps")
    for function in compilation.functions:
        manifest = function.manifest
        # The kernel cuts names to 15 characters; so does the pin's (libbpf uses the whole).
        pin = next(p for p in (bpffs / "maps").iterdir() if p.name == manifest.stats_map)
        dump = json.loads(silent("bpftool", "--json", "map", "dump", "pinned", pin).stdout)
        values = dump[0]["formatted"]["values"][0]["value"]
        names = [c.name for c in manifest.counters]
        assert list(values)[: len(names)] == names
    for folder in (bpffs / "all", bpffs / "maps"):
        for pin in folder.iterdir():
            pin.unlink()
        folder.rmdir()


@ALL
def test_iproute2_puts_it_onto_a_route(objects: Path, place: Router, name: str) -> None:
    for function in compiled(objects, name).functions:
        hook = function.function.hook
        section, path = SECTIONS[hook], objects / f"{name}.o"
        if hook == "endpoint":
            encap = f"seg6local action End.BPF endpoint obj {path} section {section}"
        else:
            encap = f"bpf {hook} obj {path} section {section}"
        route = ["ip", "-n", place.netns, "-6", "route"]
        done = silent(*route, "add", "fd00:77::/64", "encap", *encap.split(), "dev", "eth1")
        assert done.stdout == ""
        assert section in silent(*route, "show", "fd00:77::/64").stdout
        silent(*route, "del", "fd00:77::/64")


def test_it_works_on_the_route(objects: Path, place: Router) -> None:
    """Put there by iproute2 alone, the tag function counts tags up."""
    route = ["ip", "-n", place.netns, "-6", "route"]
    encap = f"seg6local action End.BPF endpoint obj {objects / 'tag.o'} section lwt_seg6local"
    silent(*route, "add", SID, "encap", *encap.split(), "dev", "eth0")
    try:
        assert place.tag() == 1
        got = place.through()
        assert got is not None
        assert decode(got).srh is not None
    finally:
        silent(*route, "del", SID)


_BUILD = """
import sys
from pathlib import Path
from nfc.compiler import compile_file
for path in map(Path, sys.argv[1:]):
    compilation = compile_file(path)
    for number, group in enumerate(compilation.objects()):
        Path(f"{path.stem}-{number}.o").write_bytes(compilation.object(group))
"""


def test_built_twice_is_the_same(objects: Path, tmp_path: Path) -> None:
    """From another folder, in another working directory, by a process with other hash seeds."""
    built: list[dict[str, bytes]] = []
    for seed in ("0", "1", "4242"):
        folder = tmp_path / f"sources {seed}" / "deeper"
        shutil.copytree(STDLIB, folder)
        shutil.copy(objects / "everything.nf", folder)
        cwd = tmp_path / f"cwd{seed}"
        cwd.mkdir()
        sources = [str(folder / f"{name}.nf") for name in [*FILES, "everything"]]
        environment = {**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": "C", "HOME": str(cwd)}
        command = [sys.executable, "-c", _BUILD, *sources]
        subprocess.run(command, cwd=cwd, env=environment, check=True, timeout=60)
        built.append({p.name: p.read_bytes() for p in cwd.glob("*.o")})
    assert len(built[0]) == len(FILES) + 1
    assert built[0] == built[1] == built[2]
    for name in FILES:
        assert built[0][f"{name}-0.o"] == (objects / f"{name}.o").read_bytes()
        assert str(tmp_path).encode() not in built[0][f"{name}-0.o"]


def test_no_section_that_loaders_warn_about(objects: Path) -> None:
    for name in FILES:
        shown = silent("readelf", "-SW", objects / f"{name}.o").stdout
        assert not re.search(r"\.(debug_|eh_frame|rel\.debug)", shown)


def test_bpffs_is_where_the_tools_look() -> None:
    assert Path("/sys/fs/bpf") == pins.BPFFS
