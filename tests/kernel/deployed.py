"""A router with a host on each side, and all that a deployment can leave on it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

from kernel.conftest import sh
from nfc.deploy import namespaces, places
from nfc.deploy.deployments import Outcome, Request, deploy
from nfc.deploy.state import Record, folder_of, open_store, state_dir
from nfc.deploy.status import Status, read_status
from nfc.kernel import pins, routes
from nfc.lab import Capture, Chain, chain
from nfc.packet import Packet, decode, ip, packet, srh, udp

H1, H2 = "fd00:1::1", "fd00:2::2"
SID = "fd00:a::d"
PAYLOAD = b"what the user sent"
LATE = 30.0  # seconds that what must come may take on a busy machine

# Sends until it has sent all, or until SIGTERM; then it says how many that were.
_SENDER = """
import signal, socket, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(True))
device, mac, raw, count, rate = sys.argv[1], *map(bytes.fromhex, sys.argv[2:4]), *sys.argv[4:]
out = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
begin = time.monotonic()
number = 0
while number < int(count) and not told:
    while time.monotonic() < begin + number / float(rate):
        time.sleep(0.0002)
    out.sendto(raw[:-4] + number.to_bytes(4, "big"), (device, 0x86DD, 0, 0, mac))
    number += 1
print(number)
"""


def tagging(tag: int) -> str:
    """A function `f` that sets the SRH's tag, which tells it from others of its kind."""
    return f"endpoint f {{ otherwise {{ set srh.tag = {tag} forward }} }}\n"


def query(tag: int = 0, payload: bytes = PAYLOAD) -> Packet:
    """A packet on its way over the SID to h2."""
    return packet(ip(H1, SID), srh([SID, H2], left=1, tag=tag), udp(4000, 5000), payload)


@dataclass(frozen=True)
class Snapshot:
    """Routes in iproute2's words, with the ids of endpoint programs; pins by path and id; state
    files by name and content."""

    routes: tuple[str, ...]
    pins: tuple[tuple[str, int], ...]
    state: dict[str, bytes]


@dataclass(frozen=True)
class Router:
    """h1 (fd00:1::1) - r1 (eth0, eth1) - h2 (fd00:2::2); functions are deployed on r1."""

    net: Chain
    folder: Path

    @property
    def netns(self) -> str:
        return self.net.lab.name("r1")

    @property
    def place(self) -> str:
        """Of its records."""
        return namespaces.place(self.netns)

    @property
    def pinned(self) -> Path:
        """The folder of its pins."""
        return places.folder(self.place, "f").parent

    @property
    def kept(self) -> Path:
        """The folder of its records."""
        return state_dir() / folder_of(self.place)

    def ip(self, arguments: str) -> str:
        return sh(f"ip -n {self.netns} -6 {arguments}")

    def file(self, program: str) -> Path:
        path = self.folder / "program.nf"
        path.write_text(program)
        return path

    def request(self, program: str, **more: Any) -> Request:
        """To deploy the program's one function as `f` on the SID."""
        asked = {"prefix": SID, "dev": "eth0", "name": "f", "netns": self.netns, **more}
        return Request(self.file(program), **asked)

    def deploy(self, program: str, **more: Any) -> Outcome:
        return deploy(self.request(program, **more))

    def status(self) -> list[Status]:
        return read_status([], None)

    def record(self, name: str = "f") -> Record:
        with open_store() as store:
            record = store.read(self.place, name)
        assert record is not None
        return record

    def program_id(self, prefix: str = SID) -> int:
        """The id of the endpoint program on the route."""
        (route,) = routes.get_routes(prefix, netns=self.netns)
        (program,) = route.programs
        assert program.prog_id is not None
        return program.prog_id

    def pins(self) -> tuple[tuple[str, int], ...]:
        place = self.pinned
        return tuple((str(p.path.relative_to(place)), p.id) for p in pins.list_pins(place))

    def snapshot(self) -> Snapshot:
        shown = self.ip("-d route show table all").splitlines()
        ids = [
            f"{route.prefix} {program.tag} {program.prog_id}"
            for route in routes.routes_with_programs(self.netns)
            for program in route.programs
        ]
        root = state_dir()
        files = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        files.pop("lock", None)
        return Snapshot((*sorted(line.strip() for line in shown), *ids), self.pins(), files)

    def through(self, sent: Packet | None = None, wait: float = LATE) -> bytes | None:
        """What h2 gets of a packet that h1 sends; None if nothing came for `wait` seconds: `GONE`
        where none is to come."""
        with self.net.lab.capture("h2", "eth0") as capture:
            self.net.lab.send("h1", "eth0", sent or query())
            got = capture.packets(1, timeout=wait)
        return got[0] if got else None

    def tag(self, wait: float = LATE) -> int | None:
        """The SRH's tag that a packet through the SID comes out with; None as of `through`."""
        got = self.through(wait=wait)
        if got is None:
            return None
        header = decode(got).srh
        assert header is not None
        return header.tag

    @contextmanager
    def stream(self, count: int, rate: int) -> Iterator[Stream]:
        """Packets over the SID from a process of their own, while the block runs and longer."""
        raw = bytes(query(payload=bytes(16)))
        mac = self.net.lab.end("h1", "eth0").peer_mac.hex()
        command = [sys.executable, "-c", _SENDER, "eth0", mac, raw.hex(), str(count), str(rate)]
        with self.net.lab.capture("h2", "eth0") as capture:
            process = self.net.lab.popen("h1", command, stdout=subprocess.PIPE, text=True)
            stream = Stream(process, capture)
            reader = threading.Thread(target=stream.read)  # or it has no room in the end
            reader.start()
            try:
                yield stream
            finally:
                process.kill()
                process.wait()
                stream.done.set()
                reader.join()


@dataclass(frozen=True)
class Stream:
    """Packets on their way."""

    process: subprocess.Popen[Any]
    capture: Capture
    got: list[bytes] = field(default_factory=list)
    done: threading.Event = field(default_factory=threading.Event)

    def read(self) -> None:
        """Take what comes until it is done. A stream's packets carry zeros and a number, others
        text."""
        while not self.done.is_set():
            more = self.capture.packets(1000, timeout=0.05)
            self.got.extend(raw for raw in more if raw[-16:-4] == bytes(12))

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def end(self, wait: float = LATE) -> tuple[int, list[bytes]]:
        """Send no more; the same as `rest`."""
        assert self.running, "the packets ended before the test did"
        self.process.terminate()
        return self.rest(wait)

    def rest(self, wait: float = LATE) -> tuple[int, list[bytes]]:
        """How many were sent, and those of them that came out until `wait` seconds after the last
        was sent."""
        out, _ = self.process.communicate(timeout=60)
        sent = int(out)
        deadline = time.monotonic() + wait
        while len(self.got) < sent and time.monotonic() < deadline:
            time.sleep(0.01)
        assert self.capture.dropped() == 0
        return sent, list(self.got)


def number(raw: bytes) -> int:
    """A stream's packet's number."""
    return int.from_bytes(raw[-4:], "big")


@contextmanager
def router(folder: Path) -> Iterator[Router]:
    with chain("h1", "r1", "h2") as net:
        made = Router(net, folder)
        # The kernel's own routes come when link-local addresses are found to be nobody else's.
        deadline = time.monotonic() + 60
        while made.ip("addr show scope link -tentative").count("inet6") < 2:
            assert time.monotonic() < deadline, made.ip("addr show")
            time.sleep(0.05)
        yield made


def fresh(place: Router) -> None:
    """Forget what a test left, routes and pins too, whatever state it is in."""
    for name in ("f", "g"):
        for _ in range(4):
            with contextlib.suppress(AssertionError):
                place.ip(f"route del {IPv6Address(SID)}")
        with open_store() as store:
            store.remove(place.place, name)
            store.remove(place.place, name, next_=True)
    folder = place.pinned
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.parent.rmdir()
