"""Namespaces: code runs inside, the caller stays where it is, and errors say what exists."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from nfc.errors import KernelError, UsageError
from nfc.kernel import netns as namespaces


@pytest.mark.kernel
@pytest.mark.usefixtures("no_leak")
class TestNetns:
    def test_code_sees_the_namespaces_devices_and_the_caller_its_own(self, netns: str) -> None:
        before = namespaces.identity()
        inside = namespaces.run_in(netns, socket.if_nameindex)
        assert {name for _, name in inside} >= {"lo", "v0", "v1"}
        assert namespaces.identity() == before
        assert namespaces.run_in(None, namespaces.identity) == before

    def test_identity_is_that_of_the_code_inside(self, netns: str) -> None:
        inside = namespaces.run_in(netns, namespaces.identity)
        assert inside == namespaces.identity(netns) != namespaces.identity()
        assert namespaces.identity(str(namespaces.path_of(netns))) == inside

    def test_an_error_inside_comes_out_and_the_caller_stays(self, netns: str) -> None:
        before = namespaces.identity()

        def fail() -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            namespaces.run_in(netns, fail)
        assert namespaces.identity() == before

    def test_a_socket_made_inside_stays_there(self, netns: str) -> None:
        with namespaces.run_in(
            netns, lambda: socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        ) as s:
            s.bind(("fc00:9::1", 0))  # an address that only that namespace has

    def test_sysctls_are_those_of_the_namespace(self, netns: str) -> None:
        path = Path("/proc/sys/net/ipv6/conf/v0/accept_dad")
        assert namespaces.run_in(netns, path.read_text).strip() == "0"
        assert not path.exists()

    def test_threads_at_once_do_not_mix(self, netns: str) -> None:
        own, other = namespaces.identity(), namespaces.identity(netns)
        wrong: list[namespaces.NetnsId] = []

        def look() -> None:
            for _ in range(20):
                if (inside := namespaces.run_in(netns, namespaces.identity)) != other:
                    wrong.append(inside)
                if (mine := namespaces.identity()) != own:
                    wrong.append(mine)

        threads = [threading.Thread(target=look) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []

    def test_a_missing_namespace_is_an_error_that_names_the_others(self, netns: str) -> None:
        with pytest.raises(KernelError, match=netns) as refused:
            namespaces.run_in("nosuch", os.getpid)
        assert "ip netns add nosuch" in (refused.value.hint or "")

    def test_a_file_that_is_no_namespace_is_an_error(self) -> None:
        with pytest.raises(KernelError, match="not a network namespace"):
            namespaces.run_in("/etc/passwd", os.getpid)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".", "a\0b"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError):
        namespaces.path_of(name)
