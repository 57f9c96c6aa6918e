"""The units of contrib/systemd under systemd itself, at their real work.

    s - agg (mark_delay, end_dm) = two links = cpe (bond, end_dm, end_oamp) - h

The CPE of examples/bond is a machine that systemd has booted, with all five services; the
functions on it are deployed as an operator does. What stands in one test may be so because of
the one before, as on a machine.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any, Final

import pytest
from booted import ROOT, Machine, booted, why_not

from nfc.discovery.ask import ask
from nfc.lab import load, standing
from nfc.lab.file import Function, read

UNITS: Final = sorted((ROOT / "contrib" / "systemd").glob("nfc-*.service"))
BOND: Final = ROOT / "examples" / "bond"
SOURCE: Final = "/opt/nfc/source"
SID, OAMP, FAR = "fd00:ca::d", "fd00:ca::f", "fd00:ba::d"
COLLECTOR: Final = "fd00:ca::1"
HOME: Final = "fd00:10::2"

BONDING: Final = "nfc-bond@cpe.service"
COLLECT: Final = "nfc-delay-collect.service"
REPORT: Final = "nfc-delay-report@end_dm.service"
QUERY: Final = f"nfc-delay-query@{FAR}.service"
AGENT: Final = "nfc-discovery-agent@end_oamp.service"
ALL: Final = (BONDING, COLLECT, REPORT, QUERY, AGENT)
OF_FUNCTIONS: Final = (BONDING, REPORT, AGENT)

DEPLOYED: Final = {
    "end_dm": f"{SOURCE}/stdlib/delay.nf --function end_dm --route {SID} --dev a",
    "end_oamp": f"{SOURCE}/stdlib/oamp.nf --route {OAMP} --dev a",
    "bond": f"{SOURCE}/examples/bond/bond.nf --function dwrr --name bond --route fd00:20::/64"
    " --dev a --via fd00:1a::2 --set link_a=fd00:ba::6 --set link_b=fd00:bb::6",
}
DELAY_TOML_AT: Final = "/etc/nfc/delay.toml"
CLOCK: Final = f"/run/nfc-delay-clock/{FAR}/clock"
DELAY_TOML: Final = f"""
listen = "[{COLLECTOR}]:4739"
metrics = "[::1]:9739"
state = "/var/lib/nfc-delay/delay.json"
save_every = 0.3

[[path]]
name = "there"
session = 1
sid = "{SID}"
clock = "{CLOCK}"
"""


class Site:
    """The machine in its lab, and what the tests ask of it."""

    def __init__(self, lab: str, machine: Machine) -> None:
        self.lab, self.machine = lab, machine

    def inside(self, node: str, function: Callable[..., Any], *more: Any) -> Any:
        return standing.inside(self.lab, node, function, *more)

    def deploy(self, *names: str) -> None:
        self.machine.nfc(*(f"deploy {DEPLOYED[name]}" for name in names))

    def until_active(self, *units: str) -> None:
        """Wait until they serve."""

        def active() -> bool:
            return self.machine.run("systemctl", "is-active", *units, check=False).split() == [
                "active"
            ] * len(units)

        self.machine.wait(f"active {units}", active)

    def until_said(self, unit: str, words: str, after: int) -> None:
        """Wait until its log has the words, after that many characters."""
        log = self.machine.log
        self.machine.wait(f"'{words}'", lambda: words in log(unit)[after:])

    def mains(self, *units: str) -> list[int]:
        """The process of each; 0: none."""
        said = self.machine.run("systemctl", "show", "--property=MainPID", "--value", *units)
        return [int(line) for line in said.split()]

    def user_packets(self, count: int) -> None:
        """From the server to the house; each is marked, and so reported."""
        with self.inside("s", load.datagram_socket, "fd00:20::2", 0) as out:
            for _ in range(count):
                out.sendto(b"user", (HOME, 9))
                time.sleep(0.001)

    def samples(self, path: str = "there") -> int:
        """How many delays the collector has of the path."""

        def get() -> str:
            with urllib.request.urlopen("http://[::1]:9739/metrics", timeout=60) as answer:
                return str(answer.read(1 << 20), "utf-8")

        counted = rf'^nfc_delay_seconds_count{{path="{path}".*}} (\d+)'
        found = re.search(counted, self.inside("cpe", get), re.M)
        return int(found[1]) if found else 0

    def clock(self) -> dict[str, int]:
        """What the querier has found out."""
        found: dict[str, int] = json.loads(self.machine.read(CLOCK))
        return found

    def knows_the_clock(self) -> bool:
        return bool(self.machine.path(CLOCK)) and self.clock()["bound"] < 100_000_000

    def saved(self) -> int:
        """How many it has in its file."""
        paths = json.loads(self.machine.read("/var/lib/private/nfc-delay/delay.json"))["paths"]
        return sum(path["delays"]["count"] for path in paths)

    def cut_link_b(self, down: bool) -> None:
        standing.change_link(self.lab, "b", {"down": down}, {"down": down})

    def route(self, *words: str) -> None:
        self.machine.run("ip", "-6", "route", *words)

    def hops(self, target: str) -> list[str]:
        agg = standing.namespace(self.lab, "agg")
        told = ask(IPv6Address(OAMP), IPv6Address(target), netns=agg)
        return [] if told is None else [str(hop) for hop in told.hops]

    def until_hops(self, target: str, hops: list[str]) -> None:
        self.machine.wait(f"route of {target}", lambda: self.hops(target) == hops)

    def weights(self) -> tuple[str, str]:
        """As the record has them; that changes with the function's params."""
        record = self.machine.run("sh", "-c", "cat /run/nfc/here@*/bond.json")
        found = json.loads(record)["settings"]
        return found["weight_a"], found["weight_b"]

    def held_route(self) -> str:
        """The route by which link b is held back."""
        return self.machine.run("ip", "-6", "route", "show", "fd00:bb::6", check=False)


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """With all files where they belong, and no function deployed on the CPE."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    lab = f"services-{os.getpid()}"
    topology = read(BOND / "bond.toml")
    mark = Function(
        *("agg", ROOT / "stdlib" / "delay.nf", "fd00:10::/64", "a"),
        function="mark_delay",
        via="fd00:1a::1",
        set={"far_end": SID, "collector": COLLECTOR, "one_in": "1"},
    )
    kept = [f for f in topology.functions if f.node == "agg" and f.function == "end_dm"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NFC_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        made = replace(topology, name=lab, services=(), functions=(*kept, mark))
        standing.up(made, lambda _: None)
        try:
            cpe = Path("/run/netns") / standing.namespace(lab, "cpe")
            with booted(tmp_path_factory.mktemp("machine"), cpe) as machine:
                bond = 'state = "/var/lib/nfc-bond/cpe.json"\n' + (BOND / "cpe.toml").read_text()
                machine.write("/etc/nfc/bond-cpe.toml", bond)
                machine.write(DELAY_TOML_AT, DELAY_TOML)
                yield Site(lab, machine)
        finally:
            standing.down(lab)


@pytest.fixture(scope="module")
def site(bare: Site) -> Site:
    """All functions deployed, all services started; one of them too early, as at boot."""
    said = bare.machine.run("systemctl", "start", BONDING, check=False)
    assert "failed" in said  # at once, not only in the log
    bare.deploy(*DEPLOYED)
    bare.machine.run("systemctl", "start", *ALL)
    return bare


pytestmark = pytest.mark.kernel


def test_a_service_waits_for_its_function(site: Site) -> None:
    """It said what was missing, was started again and again, and serves once that is there."""
    assert "nothing called 'bond' is deployed here" in site.machine.log(BONDING)
    shown = site.machine.show(BONDING, "ActiveState", "Type", "StatusText", "NRestarts")
    assert int(shown.pop("NRestarts")) > 0
    assert shown == {"ActiveState": "active", "Type": "notify", "StatusText": "bonding a, b"}


def test_each_does_its_work(site: Site) -> None:
    site.user_packets(50)
    site.machine.wait("50 reports", lambda: site.samples() == 50)
    # One clock, seen over 15 ms: of some queries one is not held up by the machine.
    site.machine.wait("a clock", site.knows_the_clock)
    found = site.clock()
    assert abs(found["offset"]) <= found["bound"]
    site.route("add", "fd00:70::/32", "via", "fd00:1b::2")
    site.until_hops("fd00:70::1", ["fd00:1b::2"])
    site.machine.wait("link b held back", lambda: "dev bond-b" in site.held_route())
    site.cut_link_b(True)
    site.machine.wait("link b out", lambda: "link b is out" in site.machine.log(BONDING))
    site.machine.wait("weights", lambda: site.weights() == ("1", "0"))
    site.cut_link_b(False)
    site.machine.wait("weights", lambda: site.weights() == ("1", "1"))


def test_killed_each_is_back_with_what_it_promised(site: Site) -> None:
    """Events that waited in the ring are reported, routes that changed are in the table, the link
    that was out still is; then the collector, which has all reports from before."""
    samples = site.samples()
    site.cut_link_b(True)
    site.machine.wait("weights", lambda: site.weights() == ("1", "0"))
    outs = site.machine.log(BONDING).count("link b is out")
    rest = [unit for unit in ALL if unit != COLLECT]
    old = site.mains(*rest)
    site.machine.run("systemctl", "kill", "--signal=KILL", *rest)
    site.user_packets(20)
    site.route("replace", "fd00:70::/32", "via", "fd00:1a::2")
    site.until_active(*rest)
    assert not set(site.mains(*rest)) & set(old)
    site.machine.wait("what waited", lambda: site.samples() == samples + 20)
    site.until_hops("fd00:70::1", ["fd00:1a::2"])
    site.machine.wait("weights", lambda: site.weights() == ("1", "0"))
    time.sleep(1.0)  # twice as long as a link may be silent
    assert site.machine.log(BONDING).count("link b is out") == outs
    site.cut_link_b(False)
    site.machine.wait("link b back", lambda: site.weights() == ("1", "1"))

    site.machine.wait("saving", lambda: site.saved() == samples + 20)  # after `save_every`
    old = site.mains(COLLECT)
    site.machine.run("systemctl", "kill", "--signal=KILL", COLLECT)
    site.until_active(COLLECT)
    assert site.mains(COLLECT) != old
    assert site.samples() == samples + 20


def test_functions_are_replaced_and_removed_while_they_run(site: Site) -> None:
    """A service goes on with what replaces its function; of one that is removed it says so, and
    begins anew when it is there again."""
    old = site.mains(*OF_FUNCTIONS)
    samples = site.samples()
    text = (ROOT / "stdlib" / "delay.nf").read_text().replace("packet[256]", "packet[200]")
    site.machine.write("/opt/nfc/other.nf", text)
    other = DEPLOYED["end_dm"].replace(f"{SOURCE}/stdlib/delay.nf", "/opt/nfc/other.nf")
    weighted = DEPLOYED["bond"].replace("dwrr", "wrr")
    site.machine.nfc(f"deploy {other}", f"deploy {weighted}", "set bond weight_a=7")
    site.user_packets(10)
    site.machine.wait("reports", lambda: site.samples() == samples + 10)
    site.machine.wait("weights", lambda: site.weights() == ("1", "1"))
    assert site.mains(*OF_FUNCTIONS) == old

    # Two of them end, and once started again end at once: they are never sure to run together.
    of = {BONDING: "bond", REPORT: "end_dm", AGENT: "end_oamp"}
    said = {unit: len(site.machine.log(unit)) for unit in of}
    site.machine.nfc("undeploy --all")
    for unit, name in of.items():
        site.until_said(unit, f"nothing called '{name}' is deployed", said[unit])
    for unit in (REPORT, AGENT):
        assert f"{of[unit]} is not deployed any more" in site.machine.log(unit)[said[unit] :]
    site.deploy(*DEPLOYED)
    site.until_active(*OF_FUNCTIONS)
    assert not set(site.mains(REPORT, AGENT)) & set(old)
    site.user_packets(10)
    site.machine.wait("reports", lambda: site.samples() == samples + 20)
    site.until_hops("fd00:1b::9", ["::"])  # of the link itself
    site.machine.wait("weights", lambda: site.weights() == ("1", "1"))
    assert site.mains(BONDING) == old[:1]


def test_configurations_are_read_again(site: Site) -> None:
    """`systemctl reload`: the same processes go by another file, and not by one that is wrong."""
    services = (BONDING, COLLECT, AGENT)
    old, samples = site.mains(*services), site.samples()
    files = {name: site.machine.read(name) for name in ("/etc/nfc/bond-cpe.toml", DELAY_TOML_AT)}
    bond, delay = files
    site.machine.wait("link b held back", lambda: "dev bond-b" in site.held_route())
    site.machine.write(bond, "equalise = false\n" + files[bond])
    site.machine.write(delay, files[delay].replace('"there"', '"elsewhere"'))
    site.machine.run("systemctl", "reload", *services)
    site.machine.wait("bond without devices", lambda: not site.held_route().strip())
    site.machine.wait("the other name", lambda: site.samples("elsewhere") == samples)
    for file, text in files.items():
        site.machine.write(file, "nonsense = 1\n" + text)
    site.machine.run("systemctl", "reload", BONDING, COLLECT)
    said = "there is no such key"
    site.machine.wait("refusal", lambda: said in site.machine.log(BONDING))
    site.machine.wait("refusal", lambda: said in site.machine.log(COLLECT))
    assert site.samples("elsewhere") == samples
    for file, text in files.items():
        site.machine.write(file, text)
    site.machine.run("systemctl", "reload", *services)
    site.machine.wait("the name again", lambda: site.samples() == samples)
    site.machine.wait("link b held back", lambda: "dev bond-b" in site.held_route())
    site.until_active(*services)
    assert site.mains(*services) == old


def test_one_that_hangs_is_started_anew(site: Site) -> None:
    """The watchdog; the unit's 30 seconds are four here."""
    folder = f"/run/systemd/system/{QUERY}.d"
    site.machine.write(f"{folder}/soon.conf", "[Service]\nWatchdogSec=4\nRestartSec=0.1\n")
    site.machine.run("systemctl", "daemon-reload")
    site.machine.run("systemctl", "restart", QUERY)
    time.sleep(4.5)
    [main] = site.mains(QUERY)
    assert site.machine.show(QUERY, "NRestarts") == {"NRestarts": "0"}  # it does not hang yet
    site.machine.run("kill", "-STOP", str(main))
    site.machine.wait("another", lambda: site.mains(QUERY) not in ([0], [main]))
    site.until_active(QUERY)
    site.machine.wait("clock", lambda: site.machine.path(CLOCK))


def documented() -> dict[str, tuple[str, str]]:
    """By unit, the capabilities and the user that docs/services.md says."""
    page = (ROOT / "docs" / "services.md").read_text()
    rows = re.findall(r"^\| `(nfc-[^`]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", page, re.M)
    return {name: (capabilities, user) for name, _, capabilities, user in rows}


NUMBERS: Final = {"CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}  # uapi/linux/capability.h


@pytest.mark.parametrize("unit", ALL)
def test_it_has_what_the_page_says(site: Site, unit: str) -> None:
    """Capabilities, user, no new privileges, a filter for system calls, far from its memory limit,
    and no other process."""
    [name] = [name for name in documented() if unit.startswith(name.split("@")[0])]
    capabilities, user = documented()[name]
    mask = sum(1 << NUMBERS[one] for one in re.findall(r"CAP_\w+", capabilities.split("(")[0]))
    [main] = site.mains(unit)
    text = site.machine.read(f"/proc/{main}/status")
    status = dict(line.split(":\t", 1) for line in text.splitlines())
    for kind in ("CapEff", "CapPrm", "CapBnd"):
        assert int(status[kind], 16) == mask
    assert int(status["CapInh"], 16) == int(status["CapAmb"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert (status["Uid"].split()[0] == "0") == ("root" in user)
    shown = site.machine.show(unit, "MemoryMax", "ControlGroup", "StatusText")
    assert int(status["VmHWM"].split()[0]) * 1024 < int(shown["MemoryMax"]) / 3
    assert shown["StatusText"]
    processes = site.machine.read(f"/sys/fs/cgroup{shown['ControlGroup']}/cgroup.procs")
    assert len(processes.split()) == 1


# What a program in a unit's place finds, as JSON: what it can do, by name.
PROBE: Final = """
import ctypes, glob, json, mmap, os, socket

RECORDS = (glob.glob("/run/nfc/here@*") or ["/run/nfc"])[0]
libc = ctypes.CDLL(None, use_errno=True)

def works(action):
    try:
        return action() not in (False, -1)
    except OSError:
        return False

print(json.dumps({name: works(action) for name, action in {
    "write /etc": lambda: open("/etc/new", "w"),
    "write /usr": lambda: open("/usr/local/sbin/new", "w"),
    "write /run": lambda: open("/run/new", "w"),
    "write records": lambda: open(f"{RECORDS}/new.lock", "w"),
    "write a setting": lambda: open("/proc/sys/net/ipv6/conf/all/forwarding", "w"),
    "see /root": lambda: os.listdir("/root"),
    "see /tmp of others": lambda: os.path.exists("/tmp/of-others"),
    "see other processes": lambda: os.path.exists("/proc/1/stat"),
    "open the tun": lambda: os.open("/dev/net/tun", os.O_RDWR),
    "packet socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "raw socket": lambda: socket.socket(socket.AF_INET6, socket.SOCK_RAW, 255),
    "netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "new namespace": lambda: libc.unshare(0x40000000),
    "mount": lambda: libc.mount(b"x", b"/tmp", b"tmpfs", 0, None),
    "become another": lambda: libc.setuid(12345),
    "code in data": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
}.items()}))
"""
AS_ROOT: Final = {"write records", "see other processes"}
CAN: Final = {  # and nothing else
    "nfc-bond@": {*AS_ROOT, "open the tun", "raw socket", "netlink socket"},
    "nfc-delay-collect": set(),
    "nfc-delay-query@": set(),
    "nfc-delay-report@": AS_ROOT,
    "nfc-discovery-agent@": {*AS_ROOT, "netlink socket"},
}


@pytest.mark.parametrize("unit", UNITS, ids=[unit.stem for unit in UNITS])
def test_the_sandbox_holds(site: Site, unit: Path) -> None:
    """Seen from inside: the unit's own file, with a program that tries in place of nfc."""
    python = "env LD_LIBRARY_PATH=/opt/python/lib /opt/nfc/python3 -I -S /opt/nfc/probe.py"
    text = re.sub(r"(?m)^ExecStart=.*", f"ExecStart=/usr/bin/{python}", unit.read_text())
    text = re.sub(r"(?m)^(WatchdogSec|Restart|RestartSec|StandardOutput)=.*\n", "", text)
    text = re.sub(r"(?m)^(State|Runtime)Directory=nfc-.*", r"\1Directory=probe", text)
    name = f"probe-{unit.name}".replace("@", "")
    site.machine.write("/opt/nfc/probe.py", PROBE)
    site.machine.write("/tmp/of-others", "")
    site.machine.write(f"/run/systemd/system/{name}", text.replace("Type=notify", "Type=oneshot"))
    site.machine.run("systemctl", "daemon-reload")
    site.machine.run("systemctl", "start", name)
    found = json.loads(site.machine.log(name).strip().splitlines()[-1])
    assert {what for what, can in found.items() if can} == CAN[unit.stem]


def test_a_wrong_configuration_is_named(site: Site) -> None:
    text = (BOND / "cpe.toml").read_text().replace("fd00:ba::d", "fd00:ba::z")
    site.machine.write("/etc/nfc/bond-wrong.toml", text)
    said = site.machine.run("systemctl", "start", "nfc-bond@wrong.service", check=False)
    assert "failed" in said  # at once, not only in the log
    site.machine.run("systemctl", "stop", "nfc-bond@wrong.service")
    log = site.machine.log("nfc-bond@wrong.service")
    assert "/etc/nfc/bond-wrong.toml: link[1].probe must be an IPv6 address" in log


def test_a_service_in_a_namespace_of_its_own(site: Site) -> None:
    """By NetworkNamespacePath=, and with no capability: it was deployed from outside."""
    unit = "nfc-discovery-agent@inner.service"
    site.machine.run("sh", "-c", "ip netns add inner && ip -n inner link set lo up")
    more = "--name inner --route fd00:a::f --dev lo --netns inner"
    site.machine.nfc(f"deploy {SOURCE}/stdlib/oamp.nf {more}")
    folder = f"/run/systemd/system/{unit}.d"
    site.machine.run("mkdir", "-p", folder)
    site.machine.write(f"{folder}/own.conf", "[Service]\nNetworkNamespacePath=/run/netns/inner\n")
    site.machine.run("systemctl", "daemon-reload")
    site.machine.run("systemctl", "start", unit)
    (main,) = site.mains(unit)
    network = site.machine.run("readlink", f"/proc/{main}/ns/net")
    assert network != site.machine.run("readlink", "/proc/self/ns/net")
    site.machine.run("ip", "netns", "exec", "inner", "nfc", "table", "show", "inner", "routes")
    site.machine.run("systemctl", "stop", unit)
    site.machine.run("ip", "netns", "exec", "inner", "nfc", "undeploy", "inner")
    site.machine.run("ip", "netns", "del", "inner")


def test_each_stops_well_and_leaves_nothing(site: Site) -> None:
    """Exit status 0, no device, no route, no process; what is deployed, and what it promised to
    keep, stays."""
    count = site.samples()
    site.user_packets(1)
    site.machine.wait("a report", lambda: site.samples() == count + 1)
    site.machine.run("systemctl", "stop", *ALL)
    for unit in ALL:
        shown = site.machine.show(unit, "ActiveState", "Result", "ExecMainStatus", "ControlGroup")
        assert shown.pop("ControlGroup") == "", unit
        assert shown == {"ActiveState": "inactive", "Result": "success", "ExecMainStatus": "0"}
        assert "Traceback" not in site.machine.log(unit)
    links = site.machine.run("ip", "-o", "link")
    assert "bond-" not in links
    assert site.machine.path(CLOCK) is None
    for name in DEPLOYED:
        site.machine.run("sh", "-c", f"cat /run/nfc/here@*/{name}.json")
    assert json.loads(site.machine.read("/var/lib/nfc-bond/cpe.json"))["links"]
    assert json.loads(site.machine.read("/var/lib/nfc-delay/delay.json"))["paths"]
    site.machine.nfc("undeploy --all")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("unit", UNITS, ids=[unit.stem for unit in UNITS])
def test_systemd_finds_nothing_wrong(unit: Path, tmp_path: Path) -> None:
    """Neither in the syntax, nor much that it thinks exposed (0 is best, 10 worst)."""
    made = tmp_path / unit.name.replace("@", "@x")
    made.write_text(unit.read_text())
    analyze = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(made)]
    done = subprocess.run(analyze, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    analyze = ["systemd-analyze", "security", "--offline=yes", "--no-pager", "--threshold=30"]
    done = subprocess.run([*analyze, str(made)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
