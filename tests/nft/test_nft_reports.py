"""What `nfc test` says: to people, as JSON, as JUnit XML, by its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

Nfc = Callable[..., tuple[int, str, str]]

PROGRAM = """
endpoint tally {
    when srh.tag == 9 { drop }
    otherwise { set srh.tag = srh.tag + 1 forward }
}
"""
TESTS = """
packet p = ip / srh [fd00:a::1, fd00:2::2] { tag = 4 } / udp
test "counts" { send p expect forwarded { set srh.tag = 5 } }
test "counts <wrongly> & says so" {
    send p
    expect forwarded { set srh.tag = 6 }
}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("good", "bad", "broken"):
        tmp_path.joinpath(f"{name}.nf").write_text(PROGRAM)
    good = TESTS[: TESTS.index('test "counts <')]
    tmp_path.joinpath("good.nft").write_text(good)
    tmp_path.joinpath("bad.nft").write_text(TESTS)
    tmp_path.joinpath("broken.nft").write_text('test "t" { send prob }')
    return tmp_path


def test_all_pass(nfc: Nfc, folder: Path) -> None:
    code, out, err = nfc("test", folder / "good.nft")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[:2] == [str(folder / "good.nft"), "  ok    counts (tally)"]
    assert lines[2].startswith("1 test in 1 file: 1 passed (simulator, 1 packet, ")


def test_the_program_may_be_named(nfc: Nfc, folder: Path) -> None:
    assert nfc("test", folder / "good.nf")[0] == 0


def test_a_failure(nfc: Nfc, folder: Path) -> None:
    code, out, _ = nfc("test", folder / "bad.nft")
    assert code == 1
    assert out.splitlines()[2:-1] == [
        "  FAIL  counts <wrongly> & says so (tally)",
        f"      {folder / 'bad.nft'}:6: the packet that left differs",
        "          6 | expect forwarded { set srh.tag = 6 }",
        "            | SRH tag",
        "            |   expected 0x0006",
        "            |   got      0x0005",
    ]
    assert out.splitlines()[-1].startswith("2 tests in 1 file: 1 passed, 1 failed (")


def test_a_file_with_an_error_stops_no_other(nfc: Nfc, folder: Path) -> None:
    code, out, _ = nfc("test", folder)
    assert code == 1
    assert f"{folder / 'broken.nft'}:1:17: error: there is no packet 'prob'" in out
    assert "3 tests in 2 files: 2 passed, 1 failed, 1 file with errors (" in out


def test_json(nfc: Nfc, folder: Path) -> None:
    code, out, err = nfc("test", folder, "--json")
    assert (code, err) == (1, "")
    said = json.loads(out)
    assert (said["ok"], said["machine"], said["passed"], said["failed"]) == (
        *(False, "simulator"),
        *(2, 1),
    )
    (failed,) = [t for t in said["tests"] if t["status"] == "failed"]
    assert (failed["test"], failed["function"], failed["line"]) == (
        *("counts <wrongly> & says so", "tally"),
        4,
    )
    (failure,) = failed["failures"]
    assert failure["line"] == 6
    assert failure["source"] == "expect forwarded { set srh.tag = 6 }"
    assert failure["difference"] == "SRH tag\n  expected 0x0006\n  got      0x0005"
    (broken,) = said["errors"]
    assert broken["diagnostics"][0]["column"] == 17


def test_junit(nfc: Nfc, folder: Path) -> None:
    path = folder / "out.xml"
    assert nfc("test", folder, "--junit", path)[0] == 1
    suites = {s.get("name"): s for s in xml.parse(path).getroot()}
    bad = suites[str(folder / "bad.nft")]
    assert (bad.get("tests"), bad.get("failures"), bad.get("errors")) == ("2", "1", "0")
    cases = bad.findall("testcase")
    assert [c.get("name") for c in cases] == ["counts", "counts <wrongly> & says so"]
    assert cases[0].find("failure") is None
    failure = cases[1].find("failure")
    assert failure is not None and "expected 0x0006" in (failure.text or "")
    broken = suites[str(folder / "broken.nft")]
    assert (broken.get("tests"), broken.get("errors")) == ("1", "1")
    assert broken.find("testcase/error") is not None


def test_what_xml_cannot_hold(nfc: Nfc, folder: Path) -> None:
    text = TESTS.replace("counts <wrongly>", r"\x01\x1b[31m").replace('"counts"', '"plain"')
    folder.joinpath("bad.nft").write_text(text)
    path = folder / "out.xml"
    code, out, _ = nfc("test", folder / "bad.nft", "--junit", path)
    assert code == 1
    assert "\x1b" not in out
    assert len(xml.parse(path).getroot().findall(".//testcase")) == 2


def test_list_and_filter(nfc: Nfc, folder: Path) -> None:
    code, out, _ = nfc("test", folder / "bad.nft", "--list")
    path = folder / "bad.nft"
    assert (code, out.splitlines()) == (
        0,
        [f"{path}:3: counts (tally)", f"{path}:4: counts <wrongly> & says so (tally)"],
    )
    code, out, _ = nfc("test", folder / "bad.nft", "--list", "-k", "WRONG", "--json")
    assert [t["line"] for t in json.loads(out)["tests"]] == [4]
    code, out, _ = nfc("test", folder / "bad.nft", "-k", "wrong")
    assert (code, "1 test in 1 file" in out) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "nothing"], "no test holds 'nothing'"),
        (["none.nft"], "does not exist"),
        (["--junit"], "requires an argument"),
    ],
)
def test_wrong_usage(
    nfc: Nfc, folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    folder.joinpath("broken.nft").unlink()
    monkeypatch.chdir(folder)
    code, out, err = nfc("test", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_folder_without_tests(nfc: Nfc, tmp_path: Path) -> None:
    code, _, err = nfc("test", tmp_path)
    assert code == 2
    assert f"there are no .nft files in {tmp_path}" in err


def test_a_report_that_cannot_be_written(nfc: Nfc, folder: Path) -> None:
    code, _, err = nfc("test", folder / "good.nft", "--junit", folder / "no" / "x.xml")
    assert code == 1
    assert "cannot write" in err


def test_the_simulator_needs_no_netlink() -> None:
    """Without a kernel nothing is imported that speaks to one, nor what draws pictures."""
    program = (
        "import sys\n"
        "from nfc.cli import main\n"
        "sys.argv = ['nfc', 'test', 'stdlib', '-k', 'wraps']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "print({'pyroute2', 'rich', 'matplotlib', 'pytest', 'textual'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines()[-1] == "set()"


@pytest.mark.kernel
def test_without_root(as_nobody: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    """The simulator works for everyone; routes are root's, and that is said."""
    library = Path(__file__).parents[2] / "stdlib" / "end.nft"
    assert as_nobody("test", library).returncode == 0
    done = as_nobody("test", "--kernel", library)
    assert done.returncode == 1
    assert "CAP_" in done.stderr
    assert "Traceback" not in done.stderr
