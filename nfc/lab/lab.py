"""A lab: namespaces joined by links on the real kernel, gone when the `with` block ends."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Interface
from pathlib import Path
from socket import AF_INET6, SOCK_DGRAM
from socket import socket as Socket
from types import TracebackType
from typing import Any, Final, Self, SupportsBytes, TypeVar

from nfc import signals
from nfc.errors import KernelError, UsageError
from nfc.lab import config, netns, owner, traffic

T = TypeVar("T")
_MAX_NODE: Final = 32  # characters of a node's name


@dataclass(frozen=True)
class End:
    """One end of a link: where it is, its address, its MAC and that of the other end."""

    node: str
    interface: str
    address: IPv6Interface
    mac: bytes
    peer_mac: bytes


class Lab:
    """Namespaces, links and traffic; use it as `with Lab() as lab:`.

    Nothing is made before it is asked for, and everything is removed when the block ends: by
    running through, by an exception, by SIGINT, SIGTERM or SIGHUP. What a killed process left
    behind, the next lab removes (see `owner`). Nodes are called by short names ("h1"); `name`
    gives the one under /run/netns. Nothing touches the namespace of the caller.

    All methods raise UsageError for an unknown node or interface, PrivilegeError without
    CAP_SYS_ADMIN and CAP_NET_ADMIN, KernelError where the kernel says no.
    """

    def __init__(self) -> None:
        """An empty lab."""
        self._token = secrets.token_hex(3)
        self._pid = 0
        self._signals = contextlib.ExitStack()
        self._undo = contextlib.ExitStack()
        self._namespaces: dict[str, int] = {}
        self._ends: dict[tuple[str, str], End] = {}
        self._senders: dict[str, Socket] = {}
        self._processes: list[subprocess.Popen[Any]] = []
        self._links = 0

    def __enter__(self) -> Self:
        """Remove what dead labs left, and get ready to be interrupted."""
        owner.clean()
        self._pid = os.getpid()
        self._signals.enter_context(signals.unwinding())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Remove everything, however the block was left."""
        if os.getpid() != self._pid:
            return  # a forked child leaves the block too; the lab is its parent's
        try:
            with signals.held():
                try:
                    self._remove()
                except (KeyboardInterrupt, SystemExit):
                    self._remove()  # a signal had come in just before they were held
                    raise
        finally:
            self._pid = 0
            self._signals.close()

    def _remove(self) -> None:
        """Remove everything; may be called again after it was interrupted."""
        for process in self._processes:
            process.kill()
            process.wait()
        self._undo.close()
        try:
            owner.kill_inside(self.name(node) for node in self._namespaces)
        finally:
            for node in list(self._namespaces):
                netns.remove(self.name(node))
                descriptor = self._namespaces.pop(node)
                if descriptor >= 0:
                    os.close(descriptor)

    # Nodes

    def namespace(self, node: str, *, forwarding: bool = False) -> None:
        """Make a node: a namespace with SRv6 on, no address detection, no advertisements.

        `forwarding` makes it a router. Its name is up to 32 letters, digits, `_` and `-`.
        """
        if not self._pid:
            raise UsageError("a lab makes things only inside its with block")
        plain = node.replace("-", "").replace("_", "")
        if not (plain.isascii() and plain.isalnum()) or len(node) > _MAX_NODE:
            raise UsageError(f"{node!r} cannot be the name of a node")
        if node in self._namespaces:
            raise UsageError(f"there is a node {node!r} already")
        self._namespaces[node] = -1  # so that it is removed if this is interrupted
        self._namespaces[node] = netns.create(self.name(node))
        self.run(node, config.prepare, forwarding)

    def name(self, node: str) -> str:
        """The node's name for `ip netns` and `ip -n`."""
        self._known(node)
        return owner.name(self._token, node)

    def path(self, node: str) -> Path:
        """The node's file under /run/netns."""
        return netns.DIRECTORY / self.name(node)

    def run(self, node: str, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Call the function inside the node, in a thread; see `netns.run` on what may leave it."""
        return netns.run(self._known(node), function, *args, **kwargs)

    def sysctl(self, node: str, key: str, value: int | str) -> None:
        """Set e.g. "net.ipv6.conf.eth0.seg6_enabled" in the node."""
        self.run(node, config.sysctl, key, value)

    def popen(self, node: str, command: Sequence[str], **kwargs: Any) -> subprocess.Popen[Any]:
        """Start a command inside the node; it is killed, at the latest, with the lab."""
        namespace = self._known(node)
        process = subprocess.Popen(
            command,
            preexec_fn=lambda: netns.enter(namespace),  # noqa: PLW1509 (setns, and nothing else)
            **kwargs,
        )
        self._processes.append(process)
        return process

    def execute(
        self, node: str, command: Sequence[str], timeout: float = 30.0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside the node to its end. Raises KernelError with what it said if it
        fails or takes longer than `timeout` seconds."""
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        try:
            process = self.popen(node, command, stdin=subprocess.DEVNULL, **pipes)
        except OSError as error:
            raise KernelError(f"cannot run {command[0]}: {error.strerror}") from error
        try:
            out, err = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired as error:
            process.kill()
            raise KernelError(f"{command[0]} took over {timeout} s in {node}") from error
        self._processes.remove(process)
        if process.returncode:
            text = " ".join(command)
            raise KernelError(f"`{text}` failed in {node}: {err.strip()}", log=err)
        return subprocess.CompletedProcess(command, 0, out, err)

    # Links, addresses and routes

    def link(self, left: str, right: str, left_address: str, right_address: str) -> tuple[End, End]:
        """Join two nodes by a veth pair with these addresses ("fd00:1::1/64").

        The interfaces are eth0, eth1, ... of each node in the order they are made. Each end
        knows the other's MAC for good, and both are ready when this returns: no packet is lost
        to neighbour discovery or to a queue not yet there.
        """
        addresses = [config.interface_address(a) for a in (left_address, right_address)]
        self._links += 1
        macs = [bytes((2, 0x6E, 0x66, *self._links.to_bytes(2, "big"), s)) for s in (1, 2)]
        ends = []
        for node, own, side in ((left, addresses[0], 0), (right, addresses[1], 1)):
            self._known(node)
            count = sum(1 for n, _ in self._ends if n == node)
            end = End(node, f"eth{count}", own, macs[side], macs[1 - side])
            self._ends[node, end.interface] = end
            ends.append(end)
        first, second = ends
        self.run(
            left,
            config.add_veth,
            (first.interface, first.mac),
            (second.interface, second.mac),
            self._known(right),
        )
        for end, other in ((first, second), (second, first)):
            self.run(
                end.node, config.bring_up, end.interface, end.address, other.address, end.peer_mac
            )
        for end in ends:
            self.run(end.node, config.wait_ready, end.interface)
        return first, second

    def end(self, node: str, interface: str) -> End:
        """The end of a link, by its node and interface."""
        self._known(node)
        try:
            return self._ends[node, interface]
        except KeyError:
            known = ", ".join(i for n, i in self._ends if n == node) or "none"
            raise UsageError(f"{node} has no interface {interface!r}; it has: {known}") from None

    def address(self, node: str, interface: str, address: str) -> None:
        """Add an address ("fd00:a::1/128"); `lo` is an interface too."""
        self.run(node, config.add_address, interface, config.interface_address(address))

    def route(
        self, node: str, destination: str, *, via: str = "", interface: str = "", **more: Any
    ) -> None:
        """Add an IPv6 route; `destination` is a prefix, an address or "default".

        `more` goes to pyroute2's `route("add", ...)` as it is, e.g.
        `encap={"type": "seg6local", "action": "End"}`, `table=100`. Mind that pyroute2 takes
        the `segs` of a seg6 encap in the order of the wire, last segment first.
        """
        self.run(node, config.add_route, destination, via, interface, more)

    # Traffic

    def send(self, node: str, interface: str, *packets: bytes | SupportsBytes) -> None:
        """Send packets, as they are from the IPv6 header on, out of a link to its other end."""
        end = self.end(node, interface)
        if node not in self._senders:
            self._senders[node] = self._keep(self.run(node, traffic.sender))
        for packet in packets:
            traffic.send(self._senders[node], interface, end.peer_mac, bytes(packet))

    def capture(
        self, node: str, interface: str, unwanted: Callable[[bytes], bool] = traffic.noise
    ) -> traffic.Capture:
        """Capture, from now on, the IPv6 packets that arrive at an interface; see `Capture`."""
        return self._keep(self.run(node, traffic.Capture, interface, unwanted))

    def socket(
        self,
        node: str,
        family: int = AF_INET6,
        type: int = SOCK_DGRAM,
        protocol: int = 0,
    ) -> Socket:
        """An ordinary socket in the node, for use from any thread; closed with the lab."""
        return self._keep(self.run(node, Socket, family, type, protocol))

    def burst(
        self, node: str, address: str, port: int, *, count: int, size: int = 64, rate: float = 0.0
    ) -> traffic.Burst:
        """Send UDP datagrams from the node; see `traffic.burst` for units."""
        with self.run(node, Socket, AF_INET6, SOCK_DGRAM) as out:
            return traffic.burst(out, address, port, count=count, size=size, rate=rate)

    def _keep(self, thing: T) -> T:
        """Have the thing closed with the lab: an open socket keeps its namespace alive."""
        self._undo.callback(thing.close)  # type: ignore[attr-defined]
        return thing

    def _known(self, node: str) -> int:
        try:
            return self._namespaces[node]
        except KeyError:
            known = ", ".join(self._namespaces) or "none"
            raise UsageError(f"there is no node {node!r}; there are: {known}") from None
