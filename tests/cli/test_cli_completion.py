"""Shell completion: asked as the shells' own scripts ask, and in the shells that are here."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nfc.cli.completion import SHELLS
from nfc.compiler import compile_file
from nfc.deploy import namespaces
from nfc.deploy.state import Record, folder_of

Nfc = Callable[..., tuple[int, str, str]]

BIN = Path(sys.executable).parent


def shell(*command: str, **environment: str) -> str:
    path = f"{BIN}:{os.environ['PATH']}"
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PATH": path, **environment},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def complete(words: str, **environment: str) -> list[str]:
    """What completes the last word of a line, as bash's script asks for it."""
    count = str(len(words.split(" ")) - 1)
    said = shell(
        sys.executable, "-m", "nfc",
        COMP_WORDS=words, COMP_CWORD=count, _NFC_COMPLETE="bash_complete", **environment,
    )  # fmt: skip
    return said.split()


@pytest.fixture(autouse=True)
def one_program_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("_NFC_COMPLETE", raising=False)


def test_commands_options_and_choices() -> None:
    assert complete("nfc un") == ["plain,undeploy"]
    assert complete("nfc check --no") == ["plain,--no-load"]
    assert complete("nfc build x.nf --emit ll") == ["plain,llvm"]
    assert complete("nfc completion z") == ["plain,zsh"]


def test_files() -> None:
    assert complete("nfc build sta") == ["file,sta"]


def test_deployed_functions_by_namespace(tmp_path: Path) -> None:
    inode = os.stat("/proc/self/ns/net").st_ino
    places = ("here/tag.json", f"here@{inode}-1/end.json", "here@1-1/not.json")
    for place in (*places, "netns-r1/tap.json"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_text("{}")
    state = {"NFC_STATE_DIR": str(tmp_path)}
    assert complete("nfc set t", **state) == ["plain,tag"]
    assert complete("nfc status ", **state) == ["plain,end", "plain,tag"]
    assert complete("nfc events --netns r1 t", **state) == ["plain,tap"]
    assert complete("nfc set t", NFC_STATE_DIR=str(tmp_path / "none")) == []


def test_what_a_file_declares(tmp_path: Path) -> None:
    file = tmp_path / "f.nf"
    file.write_text(
        "param most: u16 = 3\nparam other: bool = true\nendpoint broken { drop\n"
        "endpoint one { otherwise forward }\ntransit second at in { otherwise forward }\n"
    )
    assert complete(f"nfc build {file} --function ") == ["plain,one", "plain,second"]
    assert complete(f"nfc deploy {file} --function s") == ["plain,second"]
    assert complete(f"nfc run {file} --param m") == ["plain,most="]
    assert complete(f"nfc run {file} --param most=") == ["plain,most="]
    assert complete(f"nfc run {file} --param most=4") == []
    assert complete(f"nfc deploy {file} --dev lo --set ") == ["plain,most=", "plain,other="]
    assert complete("nfc build --function ") == []
    assert complete(f"nfc build {tmp_path}/none.nf --function ") == []
    assert complete(f"nfc build {tmp_path} --function ") == []
    (tmp_path / "f.o").write_bytes(b"\x7fELF")
    assert complete(f"nfc check {tmp_path}/f.o --function ") == []


def test_what_a_deployed_function_has(tmp_path: Path) -> None:
    source = tmp_path / "f.nf"
    source.write_text(
        "param most: u16 = 3\ntable flows: lru[8] { src: ipv6 } to { n: u64 }\nstate sum: u64\n"
        "endpoint f { when srh.tag > most or flows has [ip.src] { drop }\n"
        "otherwise { set sum = sum + 1 forward } }"
    )
    (compiled,) = compile_file(source).functions
    route = {"prefix": "fd00::/64", "dev": "lo", "table": "main", "via": None, "metric": 1024}
    store = tmp_path / "state"
    record = Record(
        "mine", namespaces.place(None), "0123456789abcdef", "f.nf", route, [], {},
        compiled.manifest, "2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    folder = store / folder_of(record.netns)
    folder.mkdir(parents=True)
    (folder / "mine.json").write_text(record.to_json())
    (folder / "bad.json").write_text("{}")
    state = {"NFC_STATE_DIR": str(store)}
    assert complete("nfc undeploy m", **state) == ["plain,mine"]
    assert complete("nfc set mine ", **state) == ["plain,most="]
    assert complete("nfc table show m", **state) == ["plain,mine"]
    assert complete("nfc table show mine ", **state) == ["plain,flows", "plain,state"]
    assert complete("nfc table put mine fl", **state) == ["plain,flows"]
    assert complete("nfc set bad ", **state) == complete("nfc set none ", **state) == []


def test_interfaces() -> None:
    there = [f"plain,{name}" for _, name in socket.if_nameindex() if name.startswith("l")]
    assert complete("nfc deploy f.nf --dev l") == sorted(there)


def test_nothing_goes_wrong_in_the_middle_of_a_line() -> None:
    assert complete("nfc deploy --route ") == []
    assert complete("nfc build --no-such-option --emit ll") == ["plain,llvm"]


def test_no_such_shell(nfc: Nfc) -> None:
    code, out, err = nfc("completion", "tcsh")
    assert (code, out) == (2, "")
    assert "tcsh" in err


@pytest.mark.parametrize("name", SHELLS)
def test_the_shell_takes_its_script(nfc: Nfc, tmp_path: Path, name: str) -> None:
    code, out, err = nfc("completion", name)
    assert (code, err) == (0, "")
    assert "_NFC_COMPLETE" in out
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here")
    script = tmp_path / "script"
    script.write_text(out)
    shell(name, "-n", str(script))


def test_bash_completes(nfc: Nfc, tmp_path: Path) -> None:
    """By its own means: the function that the script registers, called as bash calls it."""
    script = tmp_path / "nfc.bash"
    script.write_text(nfc("completion", "bash")[1])
    line = (
        f"source {script}; COMP_WORDS=(nfc unde); COMP_CWORD=1; _nfc_completion nfc;"
        'echo "${COMPREPLY[@]}"; complete -p nfc'
    )
    said = shell("bash", "-c", line).splitlines()
    assert said[0] == "undeploy"
    assert "-F _nfc_completion nfc" in said[1]


TERMINAL = """
import os, pty, select, sys, time
shell, script, line, wanted = sys.argv[1:]
pid, terminal = pty.fork()
if not pid:
    os.execvp(shell, [shell, "--norc", "-i"] if shell == "bash" else [shell, "-f", "-i"])
os.write(terminal, f"source {script}; echo re''ady\\n".encode())
said, until = "", time.monotonic() + 50
def read(mark):
    global said
    while mark not in said and time.monotonic() < until:
        if select.select([terminal], [], [], 0.1)[0]:
            said += os.read(terminal, 4096).decode(errors="replace")
read("ready\\r\\n")
said = ""
os.write(terminal, f"{line}\\t".encode())
read(wanted)
os.write(terminal, b"X")
read(f"{wanted}X")
print(said)
os.kill(pid, 9)
os.waitpid(pid, 0)
"""


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_a_value_follows_a_param_at_once(nfc: Nfc, tmp_path: Path, name: str) -> None:
    """No space behind `most=`: in a terminal, where the tab key is pressed."""
    if shutil.which(name) is None:
        pytest.skip(f"no {name} here")
    script = tmp_path / "script"
    begin = "autoload -Uz compinit; compinit -D -u\n" if name == "zsh" else ""
    script.write_text(begin + nfc("completion", name)[1])
    (tmp_path / "f.nf").write_text("param most: u16 = 3\nendpoint f { otherwise forward }\n")
    line = f"nfc run {tmp_path}/f.nf --param m"
    said = shell(
        sys.executable, "-c", TERMINAL, name, str(script), line, "most=", HOME=str(tmp_path),
    )  # fmt: skip
    assert "most=X" in said


@pytest.mark.skipif(shutil.which("fish") is None, reason="no fish here")
def test_fish_completes(nfc: Nfc, tmp_path: Path) -> None:
    script = tmp_path / "nfc.fish"
    script.write_text(nfc("completion", "fish")[1])
    said = shell(
        "fish", "-c", f"source {script}; complete --do-complete 'nfc unde'", HOME=str(tmp_path)
    )
    assert said.startswith("undeploy\tTake functions off their routes")


# A shell in a terminal of its own, in which the tab key is pressed.
ZSH = """
zmodload zsh/zpty
zpty -b shell 'zsh -f -i'
zpty -w shell 'autoload -Uz compinit; compinit -D -u; source {script}'
zpty -n -w shell $'nfc unde\\t'
said=
for round in {{1..100}}; do
    while zpty -r -t shell part; do said+=$part; done
    [[ $said == *undeploy* ]] && break
    sleep 0.1
done
print -r -- "$said"
zpty -d shell
"""


@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_completes(nfc: Nfc, tmp_path: Path) -> None:
    script = tmp_path / "nfc.zsh"
    script.write_text(nfc("completion", "zsh")[1])
    driver = tmp_path / "driver.zsh"
    driver.write_text(ZSH.format(script=script))
    said = shell("zsh", "-f", str(driver), HOME=str(tmp_path))
    assert "undeploy" in said
