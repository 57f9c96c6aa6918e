"""Well-typed means loadable: for every generated program, each kernel takes what the compiler
makes for it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest
from all_kernels import VERSIONS, on_all, only_long, there
from debian_kernels import UnavailableError
from hypothesis import HealthCheck, Phase, given, settings
from kernel_verdicts import Job, ask

from nfc.bpf.reader import read_object
from nfc.compiler import compile_file
from nfc.syntax.diagnostics import SourceErrors

sys.path.insert(0, str(Path(__file__).parents[1] / "properties"))

from generated_sources import Generated, programs

pytestmark = only_long

COUNT = 300


def drawn() -> list[str]:
    """The same COUNT programs at every call."""
    sources: list[str] = []

    @given(programs())
    @settings(max_examples=COUNT, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    def draw(program: Generated) -> None:
        sources.append(program.source)

    draw()
    return sources


def refusals_of(version: str) -> tuple[int, dict[str, str]]:
    """How many programs were loaded, and of those refused the source with the reason."""
    jobs: list[tuple[str, Job]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "generated.nf")
        for source in drawn():
            path.write_text(source)
            try:
                compilation = compile_file(path, version)
            except SourceErrors as error:
                assert f"kernel {version} " in str(error), source
                continue
            for compiled in compilation.functions:
                obj = read_object(compilation.object([compiled]))
                job = Job(obj, compiled.manifest.function, compiled.manifest.hook)
                jobs.append((source, job))
    verdicts = ask(version, [job for _, job in jobs])
    pairs = zip(jobs, verdicts, strict=True)
    return len(jobs), {source: v.reason for (source, _), v in pairs if not v.accepted}


@pytest.fixture(scope="module")
def answers() -> dict[str, tuple[int, dict[str, str]] | UnavailableError]:
    return on_all(refusals_of)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_generated_program_is_loaded(
    answers: dict[str, tuple[int, dict[str, str]] | UnavailableError], version: str
) -> None:
    loaded, refused = there(answers[version])
    assert refused == {}
    assert loaded >= COUNT * 2 // 3
