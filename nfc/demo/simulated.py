"""The demo without a router: both functions in the simulator, on a capture that ships with nfc.

The capture is a model of a path (scripts/demo_capture.py): every packet at the time at which
router1 has it, and at the time at which router2 has it.
"""

from __future__ import annotations

from collections import defaultdict

from nfc.compiler import Compilation
from nfc.demo.measured import Measured, Say
from nfc.errors import NfcError
from nfc.packet import capture
from nfc.resources import data_dir
from nfc.run import tally
from nfc.run.session import Ran, Session
from nfc.run.subject import of

CAPTURE = data_dir("captures") / "delay.pcapng"
SID = "fd00:b::d"


def measure(say: Say, compilation: Compilation, packets: int) -> Measured:
    """Run the first `packets` packets of the capture through mark_delay, and what leaves it
    through end_dm, each at the capture's times. Raises NfcError."""
    settings = {"far_end": SID, "one_in": "1"}
    mark = _session(compilation, "mark_delay", settings)
    end = _session(compilation, "end_dm", {})
    shown = " ".join(f"--param {name}={value}" for name, value in settings.items())
    say("\nhost1 ── router1 ── router2 ── host2      a model: its times, not measured ones")
    say(f"          mark_delay  end_dm ({SID})")
    # By their bytes as host1 has sent them: what router1 has made of packets on their way.
    on_the_way: dict[bytes, list[bytes]] = defaultdict(list)
    counts = {"mark_delay": tally.Tally(), "end_dm": tally.Tally()}
    delays: list[int] = []

    def run(session: Session, data: bytes, now: int) -> Ran:
        ran = session.run(data, now)
        if ran.outcome.fault is not None:
            raise NfcError(f"{session.subject.program} faults: {ran.outcome.fault}")
        count = counts[session.subject.program]
        count.read += 1
        count.add(ran)
        return ran

    with CAPTURE.open("rb") as stream:
        for record in capture.records(stream):
            if record.interface == 0:
                if counts["mark_delay"].read == packets:
                    continue
                left = run(mark, record.data, record.time_ns).outcome.packet
                if left is not None:
                    on_the_way[record.data].append(left)
            elif on_the_way[record.data]:
                ran = run(end, on_the_way[record.data].pop(0), record.time_ns)
                for event in ran.events:
                    delays.append(int(event.fields["received"]) - int(event.fields["sent"]))
    for session, words in ((mark, f" {shown}"), (end, "")):
        count = counts[session.subject.program]
        counters = session.counters()
        assert counters is not None
        say(f"\n{session.subject.title}{words}: {count.read} packets")
        for line in (*count.lines(), *tally.counter_lines(counters), *tally.event_lines(count)):
            say(line)
    first, second = mark.counters(), end.counters()
    assert first is not None and second is not None
    return Measured(counts["mark_delay"].read, delays, first, second)


def _session(compilation: Compilation, name: str, params: dict[str, str]) -> Session:
    subject = of(compilation, compilation.function(name))
    return Session(subject, params=params, fib=None, engine="jit", seed=0)
