"""What a guest boots into: an initramfs with this machine's Python, this checkout and its tools.

An initramfs needs no disk and no driver: the kernel unpacks it into memory. Archives are in the
"newc" cpio format (Documentation/driver-api/early-userspace/buffer-format.rst); several may stand
behind one another, so the part that is the same for every kernel is written once. Every file has
the path that it has here, so that a virtualenv finds its Python.
"""

from __future__ import annotations

import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from debian_kernels import Kernel, UnavailableError

BUSYBOX = "/busybox/busybox"  # statically linked; its commands come to stand beside it
REPOSITORY = Path(__file__).resolve().parents[2]
TOOLS = ("ip", "tc", "setpriv", "unshare", "bpftool")  # those that are there
CHECKED_OUT = ("nfc", "grammar", "stdlib", "tests", "pyproject.toml")
# Folders of Python's library, then packages, that nothing in a guest needs.
UNWANTED = frozenset(
    {
        *("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"),
        *("site-packages", "pip", "setuptools", "pkg_resources", "mypy", "mypyc", "librt"),
        *("mkdocs", "material", "babel"),
    }
)
_NEEDLESS = re.compile(r"\.a$|__mypyc|^_tkinter|^_test")
MODULES = ("veth", "tun", "vrf", "dummy", "sch_netem", "sch_tbf")
_SONAME = re.compile(r"(?:=> )?(/\S+) \(0x")


class Archive:
    """Writes a cpio archive of the format "newc" to `out`; folders come as they are needed."""

    def __init__(self, out: BinaryIO) -> None:
        """Begin; `close` ends it."""
        self._out = out
        self._number = 0
        self._seen: set[str] = set()

    def file(self, path: Path | str, content: bytes, mode: int = 0o644, mtime: int = 0) -> None:
        """A regular file of these bytes."""
        self._entry(str(path), stat.S_IFREG | mode, content, mtime)

    def link(self, path: Path | str, target: str) -> None:
        """A symbolic link."""
        self._entry(str(path), stat.S_IFLNK | 0o777, target.encode(), 0)

    def copy(self, path: Path) -> None:
        """A file or link of this machine, and what a link points to; nothing when absent."""
        if str(path) in self._seen:
            return
        # A folder on the way that is a link must be one in the guest too (/lib -> usr/lib).
        for folder in reversed(path.parents):
            if folder.is_symlink() and str(folder) not in self._seen:
                self.link(folder, os.readlink(folder))
        if any(p.is_symlink() for p in path.parents):
            self.copy(path.parent.resolve() / path.name)
        elif path.is_symlink():
            self.link(path, os.readlink(path))
            self.copy(path.parent / os.readlink(path))
        elif path.is_file():
            status = path.stat()
            # Times stay, or Python would take its compiled files for old.
            self.file(path, path.read_bytes(), status.st_mode & 0o777, int(status.st_mtime))

    def close(self) -> None:
        """Write the end mark, and fill up to 512 bytes so that another archive can follow."""
        self._entry("TRAILER!!!", 0, b"", 0)
        self._pad(512)

    def _entry(self, path: str, mode: int, content: bytes, mtime: int) -> None:
        name = path.lstrip("/")
        if path in self._seen:
            return
        self._seen.add(path)
        parent = os.path.dirname(name)
        if parent and f"/{parent}" not in self._seen:
            self._entry(f"/{parent}", stat.S_IFDIR | 0o755, b"", 0)
        self._number += 1
        fields = (self._number, mode, 0, 0, 1, mtime, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        self._out.write(b"070701" + b"".join(b"%08x" % field for field in fields))
        self._out.write(name.encode() + b"\0")
        self._pad(4)
        self._out.write(content)
        self._pad(4)

    def _pad(self, to: int) -> None:
        self._out.write(bytes(-self._out.tell() % to))


def write_base(out: BinaryIO, *, compiler: bool) -> None:
    """The part that does not depend on kernel or job: Python, its packages, tools, libraries.

    Without `compiler` there is no LLVM (180 MB). Raises UnavailableError without busybox.
    """
    archive = Archive(out)
    busybox = _busybox().read_bytes()
    binaries = [Path(sys.executable), Path(sys.executable).resolve()]
    binaries += [Path(found) for tool in TOOLS if (found := _tool(tool))]
    packages = Path(sysconfig.get_path("purelib"))
    wanted = [
        *_walk(Path(sysconfig.get_path("stdlib")), UNWANTED),
        *_walk(packages, UNWANTED if compiler else UNWANTED | {"llvmlite"}),
    ]
    wanted = [path for path in wanted if _serves(path)]
    shared = [path for path in wanted if path.suffix == ".so"]
    for path in (*binaries, *_libraries((*binaries, *shared)), *wanted):
        archive.copy(path)
    for own in ("pyvenv.cfg", "bin/nfc"):
        archive.copy(Path(sys.prefix, own))
    for link in Path(sys.executable).parent.glob("python*"):
        archive.copy(link)
    archive.file(BUSYBOX, busybox, 0o755)
    archive.close()


def write_modules(out: BinaryIO, kernel: Kernel) -> None:
    """The kernel's modules that tests use, as /modules/NN-NAME.ko in the order to load them."""
    archive = Archive(out)
    for number, (name, content) in enumerate(_in_order(kernel)):
        archive.file(f"/modules/{number:02}-{name}.ko", content)
    archive.close()


def write_files(out: BinaryIO, files: dict[str, bytes]) -> None:
    """This checkout, and these files by path; all of them may be executed."""
    archive = Archive(out)
    for name in CHECKED_OUT:
        for path in _walk(REPOSITORY / name, frozenset()):
            if _serves(path):
                archive.copy(path)
    for name, content in files.items():
        archive.file(name, content, 0o755)
    archive.close()


def _busybox() -> Path:
    found = shutil.which("busybox")
    if found is None:
        raise UnavailableError("no busybox to start other kernels with (package busybox-static)")
    return Path(found)


def _tool(name: str) -> str | None:
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


def _serves(path: Path) -> bool:
    """Whether this Python has a use for the file: no code compiled by or for another one."""
    if path.suffix == ".pyc":
        return path.stem.endswith(f".{sys.implementation.cache_tag}")
    return not _NEEDLESS.search(path.name)


def _walk(top: Path, without: frozenset[str]) -> Iterator[Path]:
    """The files at or below `top`, but not in folders of these names."""
    if top.is_file():
        yield top
    for place, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if name not in without)
        yield from (Path(place, name) for name in sorted(files))


def _libraries(binaries: Iterable[Path]) -> list[Path]:
    """The shared libraries that these need, as ldd(1) finds them."""
    command = ["ldd", *map(str, binaries)]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [Path(path) for path in sorted(set(_SONAME.findall(said)))]


def _in_order(kernel: Kernel) -> list[tuple[str, bytes]]:
    """(name, content) of MODULES and what they depend on, each behind what it needs."""
    files = {p.name.split(".")[0].replace("-", "_"): p for p in kernel.modules.rglob("*.ko*")}
    found: dict[str, bytes] = {}

    def add(name: str) -> None:
        if name in found or name not in files:
            return  # there already, or built into the kernel
        content = files[name].read_bytes()
        if files[name].suffix == ".xz":
            content = lzma.decompress(content)
        # Each module says what it needs in its section .modinfo.
        needs = re.search(rb"\0depends=([^\0]*)\0", content)
        for need in (needs[1].decode() if needs else "").split(","):
            add(need.replace("-", "_"))
        found[name] = content

    for name in MODULES:
        add(name)
    return list(found.items())
