"""For every program and every packet: a trace tells of all rules up to the one that was taken, and
has a reason for each that was not, which never contradicts what the program did."""

from __future__ import annotations

from pathlib import Path

from generated_packets import Wanted, make_packet
from generated_router import fill
from generated_sources import Generated, programs
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from simulated import FIB

from nfc.compiler import compile_file
from nfc.run.explain import CONTRADICTION
from nfc.run.session import Session
from nfc.run.subject import of
from nfc.run.trace import Tracer
from nfc.syntax.diagnostics import SourceErrors

NOW = 1_750_000_000_000_000_000


@given(programs(), st.integers(0, (1 << 32) - 1))
@settings(
    max_examples=30,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_traces(tmp_path: Path, program: Generated, seed: int) -> None:
    path = tmp_path / "f.nf"
    path.write_text(program.source)
    compilation = compile_file(path, "6.12")
    compiled = compilation.function("f")
    try:
        subject = of(compilation, compiled)
    except SourceErrors as error:
        assert "bytes of stack" in str(error)
        return
    session = Session(subject, params={}, fib=FIB, engine="interpreter", seed=seed)
    fill(session.simulator.maps, compilation, compiled, program.params, program.tables)
    tracer = Tracer(session)
    wanted = Wanted(program.hook, program.tlvs)
    for number in range(12):
        ran, trace = tracer.run(make_packet(seed + number, wanted, number), NOW + number)
        if ran.outcome.fate == "refused":
            assert trace.rules == ()
            continue
        assert ran.outcome.fault is None
        assert ran.rule is not None
        lines = [rule.span.line for rule in compiled.function.rules[: ran.rule + 1]]
        assert [rule.line for rule in trace.rules] == lines
        assert [rule.taken for rule in trace.rules] == [False] * ran.rule + [True]
        for rule in trace.rules[:-1]:
            assert rule.why
            assert CONTRADICTION not in rule.why, program.source
