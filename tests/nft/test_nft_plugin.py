"""pytest collects packet tests: passes, failures, errors and skips, each told as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = "pytester"

PROGRAM = """
endpoint tally {
    when srh.tag == 9 { drop }
    otherwise { set srh.tag = srh.tag + 1 forward }
}
"""
TESTS = """
packet probe = ip / srh [fd00:a::1, fd00:2::2] { tag = 4 } / udp
test "counts" { send probe expect forwarded { set srh.tag = 5 } }
test "counts wrongly" {
    send probe
    expect forwarded { set srh.tag = 6 }
}
"""


@pytest.fixture
def files(pytester: pytest.Pytester) -> Path:
    pytester.path.joinpath("tally.nf").write_text(PROGRAM)
    pytester.path.joinpath("tally.nft").write_text(TESTS)
    return pytester.path


def test_it_collects_and_tells(pytester: pytest.Pytester, files: Path) -> None:
    done = pytester.runpytest_inprocess("-v", "-p", "no:cacheprovider")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(
        [
            "*tally.nft::tally::counts PASSED*",
            "*tally.nft::tally::counts wrongly FAILED*",
            "*tally.nft:6: the packet that left differs",
            "*expect forwarded { set srh.tag = 6 }",
            "*SRH tag",
            "*expected 0x0006",
            "*got      0x0005",
        ]
    )
    assert "Traceback" not in done.stdout.str()


def test_an_error_in_the_file(pytester: pytest.Pytester, files: Path) -> None:
    files.joinpath("tally.nft").write_text('test "t" { send prob }')
    done = pytester.runpytest_inprocess()
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*tally.nft:1:17: error: there is no packet 'prob'"])
    assert "Traceback" not in done.stdout.str()


@pytest.mark.kernel
def test_on_real_routes(pytester: pytest.Pytester, files: Path) -> None:
    text = TESTS + 'test "later" { clock 5s send probe expect forwarded }'
    files.joinpath("tally.nft").write_text(text)
    done = pytester.runpytest_inprocess("--nfc-kernel", "-rs", "tally.nft", "-k", "not nothing")
    done.assert_outcomes(passed=1, failed=1, skipped=1)
    done.stdout.fnmatch_lines(["*a real clock is not set*"])


def test_it_costs_nothing_where_there_are_none() -> None:
    program = (
        "import sys, nfc.nft.plugin;"
        "heavy = ('nfc.', 'lark', 'llvmlite', 'click');"
        "print(sorted(m for m in sys.modules if m.startswith(heavy)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['nfc.nft', 'nfc.nft.plugin']\n"
