"""The demo on real routes, with real packets.

Four namespaces: a host, a router that marks packets, a router that measures, a host. Everything
the demo makes it removes, however it ends.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from nfc.demo.measured import Measured, Say, show
from nfc.deploy.places import remove_orphans
from nfc.errors import NfcError
from nfc.signals import held, unwinding

LAB_PREFIX = "nfc-"  # of the namespaces that nfc.lab makes
PORT = 9  # discard (RFC 863): nobody listens, and nobody needs to
T = TypeVar("T")


def measure(say: Say, source: Path, packets: int, rate: int) -> Measured:
    """Deploy mark_delay and end_dm out of `source`, send `packets` packets, `rate` a second, and
    take everything away again. Raises NfcError."""
    from nfc.lab import clean

    # What a demo has left that was killed outright: its namespaces, and then its pins.
    clean()
    remove_orphans(LAB_PREFIX)
    with unwinding(), _own_bpffs(), _own_state():
        return _measure(say, source, packets, rate)


@contextmanager
def _own_state() -> Iterator[None]:
    """A state directory of the demo's own, so that it does not show up in `nfc status`."""
    before = os.environ.get("NFC_STATE_DIR")
    folder = ""

    def remove() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        os.environ.pop("NFC_STATE_DIR", None)
        if before is not None:
            os.environ["NFC_STATE_DIR"] = before

    try:
        with held():
            folder = tempfile.mkdtemp(prefix="nfc-demo-")
            os.environ["NFC_STATE_DIR"] = folder
        yield
    finally:
        _surely(remove)


@contextmanager
def _own_bpffs() -> Iterator[None]:
    """A BPF file system for as long as it takes, where none is mounted."""
    from nfc.kernel import pins

    was_there = pins.mounted()
    try:
        yield
    finally:
        # What an undeploy left that a signal cut short: the lab's namespaces are gone by now.
        _surely(lambda: remove_orphans(f"{LAB_PREFIX}{os.getpid()}-"))
        if not was_there:
            _surely(pins.unmount)


def _surely(clean: Callable[[], T]) -> T:
    """Clean up with signals held; again for each that came in just before they were."""
    try:
        with held():
            return clean()
    except (KeyboardInterrupt, SystemExit):
        _surely(clean)
        raise


def _measure(say: Say, source: Path, packets: int, rate: int) -> Measured:
    from nfc.deploy.deployments import Request, deploy, undeploy
    from nfc.deploy.places import events_map
    from nfc.deploy.select import find
    from nfc.deploy.state import open_store
    from nfc.deploy.status import read_status
    from nfc.lab import chain
    from nfc.observe.events import read_events

    with chain("host1", "router1", "router2", "host2") as net:
        names = {node: net.lab.name(node) for node in net.nodes}
        sid = str(net["router2"].sid(0xD))
        say("\nhost1 ── router1 ── router2 ── host2      four namespaces, three veth links")
        say(f"          mark_delay  end_dm ({sid})")
        try:
            requests = [
                Request(source, sid, "eth0", function="end_dm", netns=names["router2"]),
                Request(
                    source,
                    "fd00:3::/64",
                    "eth1",
                    function="mark_delay",
                    netns=names["router1"],
                    settings={"far_end": sid, "one_in": "1"},
                ),
            ]
            for request in requests:
                say(
                    f"\n$ nfc deploy {source.name} --function {request.function} "
                    f"--route {request.prefix} --dev {request.dev} --netns {request.netns}"
                    + "".join(f" --set {k}={v}" for k, v in request.settings.items())
                )
                say(str(deploy(request)))
            say("\nThe routes as the kernel shows them:")
            for node in ("router1", "router2"):
                for line in _routes(names[node]):
                    say(f"  {node}: {line}")

            with open_store(shared=True) as store:
                record = find(store, "end_dm", names["router2"])
            assert record is not None
            delays: list[int] = []
            wrong: list[NfcError] = []

            def collect() -> None:
                try:
                    with events_map(record) as ring:
                        for event in read_events(ring, record.manifest, count=packets, timeout=30):
                            sent, received = event.fields["sent"], event.fields["received"]
                            delays.append(int(received) - int(sent))
                except NfcError as error:
                    wrong.append(error)

            say(f"\nSending {packets} packets, {rate} a second, from host1 to host2 …")
            reader = threading.Thread(target=collect, daemon=True)
            reader.start()
            target = str(net["host2"].address)
            burst = net.lab.burst("host1", target, PORT, count=packets, rate=rate)
            deadline = time.monotonic() + 3
            while reader.is_alive() and time.monotonic() < deadline:
                reader.join(0.05)
            if wrong:
                raise wrong[0]
            status = {s.record.name: s for s in read_status([], None)}
            for item in status.values():
                say(f"\n$ nfc status {item.record.name}\n{item}")
            mark, end = status["mark_delay"].counters, status["end_dm"].counters
            assert mark is not None and end is not None
            result = Measured(burst.sent, list(delays), mark, end)
            show(say, result)
        finally:
            gone = _surely(lambda: undeploy([], None, all_=True))
    say("\nCleaned up:")
    for line in gone:
        say(f"  {line}")
    say(f"  removed the namespaces {', '.join(names.values())} and their links")
    return result


def _routes(netns: str) -> list[str]:
    """The namespace's routes that run programs, in iproute2's words where it is installed."""
    from nfc.kernel.routes import routes_with_programs

    if shutil.which("ip"):
        command = ["ip", "-n", netns, "-6", "route", "show"]
        shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return [line.strip() for line in shown.splitlines() if "bpf" in line.lower()]
    return [
        f"{route.prefix} dev {' '.join(route.devices)} {program.hook} {program.tag}"
        for route in routes_with_programs(netns)
        for program in route.programs
    ]
