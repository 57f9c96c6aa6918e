"""Labs that outlive the command that made them: made from a file, looked at, removed.

A namespace is called lab-NAME.NODE. Removing goes by these names, and by what stands in the
lab's record; so it also removes what a killed command left, wherever it was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sized
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from nfc import signals
from nfc.errors import KernelError, NfcError, UsageError
from nfc.lab import config, netns, owner, records
from nfc.lab.file import Link, Route, Topology
from nfc.lab.records import Process, Record
from nfc.lab.wire import ask
from nfc.syntax.diagnostics import nearest

T = TypeVar("T")
Say = Callable[[str], object]
_WIRES: Final = "-wires"  # no node's name begins with a dash
_READY_SECONDS: Final = 60.0


def namespace(lab: str, node: str) -> str:
    """The name of a node's namespace, for `ip netns exec`, `ip -n` and --netns."""
    return f"lab-{lab}.{node}"


def inside(lab: str, node: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
    """Call the function in a node of a lab that stands; see `netns.run` on what may leave it."""
    path = netns.DIRECTORY / namespace(lab, node)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise KernelError(f"cannot enter {path}: {error.strerror}") from None
    try:
        return netns.run(descriptor, function, *args, **kwargs)
    finally:
        os.close(descriptor)


# ---- up ------------------------------------------------------------------------------------------


def up(topology: Topology, say: Say) -> Record:
    """Make a lab that stands until `down`. Raises NfcError; then nothing of it is left."""
    with records.locked(topology.name), signals.unwinding():
        return records.phase(make(topology, say), "up")


def make(topology: Topology, say: Say) -> Record:
    """Make everything of a lab, its lock held. Raises NfcError if it stands already."""
    old = _readable(topology.name)
    if old is not None and old.phase == "up" and not _broken(old):
        raise NfcError(
            f"the lab '{topology.name}' stands already", hint=f"'nfc lab down {topology.name}'"
        )
    if old is None and (there := _namespaces(topology.name)):
        raise NfcError(
            f"there is a namespace {there[0]} already, of a lab that is not on record here",
            hint=f"'nfc lab down {topology.name}' removes it",
        )
    remove(topology.name)
    clean(say)
    record = Record(
        topology.name,
        str(topology.file.resolve()),
        "making",
        {node: namespace(topology.name, node) for node in topology.nodes},
    )
    try:
        with contextlib.ExitStack() as opened:
            return _Maker(topology, record, say, opened).all()
    except BaseException:
        with signals.held():
            remove(topology.name)
        raise


class _Maker:
    """Makes one lab, step by step; its record is written before each step."""

    def __init__(
        self, topology: Topology, record: Record, say: Say, opened: contextlib.ExitStack
    ) -> None:
        self.topology, self.record, self.say, self.opened = topology, record, say, opened
        self.descriptors: dict[str, int] = {}

    def all(self) -> Record:
        topology, say = self.topology, self.say
        records.write(self.record)
        for node in topology.nodes.values():
            self.create(node.name, config.prepare, node.forwarding)
        wires = [link for link in topology.links if link.wire]
        if wires:
            self.create(_WIRES, config.quiet)
        say(f"{_count(topology.nodes, 'namespace')}, {namespace(topology.name, '')}NODE")
        for number, link in enumerate(topology.links, start=1):
            self.link(number, link)
        self.wires(wires)
        if topology.links:
            say(f"{_count(topology.links, 'link')}, {len(wires)} of them through a wire")
        self.settings()
        for route in topology.routes:
            self.run(route.node, _add_route, route)
        if topology.routes:
            say(_count(topology.routes, "route"))
        self.functions()
        self.services()
        return self.record

    def run(self, node: str, function: Callable[..., T], *args: Any) -> T:
        try:
            return netns.run(self.descriptors[node], function, *args)
        except NfcError as error:
            error.message = f"{node}: {error.message}"
            error.args = (error.message,)
            raise

    def note(self, **changes: Any) -> None:
        self.record = replace(self.record, **changes)
        records.write(self.record)

    def create(self, node: str, prepare: Callable[..., None], *args: Any) -> None:
        descriptor = netns.create(namespace(self.topology.name, node))
        self.opened.callback(os.close, descriptor)
        self.descriptors[node] = descriptor
        self.run(node, prepare, *args)

    def link(self, number: int, link: Link) -> None:
        macs = [bytes((2, 0x6E, 0x66, *number.to_bytes(2, "big"), side)) for side in range(1, 5)]
        first, second = link.ends
        ready = [(first.node, first.interface), (second.node, second.interface)]
        if link.wire:
            between = _between(number)
            ready += [(_WIRES, name) for name in between]
            pairs = [
                (*ready[0], macs[0], *ready[2], macs[2]),
                (*ready[1], macs[1], *ready[3], macs[3]),
            ]
        else:
            pairs = [(*ready[0], macs[0], *ready[1], macs[1])]
        for node, own, mac, other, peer, peer_mac in pairs:
            self.run(node, config.add_veth, (own, mac), (peer, peer_mac), self.descriptors[other])
        if link.mtu != 1500:
            for node, interface in ready:
                self.run(node, config.set_mtu, interface, link.mtu)
        for node, interface in ready[2:]:
            self.run(node, config.bring_up_bare, interface)
        for side in (0, 1):
            node, interface = ready[side]
            own_address, peer_address = link.addresses[side], link.addresses[1 - side]
            self.run(node, config.bring_up, interface, own_address, peer_address, macs[1 - side])
        for node, interface in ready:
            self.run(node, config.wait_ready, interface)

    def wires(self, links: list[Link]) -> None:
        self.note(wires={link.name: f"nfc-wire-{link.name}" for link in links})
        numbers = {link.name: n for n, link in enumerate(self.topology.links, start=1)}
        started = []
        for link in links:
            options = {
                "interfaces": _between(numbers[link.name]),
                "there": link.there.to_json(),
                "back": link.back.to_json(),
                "control": self.record.wires[link.name],
            }
            process = self.start(
                _WIRES, f"wire-{link.name}", [sys.executable, "-m", "nfc.lab.wire"], wire=True
            )
            assert process.stdin is not None
            process.stdin.write(json.dumps(options).encode())
            process.stdin.close()
            started.append((link, process))
        for link, process in started:
            _wait_for_wire(link, process, records.folder(self.topology.name))

    def start(
        self, node: str, name: str, command: list[str], *, wire: bool = False
    ) -> subprocess.Popen[bytes]:
        """Start a process that stays, in a session of its own; written down."""
        folder = records.folder(self.topology.name)
        log = f"{name}.log"
        descriptor = self.descriptors[node]
        with (folder / log).open("wb") as out:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE if wire else subprocess.DEVNULL,
                stdout=subprocess.PIPE if wire else out,
                stderr=out,
                start_new_session=True,
                cwd="/" if wire else self.topology.file.resolve().parent,
                env=environment(self.record),
                preexec_fn=lambda: netns.enter(descriptor),  # noqa: PLW1509 (setns alone)
            )
        started = Process(name, process.pid, owner.started(process.pid) or 0, log)
        self.note(processes=[*self.record.processes, started])
        return process

    def settings(self) -> None:
        for node in self.topology.nodes.values():
            for address in node.addresses:
                self.run(node.name, config.add_address, "lo", address)
            if node.tunsrc:
                self.run(node.name, _command, ["ip", "sr", "tunsrc", "set", node.tunsrc])
            for key, value in node.sysctl.items():
                self.run(node.name, config.sysctl, key, value)

    def functions(self) -> None:
        from nfc.deploy.deployments import Request, deploy

        for function in self.topology.functions:
            outcome = deploy(
                Request(
                    file=function.file,
                    prefix=function.route,
                    dev=function.dev,
                    function=function.function,
                    name=function.name,
                    table=function.table,
                    via=function.via,
                    metric=function.metric,
                    netns=self.record.namespaces[function.node],
                    settings=function.set,
                )
            )
            self.note(functions=[*self.record.functions, [function.node, outcome.record.name]])
            self.say(str(outcome))

    def services(self) -> None:
        for service in self.topology.services:
            self.start(service.node, service.name, ["sh", "-c", service.run])
            self.say(f"{service.name} runs in {service.node}: {service.run}")


def _count(things: Sized, name: str) -> str:
    return f"{len(things)} {name}{'s' * (len(things) != 1)}"


def environment(record: Record) -> dict[str, str]:
    """What commands of a lab find in their environment beside ours: LAB is its name, LAB_DIR a
    folder that goes with it, and the namespace of node r-1 is NETNS_r_1. `nfc` and this Python
    come first in PATH."""
    found = {**os.environ, "LAB": record.name, "LAB_DIR": str(records.folder(record.name))}
    for node, name in record.namespaces.items():
        found[f"NETNS_{node.replace('-', '_')}"] = name
    here = str(Path(sys.executable).parent)
    found["PATH"] = os.pathsep.join((here, found.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")))
    return found


def _between(number: int) -> tuple[str, str]:
    return f"w{number}a", f"w{number}b"


def _wait_for_wire(link: Link, process: subprocess.Popen[bytes], folder: Path) -> None:
    assert process.stdout is not None
    with process.stdout as out:
        said = _line(out)
    if said != b"ready\n":
        log = (folder / f"wire-{link.name}.log").read_text(errors="replace")
        raise KernelError(f"the wire of {link.name} did not start", log=log)


def _line(stream: IO[bytes]) -> bytes:
    import select

    if not select.select([stream], [], [], _READY_SECONDS)[0]:
        return b""
    return stream.readline()


def _add_route(route: Route) -> None:
    more: dict[str, Any] = {"table": route.table}
    if route.metric is not None:
        more["priority"] = route.metric
    if route.seg6 is not None:
        # pyroute2 takes segments in the order of the wire: last one first.
        segments = ",".join(reversed(route.seg6["segs"]))
        more["encap"] = {"type": "seg6", "mode": route.seg6["mode"], "segs": segments}
    if route.seg6local is not None:
        values = {k: int(v) if v.isdigit() else v for k, v in route.seg6local.items()}
        more["encap"] = {"type": "seg6local", **values}
    if len(route.hops) == 1:
        [hop] = route.hops
        config.add_route(route.to, hop.via or "", hop.dev or "", more)
    else:
        hops = [{"via": h.via, "dev": h.dev, "weight": h.weight} for h in route.hops]
        config.add_hops(route.to, hops, more)


def _command(command: list[str]) -> None:
    """Run a command in the calling thread's namespace. Raises KernelError."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise KernelError(f"cannot run {command[0]}: {error}") from None
    if done.returncode:
        raise KernelError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


# ---- down ----------------------------------------------------------------------------------------


def down(name: str) -> list[str]:
    """Remove a lab, whatever state it is in; the namespaces that went. Raises UsageError if there
    is none."""
    if not records.folder(name).exists() and not _namespaces(name):
        known = records.names()
        hint = nearest(name, known) or (f"there are: {', '.join(known)}" if known else None)
        raise UsageError(f"there is no lab '{name}'", hint=hint)
    with records.locked(name), signals.unwinding(), signals.held():
        return remove(name)


def remove(name: str) -> list[str]:
    """Remove all of a lab, its lock held; may be called again after it was interrupted."""
    from nfc.deploy.bpffs import root
    from nfc.deploy.deployments import undeploy
    from nfc.deploy.places import plain
    from nfc.deploy.state import Store, open_store, state_dir

    record = _readable(name)
    if record is not None and record.phase != "removing":
        records.phase(record, "removing")
    found = _namespaces(name)
    owner.kill_inside(found)
    for each in found:
        netns.remove(each)
    mine = f"lab-{name}."
    if any(ns.startswith(mine) for ns, _ in Store(state_dir()).names()):
        for ns in {ns for ns, _ in Store(state_dir()).names() if ns.startswith(mine)}:
            with contextlib.suppress(NfcError):
                undeploy([], ns, all_=True)
        with open_store() as store:  # records that are damaged
            for ns, function in store.names():
                if ns.startswith(mine):
                    store.remove(ns, function, next_=True)
                    store.remove(ns, function)
    for place in (
        *(root() / "nfc").glob(f"netns-{plain(mine)}*"),
        *state_dir().glob(f"netns-{mine}*"),
    ):
        shutil.rmtree(place, ignore_errors=True)
    records.forget(name)
    return found


def clean(say: Say = lambda _: None) -> list[str]:
    """Remove labs that killed commands left; returns their names."""
    gone = []
    for name in records.names():
        record = _readable(name)
        if record is not None and record.phase == "up":
            continue
        with contextlib.suppress(NfcError), records.locked(name):
            again = _readable(name)
            if (again is None or again.phase != "up") and records.folder(name).exists():
                remove(name)
                gone.append(name)
                say(f"removed what was left of the lab '{name}'")
    return gone


def _namespaces(name: str) -> list[str]:
    try:
        return sorted(n for n in os.listdir(netns.DIRECTORY) if n.startswith(f"lab-{name}."))
    except OSError:
        return []


def _readable(name: str) -> Record | None:
    """The record, or None where it is damaged too: then there is nothing to keep to."""
    try:
        return records.read(name)
    except NfcError:
        return None


# ---- status --------------------------------------------------------------------------------------


def running(process: Process) -> bool:
    """Whether the process is there, and is the same."""
    return owner.started(process.pid) == process.started


def _broken(record: Record) -> list[str]:
    """What of a lab is not there any more, in words."""
    there = set(_namespaces(record.name))
    lost = [f"namespace {ns}" for ns in record.namespaces.values() if ns not in there]
    return lost + [
        f"wire of {p.name.removeprefix('wire-')}"
        for p in record.processes
        if p.name.startswith("wire-") and not running(p)
    ]


def status(name: str) -> dict[str, Any]:
    """How a lab stands, as JSON has it. Raises UsageError if there is none, NfcError."""
    record = records.read(name)
    if record is None:
        known = records.names()
        hint = nearest(name, known) or (f"there are: {', '.join(known)}" if known else None)
        raise UsageError(f"there is no lab '{name}'", hint=hint)
    lost = _broken(record)
    return {
        "name": record.name,
        "file": record.file,
        "phase": record.phase,
        "lost": lost,
        "nodes": record.namespaces,
        "links": {link: _wire_status(record, link) for link in record.wires},
        "processes": {
            p.name: {"pid": p.pid, "running": running(p), "log": str(records.folder(name) / p.log)}
            for p in record.processes
        },
        "functions": list(_functions(record)),
    }


def _wire_status(record: Record, link: str) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, KernelError):
        return inside(record.name, _WIRES, ask, record.wires[link], {})
    return None


def _functions(record: Record) -> Iterator[dict[str, Any]]:
    from nfc.deploy.status import read_sound

    for node, ns in record.namespaces.items():
        if any(place == node for place, _ in record.functions):
            for one in read_sound([], ns)[0]:
                yield {"node": node, **one.to_json()}


def change_link(name: str, link: str, there: dict[str, Any], back: dict[str, Any]) -> None:
    """Change a wire while it carries frames. Raises UsageError for an unknown lab or link, or one
    that is a veth pair alone; KernelError if its wire is not there any more."""
    record = records.read(name)
    if record is None:
        raise UsageError(f"there is no lab '{name}'")
    if link not in record.wires:
        hint = nearest(link, record.wires) or f"there are: {', '.join(record.wires) or 'none'}"
        raise UsageError(f"the lab '{name}' has no link '{link}' with a wire", hint=hint)
    try:
        said = inside(name, _WIRES, ask, record.wires[link], {"there": there, "back": back})
    except OSError as error:
        raise KernelError(f"the wire of {link} does not answer: {error}") from None
    if "error" in said:
        raise KernelError(f"the wire of {link} refused: {said['error']}")
