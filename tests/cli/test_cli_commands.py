"""Every command: its help, its exit status, what it loads, and what it says to nobody."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest

from nfc import __version__
from nfc.cli import cli
from nfc.kernel import pins
from nfc.resources import data_dir

Nfc = Callable[..., tuple[int, str, str]]

STDLIB = data_dir("stdlib")
COMMANDS = [
    *("new", "build", "explain", "check", "run", "test", "fmt"),
    *("deploy", "status", "set", "table", "events", "undeploy"),
    *("lab", "delay", "bond", "discovery", "segtrace"),
    *("schema", "lsp", "demo", "completion"),
]


@pytest.fixture(autouse=True)
def own_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))


# ---- help --------------------------------------------------------------------------------------


def test_all_commands_are_listed_in_the_order_of_use(nfc: Nfc) -> None:
    code, out, err = nfc("--help")
    assert (code, err) == (0, "")
    places = [out.index(f"\n  {name} ") for name in COMMANDS]
    assert places == sorted(places)
    assert cli.list_commands(click.Context(cli)) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help(nfc: Nfc, command: str, flag: str) -> None:
    code, out, err = nfc(command, flag)
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: nfc {command} ")
    found = cli.get_command(click.Context(cli), command)
    assert found is not None
    for parameter in found.params:
        for option in parameter.opts:
            if option.startswith("--"):
                assert option in out
                assert getattr(parameter, "help", ""), f"{option} has no help"
    assert max(map(len, out.splitlines())) <= 100


def test_version(nfc: Nfc) -> None:
    code, out, err = nfc("--version")
    assert (code, err) == (0, "")
    own, llvm, kernel = out.splitlines()
    assert own == f"nfc {__version__}"
    assert re.fullmatch(r"LLVM \d+\.\d+\.\d+ \(llvmlite \S+\)", llvm)
    assert kernel.startswith(f"Linux {os.uname().release} {os.uname().machine}: ")


@pytest.mark.kernel
def test_version_tells_what_the_kernel_has(nfc: Nfc) -> None:
    pins.ensure_mounted()
    kernel = nfc("--version")[1].splitlines()[2]
    assert kernel.endswith(": hooks endpoint, in, out, xmit; JIT on; /sys/fs/bpf mounted")


def test_version_without_privileges(as_nobody: Callable[..., Any]) -> None:
    done = as_nobody("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert "not asked, for want of CAP_" in done.stdout.splitlines()[2]


# ---- wrong usage -------------------------------------------------------------------------------

DELAY = str(STDLIB / "delay.nf")
END = str(STDLIB / "end.nf")
WRONG = {
    "no command": [],
    "no such command": ["bild"],
    "no such option": ["build", END, "--fast"],
    "no file": ["build"],
    "missing file": ["build", "missing.nf"],
    "two files": ["build", END, END],
    "folder": ["check", "/"],
    "no such stage": ["build", END, "--emit", "magic"],
    "no such function": ["check", END, "--function", "ent", "--no-load"],
    "no such kernel": ["check", END, "--kernel", "last"],
    "deploy without a route": ["deploy", END, "--dev", "lo"],
    "deploy without a device": ["deploy", END, "--route", "fd00::1"],
    "deploy to no prefix": ["deploy", END, "--dev", "lo", "--route", "here"],
    "deploy to IPv4": ["deploy", END, "--dev", "lo", "--route", "10.0.0.0/8"],
    "deploy to no table": ["deploy", END, "--dev", "lo", "--route", "fd00::1", "--table", "no"],
    "deploy which": ["deploy", DELAY, "--dev", "lo", "--route", "fd00::1"],
    "metric": ["deploy", END, "--dev", "lo", "--route", "fd00::1", "--metric", "0"],
    "param": ["deploy", END, "--dev", "lo", "--route", "fd00::1", "--set", "x=1"],
    "param without value": ["deploy", END, "--dev", "lo", "--route", "fd00::1", "--set", "x"],
    "set nothing": ["set", "f"],
    "set what": ["set", "f", "x"],
    "set twice": ["set", "f", "x=1", "x=2"],
    "events of whom": ["events"],
    "events count": ["events", "f", "--count", "0"],
    "events timeout": ["events", "f", "--timeout", "-1"],
    "events json": ["events", "f", "--timeout", "soon"],
    "undeploy what": ["undeploy"],
    "undeploy both": ["undeploy", "f", "--all"],
    "demo packets": ["demo", "--packets", "0"],
    "demo too long": ["demo", "--packets", "100000", "--rate", "10"],
    "status of a namespace": ["status", "--netns", "a/b"],
}


@pytest.mark.parametrize("arguments", WRONG.values(), ids=WRONG)
def test_wrong_usage(nfc: Nfc, arguments: list[str]) -> None:
    """Exit status 2, nothing on standard output, something on standard error."""
    code, out, err = nfc(*arguments)
    assert (code, out) == (2, "")
    assert err


@pytest.mark.parametrize(
    "arguments",
    [["set", "f", "x=1"], ["events", "f"], ["undeploy", "f"], ["status", "f"]],
    ids=lambda a: a[0],
)
def test_nothing_of_that_name(nfc: Nfc, arguments: list[str]) -> None:
    code, out, err = nfc(*arguments)
    assert (code, out) == (2, "")
    assert "nothing called 'f' is deployed" in err


def test_nothing_is_deployed(nfc: Nfc) -> None:
    assert nfc("status") == (0, "nothing is deployed\n", "")
    assert json.loads(nfc("status", "--json")[1]) == []
    assert nfc("undeploy", "--all") == (0, "", "")


ERRORS_AS_JSON = {
    "deploy": ["deploy", DELAY, "--dev", "lo", "--route", "fd00::1"],
    "deploy a wrong program": ["deploy", "bad.nf", "--dev", "lo", "--route", "fd00::1"],
    "status": ["status", "f"],
    "explain": ["explain", END, "--function", "ent"],
    "explain a wrong program": ["explain", "bad.nf"],
    "check": ["check", END, "--function", "ent", "--no-load"],
    "check a wrong program": ["check", "bad.nf"],
}


@pytest.mark.parametrize("arguments", ERRORS_AS_JSON.values(), ids=ERRORS_AS_JSON)
def test_errors_as_json(
    nfc: Nfc, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.nf").write_text("endpoint f { otherwise fwd }")
    code, out, err = nfc(*arguments)
    assert out == ""
    assert err
    json_code, out, json_err = nfc(*arguments, "--json")
    assert (json_code, json_err) == (code, "")
    found = json.loads(out)
    assert found["ok"] is False
    said = found.get("error") or found["diagnostics"][0]["message"]
    assert said in err


# ---- what is loaded ----------------------------------------------------------------------------

_LOADED = """
import sys
sys.argv = ["nfc", *sys.argv[1:]]
from nfc.cli import main
try:
    main()
except SystemExit as end:
    print("exit", end.code, file=sys.stderr)
    print(sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--help"], {"pyroute2", "rich", "llvmlite", "lark", "pygls"}),
        (["deploy", "--help"], {"pyroute2", "rich", "llvmlite", "lark"}),
        (["status"], {"pyroute2", "rich", "llvmlite", "lark"}),
        (["lsp", "--help"], {"pyroute2", "rich", "llvmlite", "lark", "pygls"}),
        (["check", END], {"pyroute2", "rich", "pygls"}),
        (["check", END, "--no-load"], {"pyroute2", "rich"}),
        (["build", END, "-o", "/dev/null"], {"pyroute2", "rich"}),
    ],
    ids=lambda x: " ".join(x[:1]) if isinstance(x, list) else "",
)
def test_loads_only_what_it_needs(arguments: list[str], unwanted: set[str]) -> None:
    command = [sys.executable, "-c", _LOADED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    status, modules = done.stderr.splitlines()[-2:]
    assert status == "exit 0"
    assert "click" in modules
    assert {name for name in unwanted if f"'{name}'" in modules} == set()


# ---- as nobody ---------------------------------------------------------------------------------


Nobody = Callable[..., subprocess.CompletedProcess[str]]


def test_deploying_as_nobody_names_the_capabilities(as_nobody: Nobody) -> None:
    done = as_nobody("deploy", END, "--route", "fd00::d", "--dev", "lo")
    assert (done.returncode, done.stdout) == (1, "")
    for name in ("CAP_BPF", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"):
        assert name in done.stderr
    assert "root" in done.stderr
    assert "Traceback" not in done.stderr
    done = as_nobody("deploy", END, "--route", "fd00::d", "--dev", "lo", "--json")
    assert "CAP_BPF" in json.loads(done.stdout)["error"]


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["set", "f", "x=1"], ["events", "f"], ["undeploy", "--all"]],
    ids=lambda a: a[0],
)
def test_as_nobody(as_nobody: Nobody, arguments: list[str]) -> None:
    """The machine's own state cannot be read: which privilege it takes is said."""
    done = as_nobody(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert "CAP_" in done.stderr
    assert "/run/nfc" in done.stderr
    assert "Traceback" not in done.stderr


def test_building_and_checking_take_no_privilege(as_nobody: Nobody) -> None:
    done = as_nobody("build", END, "--emit", "asm")
    assert done.returncode == 0
    done = as_nobody("check", END)
    assert done.returncode == 0
    assert "not asked" in done.stdout
    assert "CAP_BPF" in done.stdout


def test_a_file_that_nobody_may_read(as_nobody: Nobody) -> None:
    path = Path("/tmp") / f"nfc-secret-{os.getpid()}.nf"
    path.write_text("endpoint f { otherwise forward }")
    path.chmod(0o600)
    try:
        for command in (["build", path], ["check", path], ["check", path, "--json"]):
            done = as_nobody(*command)
            assert done.returncode == 2
            said = done.stdout if "--json" in command else done.stderr
            assert f"{path}' is not readable" in said
    finally:
        path.unlink()


# ---- pipes and signals -------------------------------------------------------------------------


def test_a_reader_that_leaves_early() -> None:
    """As `nfc build --emit llvm delay.nf | head -1`."""
    with subprocess.Popen(
        [sys.executable, "-m", "nfc", "build", DELAY, "--emit", "llvm"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()


def test_an_interrupt_is_no_traceback(nfc: Nfc, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nfc.compiler.compile_file", interrupt)
    code, out, err = nfc("build", END)
    assert (code, out) == (130, "")
    assert "Traceback" not in err
