"""Dumps of rtnetlink as bytes: routes, rules, next hop objects, neighbours.

For whoever reads whole tables again and again: `nfc.kernel.netlink` decodes each message through
pyroute2, which takes ten times as long. include/uapi/linux/netlink.h.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from typing import Final

from nfc.errors import KernelError
from nfc.kernel.netns import run_in

GETROUTE: Final = 26  # RTM_*, include/uapi/linux/rtnetlink.h
GETNEIGH: Final = 30
GETRULE: Final = 34
GETNEXTHOP: Final = 106

_HEADER: Final = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_DUMP: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_INTERRUPTED: Final = 0x10  # NLM_F_DUMP_INTR
_ERROR, _DONE = 2, 3
_SOL_NETLINK, _STRICT = 270, 12  # NETLINK_GET_STRICT_CHK
_BUFFER: Final = 1 << 16  # more than the largest part of a dump, 32 KiB (netlink_dump)
_RECEIVE: Final = 1 << 20
_ATTEMPTS: Final = 20
_TIMEOUT_S: Final = 10.0


def dump(kind: int, header: bytes, netns: str | None = None) -> list[bytes]:
    """The bodies of all messages of a dump: the family's struct, then attributes.

    `header` is the struct of the request. A dump under which the table changed is asked for
    again. Raises KernelError; without an errno where the table does not stand still.
    """
    return run_in(netns, lambda: _dump(kind, header))


def _dump(kind: int, header: bytes) -> list[bytes]:
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE)
            sock.setsockopt(_SOL_NETLINK, _STRICT, 1)
            sock.settimeout(_TIMEOUT_S)
            sock.bind((0, 0))
            for number in range(1, _ATTEMPTS + 1):
                size = _HEADER.size + len(header)
                sock.sendto(_HEADER.pack(size, kind, _DUMP, number, 0) + header, (0, 0))
                parts, whole = _parts(sock, number)
                if whole:
                    return [body for part in parts for body in _bodies(part, number)]
    except OSError as error:
        number = error.errno or errno.ETIMEDOUT
        raise KernelError(
            f"cannot read routing tables: {os.strerror(number)}", errno=number
        ) from None
    raise KernelError(f"the routing tables changed during each of {_ATTEMPTS} dumps")


def _parts(sock: socket.socket, sequence: int) -> tuple[list[bytes], bool]:
    """Every part up to the end of the dump, and whether nothing changed meanwhile. They are only
    looked through here: the sooner the next is asked for, the less changes between."""
    parts: list[bytes] = []
    whole = True
    while True:
        part = sock.recv(_BUFFER)
        at = 0
        while at + _HEADER.size <= len(part):
            length, kind, flags, number, _ = _HEADER.unpack_from(part, at)
            if length < _HEADER.size or at + length > len(part):
                raise KernelError(f"a netlink message of {length} bytes at byte {at} does not fit")
            if number == sequence:
                whole = whole and not flags & _INTERRUPTED
                if kind in (_ERROR, _DONE):
                    end = at + _HEADER.size
                    code = struct.unpack_from("=i", part, end)[0] if length >= 20 else 0
                    if code < 0:
                        raise OSError(-code, os.strerror(-code))
                    return [*parts, part], whole
            at += (length + 3) & ~3
        parts.append(part)


def _bodies(part: bytes, sequence: int) -> list[bytes]:
    found = []
    at = 0
    while at + _HEADER.size <= len(part):
        length, kind, _, number, _ = _HEADER.unpack_from(part, at)
        if number == sequence and kind not in (_ERROR, _DONE):
            found.append(part[at + _HEADER.size : at + length])
        at += (length + 3) & ~3
    return found
