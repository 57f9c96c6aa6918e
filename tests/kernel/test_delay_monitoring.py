"""Delay monitoring as a whole: marked on one router, reported by the next, collected at a host.

h1 - r1 (mark_delay) - r2 (end_dm, `nfc delay report`) - h2 (`nfc delay collect`)
"""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nfc.delay.query import Querier
from nfc.delay.wire import OUT_OF_BAND, Message, Report
from nfc.deploy.deployments import Request, deploy, undeploy
from nfc.deploy.settings import set_params
from nfc.lab import Chain, chain
from nfc.packet import ip, packet, srh, tlv, udp
from nfc.resources import data_dir

pytestmark = pytest.mark.kernel

DELAY = data_dir("stdlib") / "delay.nf"
NFC = [sys.executable, "-m", "nfc"]
SID, H2 = "fd00:b::d", "fd00:3::2"
PORT = 4739
SURE_S = 30  # for what is sure to come, however busy the machine is


@pytest.fixture(scope="module")
def net() -> Iterator[Chain]:
    with chain("h1", "r1", "r2", "h2") as built:
        yield built


@pytest.fixture(autouse=True)
def deployed(net: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    names = {node: net.lab.name(node) for node in net.nodes}
    mark = {"far_end": SID, "collector": H2, "one_in": "1", "session": "1"}
    deploy(Request(DELAY, SID, "eth0", function="end_dm", netns=names["r2"]))
    r1 = names["r1"]
    deploy(Request(DELAY, "fd00:3::/64", "eth1", function="mark_delay", netns=r1, settings=mark))
    yield
    undeploy([], None, all_=True)


@pytest.fixture
def receiver(net: Chain) -> Iterator[socket.socket]:
    """Where reports come in, instead of a collector."""
    with net.lab.socket("h2") as made:
        made.bind((H2, PORT))
        yield made


@contextlib.contextmanager
def service(*arguments: str, until: str = "") -> Iterator[subprocess.Popen[str]]:
    """A command of nfc that runs until it is told to end; its standard error holds `until`
    once it is ready."""
    with started([*NFC, *arguments]) as process:
        if until:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert until in line, line + process.stderr.read()
        yield process


@contextlib.contextmanager
def started(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is killed at the end, if it still runs."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], number: signal.Signals = signal.SIGTERM) -> str:
    """End it as systemd does; what it said on standard output. It must end well."""
    process.send_signal(number)
    out, err = process.communicate(timeout=SURE_S)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    return out


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_from_the_mark_to_the_collector(net: Chain, tmp_path: Path) -> None:
    """Every packet is reported, two sessions are told apart, and a restart loses nothing."""
    names = {node: net.lab.name(node) for node in net.nodes}
    # A second session, for another destination on the same router.
    net.lab.address("h2", "eth0", "fd00:3::3/64")
    more = {"far_end": SID, "collector": H2, "one_in": "1", "session": "0xabcdef"}
    deploy(
        Request(
            *(DELAY, "fd00:3::3/128", "eth1"),
            via="fd00:2::2",
            function="mark_delay",
            name="second",
            netns=names["r1"],
            settings=more,
        )
    )
    state = tmp_path / "delay.json"
    config = tmp_path / "delay.toml"
    config.write_text(
        f'listen = "[{H2}]:{PORT}"\nstate = "{state}"\nstep = 0.5\n'
        "save_every = 0.2\n"
        f'[[path]]\nname = "there"\nsession = 1\nsource = "fd00:2::1"\nsid = "{SID}"\n'
    )
    collect = ("delay", "collect", str(config), "--netns", names["h2"], "--json")
    report = ("delay", "report", "end_dm", "--netns", names["r2"])
    with (
        service(*collect, until="collecting") as collector,
        service(*report, until="reporting") as reporter,
    ):
        net.lab.burst("h1", H2, 9, count=200, rate=2000)
        net.lab.burst("h1", "fd00:3::3", 9, count=100, rate=2000)
        until(lambda: saved(state) == 300)
        ended(reporter)
        collector.kill()
    found = kept(collect)
    there, other = found["there"], found[f"session 11259375 fd00:2::1 → {SID}"]
    assert (there["samples"], other["samples"]) == (200, 100)
    assert 0 < there["minimum"] <= there["median"] <= there["p99"] <= there["maximum"] < 10**9
    assert kept(collect) == found


def until(true: Callable[[], object]) -> None:
    """Wait until that is so."""
    deadline = time.monotonic() + SURE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def saved(state: Path) -> int:
    """How many delays a collector has in its file."""
    if not state.exists():
        return 0
    return sum(path["delays"]["count"] for path in json.loads(state.read_text())["paths"])


def shown(net: Chain) -> str:
    """What the collector on h2 tells Prometheus."""

    def ask() -> str:
        with urllib.request.urlopen(f"http://[{H2}]:9739/metrics", timeout=SURE_S) as answer:
            return str(answer.read(1 << 20), "utf-8")

    return net.lab.run("h2", ask)


def kept(collect: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """What a collector has when it starts, by path."""
    with service(*collect, until="collecting") as collector:
        rows = lines(ended(collector, signal.SIGINT))
    for row in rows:
        del row["time"]
    return {row["path"]: row for row in rows}


def test_another_program_takes_over(net: Chain, receiver: socket.socket, tmp_path: Path) -> None:
    """The agent reports on what replaces the function, and on both what came before it looked."""
    r2 = net.lab.name("r2")
    other = tmp_path / "other.nf"
    other.write_text(DELAY.read_text().replace("packet[256]", "packet[200]"))
    with service("delay", "report", "end_dm", "--netns", r2, until="reporting"):
        receiver.settimeout(SURE_S)
        net.lab.burst("h1", H2, 9, count=1)
        receiver.recv(2000)
        deploy(Request(other, SID, "eth0", function="end_dm", netns=r2))
        net.lab.burst("h1", H2, 9, count=3)
        for _ in range(3):
            Report.decode(receiver.recv(2000))


def test_sampling_changes_while_it_runs(net: Chain, receiver: socket.socket) -> None:
    names = {node: net.lab.name(node) for node in net.nodes}
    receiver.settimeout(SURE_S)
    with service("delay", "report", "end_dm", "--netns", names["r2"], until="reporting"):
        set_params("mark_delay", names["r1"], {"one_in": "0"})
        net.lab.burst("h1", H2, 9, count=100)
        set_params("mark_delay", names["r1"], {"one_in": "1", "session": "77"})
        net.lab.burst("h1", H2, 9, count=3)
        got = [Report.decode(receiver.recv(2000)) for _ in range(3)]
        assert {one.message.session for one in got} == {77}
        receiver.settimeout(0.3)
        with pytest.raises(TimeoutError):
            receiver.recv(2000)


def test_the_report_is_the_tlv_as_on_the_wire(net: Chain, receiver: socket.socket) -> None:
    """What the far router does not change comes as it was sent, with what stood behind the 48
    bytes; a probe of another version gets 0x11, and its packet goes on all the same."""
    names = {node: net.lab.name(node) for node in net.nodes}
    receiver.settimeout(SURE_S)
    uro = tlv(131, PORT.to_bytes(2, "big") + bytes.fromhex("fd000003000000000000000000000002"))
    inner = bytes(packet(ip("fd00:9::9", H2), udp(4000, 5000), b"user"))
    padding = bytes((128, 4, 1, 2, 3, 4))  # a TLV of RFC 6374 inside the DM TLV
    now = time.clock_gettime_ns(time.CLOCK_TAI)
    for version in (1, 2):
        message = Message(
            *(0x123456, now),
            control=OUT_OF_BAND,
            class_set=True,
            traffic_class=46,
            preferred_format=3,
            version=version,
            more=padding,
        )
        dm = tlv(7, message.encode()[2:])
        probe = packet(
            ip("fd00:1::77", SID),
            srh([SID, H2], left=1, tlvs=[tlv(200, b"x"), dm, uro], next_header=41),
            inner,
        )
        with (
            net.lab.capture("h2", "eth0") as capture,
            service("delay", "report", "end_dm", "--netns", names["r2"], "--count", "1"),
        ):
            net.lab.send("r1", "eth1", probe)
            data = receiver.recv(2000)
            arrived = [p for p in capture.packets(2, timeout=SURE_S) if p.endswith(b"user")]
        assert len(arrived) == 1
        report = Report.decode(data)
        assert str(report.source) == "fd00:1::77"
        assert str(report.destination) == SID
        got = report.message
        assert now <= got.received <= time.clock_gettime_ns(time.CLOCK_TAI)
        assert got.response
        assert got.control == (1 if version == 1 else 0x11)
        sent = bytearray(message.encode())
        sent[4] |= 8
        sent[5] = got.control
        sent[8] |= 3
        sent[24:32] = data[24:32]
        assert data[: len(sent)] == bytes(sent)


def test_reports_only_go_where_they_may(net: Chain, receiver: socket.socket) -> None:
    names = {node: net.lab.name(node) for node in net.nodes}
    allow = ("--allow", "fd00:77::/32")
    with service(
        "delay", "report", "end_dm", "--netns", names["r2"], *allow, until="reporting"
    ) as reporter:
        with net.lab.capture("h2", "eth0") as capture:
            net.lab.burst("h1", H2, 9, count=5)
            assert len(capture.packets(5, timeout=SURE_S)) == 5  # so their events are there
        receiver.settimeout(0.5)
        with pytest.raises(TimeoutError):
            receiver.recv(2000)
        reporter.send_signal(signal.SIGTERM)
        _, err = reporter.communicate(timeout=SURE_S)
    assert err == "0 reports sent, 5 refused\n"


def test_the_collector_reads_its_configuration_again(net: Chain, tmp_path: Path) -> None:
    """Under other names and on another port, it still has what it had; a wrong one is refused."""
    config = tmp_path / "delay.toml"
    path = f'[[path]]\nname = "NAME"\nsession = 1\nsid = "{SID}"\n'
    report = Report(Message(1, 10**9, 2 * 10**9, response=True, control=1, response_format=3))

    kept = f'state = "{tmp_path / "delay.json"}"\nsave_every = 0.1\n'
    sent: list[int] = []

    def send(port: int) -> None:
        with net.lab.socket("h2") as out:
            out.sendto(report.encode(), (H2, port))
        sent.append(port)
        until(lambda: saved(tmp_path / "delay.json") == len(sent))

    config.write_text(f'{kept}listen = "[{H2}]:{PORT}"\n')
    command = ("delay", "collect", str(config), "--netns", net.lab.name("h2"), "--json")
    with service(*command, "--every", "60", until="collecting") as collector:
        assert collector.stderr is not None

        def again(text: str) -> str:
            assert collector.stderr is not None
            config.write_text(text)
            collector.send_signal(signal.SIGHUP)
            return collector.stderr.readline()

        send(PORT)
        for wrong, why in (
            ("listen = 5", f"{config}: listen must be an address and a port"),
            (f'listen = "[{H2}]:{PORT}"\nstate = "/x"', "another 'state' takes a restart"),
            (f'{kept}listen = "[fd00:77::1]:{PORT}"', "cannot listen on [fd00:77::1]:4739"),
            (f'{kept}metrics = "[fd00:77::1]:9739"', "cannot serve metrics on port 9739"),
        ):
            assert again(wrong).startswith(f"the configuration stays as it was: {why}"), wrong
        send(PORT)
        other = f'{kept}listen = "[{H2}]:{PORT + 1}"\nmetrics = "[{H2}]:9739"\n'
        assert "collecting on" in again(other + path.replace("NAME", "one").replace(SID, H2))
        assert "metrics on port 9739" in collector.stderr.readline()
        send(PORT + 1)
        assert "collecting on" in again(other + path.replace("NAME", "two").replace(SID, H2))
        rows = lines(ended(collector))
    assert [(row["path"], row["samples"]) for row in rows] == [("two", 3)]


def test_metrics_over_http(net: Chain) -> None:
    names = {node: net.lab.name(node) for node in net.nodes}
    collect = ("delay", "collect", "--listen", f"[{H2}]:{PORT}", "--metrics", f"[{H2}]:9739")
    with (
        service(*collect, "--netns", names["h2"], until="collecting"),
        service("delay", "report", "end_dm", "--netns", names["r2"], until="reporting"),
    ):
        net.lab.burst("h1", H2, 9, count=50, rate=1000)
        net.lab.burst("h1", H2, PORT, count=2)  # no reports, but measured themselves
        until(lambda: 'nfc_delay_reports_total{result="taken"} 52.0' in shown(net))
        text = shown(net)
    assert 'nfc_delay_reports_total{result="malformed"} 2.0' in text
    labels = f'path="session 1 fd00:2::1 → {SID}",session="1",sid="{SID}",source="fd00:2::1"'
    assert f'nfc_delay_seconds_count{{{labels},traffic_class="0"}} 52.0' in text


# ---- two-way --------------------------------------------------------------------------------

AHEAD_NS = 5_000_000
AHEAD = """
use dm

param ahead: duration = 5ms
param lie: duration = 0ns

# As end_dm, on a router whose clock is ahead.
endpoint ahead_dm {
    when srh has DM as dm and dm.response == 0 and dm.control == IN_BAND {
        set dm.response = 1
        set dm.control = SUCCESS
        set dm.response_format = PTP
        set dm.received = now() + ahead
        set dm.reply_sent = now() + ahead + lie
        forward
    }
    otherwise forward
}
"""


def query(*arguments: str) -> tuple[int, list[dict[str, Any]], str]:
    command = [*NFC, "delay", "query", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, lines(done.stdout), done.stderr


def test_two_way(net: Chain) -> None:
    """Over another router there, over r1 back; no answer is lost."""
    h2 = net.lab.name("h2")
    ask = (SID, "--netns", h2, "--count", "20", "--interval", "0.01", "--timeout", "20")
    code, found, err = query(*ask, "--session", "7")
    assert (code, err) == (0, "")
    assert [row["sequence"] for row in found[:-1]] == list(range(20))
    for row in found[:-1]:
        assert row["sent"] < row["received"] <= row["reply_sent"] < row["reply_received"]
        assert abs(row["offset"]) <= row["bound"]  # it is one clock
    assert (found[-1]["sent"], found[-1]["answered"], found[-1]["lost"]) == (20, 20, 0)
    assert found[-1]["minimum"] == min(row["delay"] for row in found[:-1])
    # An End on r1 on the way back: the answer still comes.
    end = Request(data_dir("stdlib") / "end.nf", "fd00:a::e", "eth1", netns=net.lab.name("r1"))
    deploy(end)
    code, found, _ = query(*ask, "--back", "fd00:a::e")
    assert (code, found[-1]["lost"]) == (0, 0)


def test_the_clock_of_a_router_that_is_ahead(net: Chain, tmp_path: Path) -> None:
    """5 ms: the two-way delay does not know, the estimate finds it within its bound, and what
    the collector tells of one-way delays is right again."""
    names = {node: net.lab.name(node) for node in net.nodes}
    source, clock = tmp_path / "ahead.nf", tmp_path / "far.clock"
    source.write_text(AHEAD)
    deploy(Request(source, "fd00:b::a", "eth0", netns=names["r2"]))
    ask = ("fd00:b::a", "--netns", names["r1"], "--count", "30", "--interval", "0.01")
    for _ in range(8):  # a machine may hold some up
        code, found, _ = query(*ask, "--clock", str(clock))
        assert code == 0
        total = found[-1]
        if total["median"] < 1_000_000:
            break
    assert total["median"] < 1_000_000
    assert abs(total["offset"] - AHEAD_NS) <= total["bound"] < 1_000_000
    # Times that cannot be are no estimate.
    set_params("ahead_dm", names["r2"], {"lie": "1s"})
    assert query(*ask, "--timeout", "20")[1][-1]["errors"] == {"impossible times": 30}
    config = tmp_path / "delay.toml"
    config.write_text(f'[[path]]\nname = "far"\nsession = 1\nclock = "{clock}"\n')
    collect = ("delay", "collect", str(config), "--listen", f"[{H2}]:{PORT}", "--json")
    with service(*collect, "--netns", names["h2"], until="collecting") as collector:
        now = time.clock_gettime_ns(time.CLOCK_TAI)
        report = Report(
            Message(1, now, now + 2_000_000 + AHEAD_NS, control=1, response=True, response_format=3)
        )
        with net.lab.socket("r2") as out:
            out.sendto(report.encode(), (H2, PORT))
        assert collector.stdout is not None
        deadline = time.monotonic() + SURE_S
        while json.loads(collector.stdout.readline())["samples"] == 0:
            assert time.monotonic() < deadline
        row = lines(ended(collector))[-1]
    assert abs(row["median"] - 2_000_000) <= row["bound"] + 10_000


def test_errors_and_silence(net: Chain) -> None:
    """Each reason is told; nobody there is an error, with a hint."""
    r1, r2 = net.lab.name("r1"), net.lab.name("r2")
    for version, control, why in ((2, 0, 0x11), (1, 9, 0x12)):
        with Querier(SID, netns=r1, version=version, control=control) as querier:
            querier.send()
            answer = querier.receive(SURE_S)
            assert answer is not None
            assert (answer.control, answer.problem is None) == (why, False)
    undeploy(["end_dm"], r2)
    ask = (SID, "--netns", r1, "--count", "2", "--interval", "0.01", "--timeout", "0.3")
    code, found, err = query(*ask)
    assert (code, found[-1]["lost"]) == (1, 2)
    assert f"no answer from {SID}" in err
    net.lab.sysctl("r1", "net.ipv6.conf.all.seg6_enabled", 0)
    try:
        assert "seg6_enabled" in query(*ask)[2]
    finally:
        net.lab.sysctl("r1", "net.ipv6.conf.all.seg6_enabled", 1)
    assert query("fd00:b::x")[0] == 2
    assert "cannot query" in query(*ask, "--source", "fd00:77::1")[2]


def queries() -> int:
    """How many datagrams have left this namespace."""
    counts = dict(
        line.split() for line in Path("/proc/thread-self/net/snmp6").read_text().splitlines()
    )
    return int(counts["Udp6OutDatagrams"])


def test_asking_until_stopped_bears_with_silence(
    net: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a route that is gone nor no answer ends a service; it ends well when told to."""
    r1, r2 = net.lab.name("r1"), net.lab.name("r2")
    ask = ("delay", "query", SID, "--netns", r1, "--count", "0", "--interval", "0.05", "--json")
    route = ["ip", "-n", r1, "-6", "route"]
    with service(*ask) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline()  # an answer
        subprocess.run([*route, "add", "unreachable", f"{SID}/128", "metric", "1"], check=True)
        assert "cannot send a query" in process.stderr.readline()
        subprocess.run([*route, "del", "unreachable", f"{SID}/128", "metric", "1"], check=True)
        while json.loads(process.stdout.readline())["sequence"] < 5:
            pass
        assert lines(ended(process))[-1]["lost"] > 0
    undeploy(["end_dm"], r2)
    before = net.lab.run("r1", queries)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        with service(*ask) as process:
            assert manager.recv(1000).startswith(b"READY=1")
            until(lambda: net.lab.run("r1", queries) > before)
            process.send_signal(signal.SIGTERM)
            _, err = process.communicate(timeout=SURE_S)
    assert (process.returncode, f"no answer from {SID}" in err) == (0, True)


# ---- capabilities ---------------------------------------------------------------------------


def test_no_service_needs_a_capability(net: Chain, tmp_path: Path) -> None:
    """All three run without any, once they are in their namespace; the agent as root, whose the
    pins are (Linux 6.5 and later)."""
    if shutil.which("setpriv") is None or shutil.which("nsenter") is None:
        pytest.skip("no setpriv or nsenter here")

    def bare(node: str, *arguments: str) -> list[str]:
        enter = ["nsenter", f"--net={net.lab.path(node)}"]
        drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        return [*enter, *drop, *NFC, "delay", *arguments]

    state, clock = tmp_path / "delay.json", tmp_path / "clock"
    listen, metrics = ("--listen", f"[{H2}]:{PORT}"), ("--metrics", f"[{H2}]:9739")
    keep = ("--state", str(state), "--json")
    commands = [
        bare("h2", "collect", *listen, *metrics, *keep),
        bare("r2", "report", "end_dm"),
        bare("r1", "query", SID, "--count", "0", "--clock", str(clock)),
    ]
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(started(command)) for command in commands]
        for process, word in zip(running, ("collecting", "reporting"), strict=False):
            assert process.stderr is not None
            assert word in process.stderr.readline()
        until(clock.exists)
        for process in running:
            assert process.poll() is None, process.communicate()
            status = Path(f"/proc/{process.pid}/status").read_text()
            assert "CapEff:\t0000000000000000" in status
        net.lab.burst("h1", H2, 9, count=50, rate=1000)
        until(lambda: 'nfc_delay_reports_total{result="taken"} 50.0' in shown(net))
        ended(running[1])
        ended(running[2])
        assert lines(ended(running[0]))[-1]["samples"] == 50
    assert state.exists()
    assert clock.exists()
