"""Every program of this checkout on Linux 5.10, 6.1 and 6.12: what the compiler makes for a
kernel, that kernel takes, and `nfc check` says so; what the kernel lacks, the compiler refuses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from all_kernels import VERSIONS, on_all, there
from debian_kernels import UnavailableError
from kernel_verdicts import Job, Verdict, ask

from nfc.bpf.isa import EXIT, Instruction, encode
from nfc.bpf.object import Object, Program
from nfc.bpf.reader import read_object
from nfc.compiler import compile_file
from nfc.resources import data_dir
from nfc.syntax.diagnostics import SourceErrors
from nfc.verify.checks import check_object

REPOSITORY = Path(__file__).parents[2]
SOURCES = sorted([*data_dir("stdlib").glob("*.nf"), *REPOSITORY.glob("tests/thesis/*.nf")])

# What each kernel has no means for, by file; the compiler says which line asks for it.
NO_CLOCK = "has no clock that routers can share"  # bpf_ktime_get_tai_ns came with 6.1
REFUSED = {
    ("5.10", "delay"): NO_CLOCK,
    ("5.10", "ioam"): NO_CLOCK,
    ("5.10", "path_tracing"): NO_CLOCK,
}


@dataclass(frozen=True)
class Built:
    """A function compiled for a kernel, and what that kernel says of it."""

    job: Job
    verdict: Verdict

    @property
    def name(self) -> str:
        return self.job.program


@dataclass(frozen=True)
class Answer:
    """What one kernel says: of our functions, and of programs that no kernel takes."""

    ours: tuple[Built, ...]
    wrong: dict[str, Verdict]


Answers = dict[str, Answer | UnavailableError]

WRONG = {
    "reads what nobody wrote": [Instruction(0xBF, 0, 2), Instruction(EXIT)],
    "never ends": [Instruction(0xB7), Instruction(0x05, off=-1), Instruction(EXIT)],
    "calls a helper of another hook": [Instruction(0x85, imm=6_000), Instruction(EXIT)],
}


def jobs_of(source: Path, version: str) -> Iterator[Job]:
    """The functions of a file, compiled for that kernel; none where the compiler refuses."""
    try:
        compilation = compile_file(source, version)
    except SourceErrors:
        return
    for compiled in compilation.functions:
        obj = read_object(compilation.object([compiled]))
        yield Job(obj, compiled.manifest.function, compiled.manifest.hook)


def answer_of(version: str) -> Answer:
    """All programs in one boot."""
    ours = [job for source in SOURCES for job in jobs_of(source, version)]
    wrong = [
        Job(Object((Program("wrong", "lwt_in", encode(code)),), license="GPL"), "wrong", "in")
        for code in WRONG.values()
    ]
    verdicts = ask(version, [*ours, *wrong])
    return Answer(
        tuple(map(Built, ours, verdicts)), dict(zip(WRONG, verdicts[len(ours) :], strict=True))
    )


@pytest.fixture(scope="module")
def answers() -> Answers:
    return on_all(answer_of)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_compiles_is_loaded(answers: Answers, version: str) -> None:
    ours = there(answers[version]).ours
    assert len(ours) >= 8
    assert {one.name: one.verdict.reason for one in ours if not one.verdict.accepted} == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_check_says_what_the_kernel_says(answers: Answers, version: str) -> None:
    for one in there(answers[version]).ours:
        report = check_object(one.job.object, one.name, str(one.job.hook), version)
        assert report.ok == one.verdict.accepted, (one.name, report, one.verdict)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_what_a_kernel_lacks_is_refused(version: str, source: Path) -> None:
    """At the compiler, with no kernel asked."""
    reason = REFUSED.get((version, source.stem))
    if reason is None:
        compile_file(source, version)
        return
    with pytest.raises(SourceErrors) as refusal:
        compile_file(source, version)
    assert reason in refusal.value.render()


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", WRONG)
def test_what_no_kernel_takes(answers: Answers, version: str, what: str) -> None:
    """Else the tests above could not fail."""
    verdict = there(answers[version]).wrong[what]
    assert not verdict.accepted
    assert verdict.reason
