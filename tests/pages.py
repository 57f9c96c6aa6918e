"""The pages of the documents as programs: their blocks in order, and a place to run them in.

What stands behind the kind of a block, on the line that opens it, says how it is run:

    file="NAME"       the block is that file, there before the page's first command is run
    at="NODE"         commands run in that network namespace
    until="TEXT"      a command that runs on while the page goes on; it is ready when it says this,
                      at once if this is empty
    when="FILE"       run once that file is there
    status="1"        what a command ends with, if not 0
    numbers="vary"    output: numbers, and the bars drawn of them, may be others
    of="PAGE"         output of the commands of another page: it is in what they print
    long="REASON"     run only where NFC_PAGES=long is set
    but="COMMAND"     run without the line that begins with that command: it runs the pages
    norun="REASON"    not run at all

In output, … stands for anything in a line, and a line of … for any lines. tests/page_setup has
what some pages find done when they begin: links, routers, deployed functions.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / "README.md", ROOT / "CONTRIBUTING.md"),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
    *sorted((ROOT / "editors").glob("*/README.md")),
]
SETUP = Path(__file__).with_name("page_setup")
LONG = os.environ.get("NFC_PAGES") == "long"
TIMEOUT_S = 240  # the longest takes half a minute on a machine with nothing else to do
_BEGUN = "begun"  # printed by a command that runs on when it is in its namespaces
READY_S = 60  # until a command that runs on is ready
RUN = ("sh", "console", "python")  # kinds of blocks that are commands
OPTIONS = {"file", "at", "when", "until", "status", "numbers", "of", "long", "but", "norun"}

_FENCE = re.compile(r"^(?P<fence>```+)(?P<info>[^\n`]*)\n(?P<text>.*?)^(?P=fence)$", re.S | re.M)
_OPTION = re.compile(r' *([a-z]+)="([^"]*)"')
_VARYING = re.compile(
    r"(?P<number>[-+−]?\d[\d,.]*(?: *(?:ns|µs|ms|s)\b)?)|(?P<bar>[█-▏]+)|(?P<space> +)|."
)
# What a page may change, and does not belong to it.
_NOT_COPIED = {".git", ".venv", ".hypothesis", "build", "dist"}
_WITHOUT = shutil.ignore_patterns("node_modules")


@dataclass(frozen=True)
class Block:
    """A block of a page: its kind (empty: a drawing), options, text, and the line it begins at."""

    page: Path
    line: int
    kind: str
    options: dict[str, str]
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def left_out(self) -> str:
        """Why it is not run now; empty if it is."""
        return self.options.get("norun") or ("" if LONG else self.options.get("long", ""))


def name_of(page: Path) -> str:
    """A page's name in the tests: delay, README, examples-delay."""
    parts = page.relative_to(ROOT).with_suffix("").parts
    return parts[-1] if parts[0] == "docs" or len(parts) == 1 else "-".join(parts[:-1])


def blocks(page: Path) -> list[Block]:
    """The blocks of a page in order."""
    text = page.read_text()
    found = []
    for match in _FENCE.finditer(text):
        kind, _, rest = match["info"].partition(" ")
        options = dict(_OPTION.findall(rest))
        line = text.count("\n", 0, match.start()) + 1
        assert not _OPTION.sub("", rest).strip(), f"{page}:{line}: {rest}"
        assert options.keys() <= OPTIONS, f"{page}:{line}: {rest}"
        found.append(Block(page, line, kind, options, match["text"]))
    return found


# ---- output ---------------------------------------------------------------------------------


def matches(shown: str, got: str, *, numbers: bool = False) -> bool:
    """Whether the output is what is shown. With `numbers` those may be others."""
    pattern = "".join(_line(line.rstrip(), numbers=numbers) for line in shown.splitlines())
    text = "".join(f"{line.rstrip()}\n" for line in got.splitlines())
    return re.fullmatch(pattern, text) is not None


def _line(line: str, *, numbers: bool) -> str:
    if line.strip() == "…":
        return r"(?:.*\n)*"
    parts = [
        _varying(part) if numbers else re.escape(part) for part in re.split("…", line.strip(" "))
    ]
    indent = " *" if numbers else " " * (len(line) - len(line.lstrip(" ")))
    return f"{indent}{'.*'.join(parts)}\n"


def _varying(text: str) -> str:
    found = ""
    for match in _VARYING.finditer(text):
        if match["number"]:
            found += r"[-+−]?\d[\d,.]*" + (" *(?:ns|µs|ms|s)" if match[0][-1].isalpha() else "")
        elif match["bar"]:
            found += "[█-▏]*"
        else:
            found += " *" if match["space"] else re.escape(match[0])
    return found


# ---- a place to run them in -----------------------------------------------------------------

# As the first process of its own namespaces. Its copy of the repository stands where the
# repository does, so that the virtualenv, which knows its path, works in it, and nothing that a
# page does is there afterwards.
_HOST = """
set -e
read -r pid rest < /proc/self/stat
copy=$1 root=$2 venv=$3; shift 3
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t bpf bpf /sys/fs/bpf
ip link set lo up
mount -t tmpfs tmpfs /run
mkdir /run/netns /run/.copy /run/.venv /run/.etc
mount --bind "$copy" /run/.copy
mount --bind "$venv" /run/.venv
mount --bind /etc /run/.etc
mount -t tmpfs tmpfs /etc
ln -s /run/.etc/* /etc
mount -t tmpfs tmpfs /var/lib
mount -t tmpfs tmpfs /tmp
mkdir -p "$root"
mount --bind /run/.copy "$root"
mkdir -p "$venv"
mount --bind /run/.venv "$venv"
mount -o remount,bind,ro "$venv"
echo "$pid"
exec sleep infinity
"""


@dataclass
class Place:
    """A copy of the repository to run blocks in, as one shell after the other.

    `inside` is what a command is run with to be in the place's namespaces; nothing without any.
    """

    folder: Path
    logs: Path
    environment: dict[str, str]
    inside: tuple[str, ...] = ()
    running: list[tuple[Block, subprocess.Popen[bytes], Path]] = field(default_factory=list)

    def command(self, script: str, at: str | None = None) -> list[str]:
        """A script of the shell as a command to be run in the place, in a namespace of it."""
        enter = ("nsenter", f"--net=/run/netns/{at}", "--") if at else ()
        text = f"cd {shlex.quote(str(self.folder))}\n{script}"
        return [*self.inside, *enter, "bash", "-e", "-c", text]

    def run(self, script: str, at: str | None = None, status: int = 0) -> str:
        """Run a script to its end; what it printed. Fails unless it ends with that status."""
        done = subprocess.run(
            self.command(script, at),
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=None if LONG else TIMEOUT_S,
            check=False,
        )
        assert done.returncode == status, f"{script}\n{done.stdout}\nends with {done.returncode}"
        return done.stdout

    def prepare(self, script: str) -> None:
        """Run a page's set-up. Skips the test where that ends with 77: it says what is missing."""
        log = self.logs / "setup"
        with log.open("wb") as out:
            done = subprocess.run(
                self.command(script),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,  # no pipe: what the set-up leaves running would hold it open
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_S,
                check=False,
            )
        if done.returncode == 77:
            pytest.skip(log.read_text().strip())
        assert done.returncode == 0, log.read_text()

    def begin(self, block: Block) -> None:
        """Start what a block says, and wait until it is ready: at least until it is in the place,
        where it can be ended."""
        log = self.logs / f"{block.line}"
        with log.open("wb") as out:
            process = subprocess.Popen(
                self.command(f"echo {_BEGUN}\nexec {block.text}", block.options.get("at")),
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )
        self.running.append((block, process, log))
        end = time.monotonic() + READY_S

        def ready() -> bool:
            _, begun, printed = log.read_text().partition(_BEGUN)
            return bool(begun) and block.options["until"] in printed

        while not ready():
            assert process.poll() is None, f"{block} ended:\n{log.read_text()}"
            assert time.monotonic() < end, f"{block} is not ready:\n{log.read_text()}"
            time.sleep(0.05)

    def end(self) -> None:
        """End what runs on, as a service is ended. Fails if something did not run, or badly."""
        try:
            for block, process, log in self.running:
                assert process.poll() is None, f"{block} ended:\n{log.read_text()}"
            if self.running and self.inside:
                # All but the first of the place's processes, and this one.
                self.run("kill -TERM -1 || true")
            for block, process, log in self.running:
                status = process.wait(60)
                early = not block.options["until"] and status == -signal.SIGTERM
                assert status == 0 or early, f"{block} ends with {status}:\n{log.read_text()}"
        finally:
            for _, process, _ in self.running:
                process.kill()
                process.wait()
            self.running.clear()


@contextmanager
def plain(folder: Path) -> Iterator[Place]:
    """A place that needs no privileges: a copy of the repository in a folder."""
    copy = _copied(folder)
    home = folder / "home"
    home.mkdir()
    yield Place(copy, folder, _environment(home))


@contextmanager
def isolated(folder: Path) -> Iterator[Place]:
    """A place with network namespaces, pins, processes and temporary files of its own, which all
    go at the end. Takes root."""
    copy = _copied(folder)
    new = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", _HOST]
    with ExitStack() as stack:
        host = subprocess.Popen(
            [*new, "host", str(copy), str(ROOT), sys.prefix],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(host.wait)
        stack.callback(host.kill)
        assert host.stdout is not None
        pid = host.stdout.readline().strip()
        assert pid, "the namespaces could not be made"
        inside = ("nsenter", f"--target={pid}", "--mount", "--net", "--pid", "--")
        yield Place(ROOT, folder, _environment(Path("/tmp")), inside)


def _copied(folder: Path) -> Path:
    copy = folder / "nfc"
    copy.mkdir()
    for path in ROOT.iterdir():
        if path.name in _NOT_COPIED or path.name.endswith("_cache"):
            continue
        if path.is_dir():
            shutil.copytree(path, copy / path.name, symlinks=True, ignore=_WITHOUT)
        else:
            shutil.copy2(path, copy)
    return copy


def _environment(home: Path) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NFC_", "PYTEST"))}
    path = f"{Path(sys.executable).parent}:{kept['PATH']}"
    cache = os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache"))  # kernels, once fetched
    own = {"PATH": path, "HOME": str(home), "XDG_CACHE_HOME": cache, "NO_COLOR": "1"}
    return kept | own | {"PYTHONPATH": "tests/kernels"}


# ---- a page ---------------------------------------------------------------------------------


def run_page(page: Path, place: Place) -> list[str]:
    """Run a page from top to bottom; what its commands printed. Fails where it does not hold."""
    found = blocks(page)
    outputs: list[str] = []
    for block in found:
        if "file" in block.options:
            path = block.options["file"]
            place.run(f"mkdir -p $(dirname {path})\ncat > {path} {_given(block.text)}")
    setup = SETUP / f"{name_of(page)}.sh"
    if setup.exists():
        place.prepare(setup.read_text())
    printed: str | None = None
    for block in found:
        if block.left_out or {"file", "of"} & block.options.keys():
            continue
        if block.kind == "console":
            _console(block, place)
        elif block.kind in RUN:
            printed = _run(block, place)
            outputs += [] if printed is None else [printed]
        elif block.kind == "text":
            assert printed is not None, f"{block}: output of nothing that was run"
            _compare(block, block.text, printed)
            printed = None
    place.end()
    for block in (b for other in PAGES for b in blocks(other)):
        if block.options.get("of") == name_of(page):
            _compare(block, f"…\n{block.text}…\n", "".join(outputs))
    return outputs


def _run(block: Block, place: Place) -> str | None:
    at, status = block.options.get("at"), int(block.options.get("status", 0))
    if "when" in block.options:
        path = shlex.quote(block.options["when"])
        place.run(f"for n in {{1..{READY_S}0}}; do [ -e {path} ] && exit; sleep 0.1; done; exit 1")
    if "until" in block.options:
        place.begin(block)
        return None
    script = block.text
    if "but" in block.options:
        lines = script.splitlines(keepends=True)
        kept = [line for line in lines if not line.startswith(block.options["but"])]
        assert len(kept) == len(lines) - 1, f"{block}: no such line"
        script = "".join(kept)
    if block.kind == "python":
        script = f"python - {_given(script)}"
    return place.run(script, at, status)


def _console(block: Block, place: Place) -> None:
    """Commands behind '$ ', each with what it prints; the status is that of the last."""
    commands = re.findall(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", block.text, re.M)
    assert block.text.startswith("$ ") and commands, f"{block}: no command"
    for number, (command, shown) in enumerate(commands, 1):
        status = int(block.options.get("status", 0)) if number == len(commands) else 0
        _compare(block, shown, place.run(command, block.options.get("at"), status))


def _given(text: str) -> str:
    """A text as the standard input of a command."""
    return f"<<'END-OF-THE-BLOCK'\n{text}END-OF-THE-BLOCK"


def _compare(block: Block, shown: str, got: str) -> None:
    numbers = block.options.get("numbers") == "vary"
    assert matches(shown, got, numbers=numbers), f"{block} shows:\n{shown}\nit is:\n{got}"
