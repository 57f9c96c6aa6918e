"""The two encapsulations that run a BPF program on a route, as netlink attributes.

Endpoint: include/uapi/linux/seg6_local.h, net/ipv6/seg6_local.c. Transit:
include/uapi/linux/lwtunnel.h, net/core/lwt_bpf.c. Both name a program by file descriptor and
keep a free text beside it. In a dump, seg6local says the program's id where the descriptor was,
and the text; LWT says the text alone, and not the headroom either (measured on 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nfc.errors import UsageError
from nfc.kernel import rtattr
from nfc.kernel.rtattr import Attribute
from nfc.kernel.syscall import Fd

LONGEST_TAG = 255  # MAX_PROG_NAME is 256, of which the NUL takes one

_ENCAP_BPF = 6  # enum lwtunnel_encap_types
_ENCAP_SEG6_LOCAL = 7
_SEG6_LOCAL_ACTION = 1
_SEG6_LOCAL_BPF = 8
_ACTION_END_BPF = 15
_PROG = 1  # SEG6_LOCAL_BPF_PROG, LWT_BPF_PROG_FD
_NAME = 2  # SEG6_LOCAL_BPF_PROG_NAME, LWT_BPF_PROG_NAME
_TRANSIT = {"in": 1, "out": 2, "xmit": 3}  # LWT_BPF_IN, LWT_BPF_OUT, LWT_BPF_XMIT
_TRANSIT_NAMES = {number: hook for hook, number in _TRANSIT.items()}
_XMIT_HEADROOM = 4
_LARGEST_HEADROOM = 256  # LWT_BPF_MAX_HEADROOM


@dataclass(frozen=True)
class RouteProgram:
    """A program to put on a route: `tag` is kept by the kernel beside it, 1 to 255 bytes."""

    hook: str
    fd: Fd
    tag: str


@dataclass(frozen=True)
class InstalledProgram:
    """A program that a route has. `prog_id` is None for transit hooks: the kernel never says."""

    hook: str
    tag: str
    prog_id: int | None


def encode(programs: Sequence[RouteProgram], headroom: int = 0) -> tuple[Attribute, Attribute]:
    """RTA_ENCAP_TYPE and RTA_ENCAP for one endpoint program, or transit programs.

    `headroom`: bytes that an xmit program pushes in front, 0 to 256. Raises UsageError.
    """
    hooks = [program.hook for program in programs]
    for program in programs:
        _check(program)
    if hooks == ["endpoint"]:
        if headroom:
            raise UsageError("headroom is for transit hooks, not for an endpoint")
        action = (_SEG6_LOCAL_ACTION, rtattr.u32(_ACTION_END_BPF))
        inner = rtattr.pack([action, (_SEG6_LOCAL_BPF, _program(programs[0]))])
        return _both(_ENCAP_SEG6_LOCAL, inner)
    if not hooks or len(set(hooks)) < len(hooks) or "endpoint" in hooks:
        raise UsageError(
            f"a route takes one endpoint program, or one each of in, out and xmit; not {hooks}"
        )
    if not 0 <= headroom <= _LARGEST_HEADROOM:
        raise UsageError(f"headroom is 0 to {_LARGEST_HEADROOM} bytes, not {headroom}")
    nested = [(_TRANSIT[program.hook], _program(program)) for program in programs]
    if headroom:
        nested.append((_XMIT_HEADROOM, rtattr.u32(headroom)))
    return _both(_ENCAP_BPF, rtattr.pack(nested))


def decode(attributes: Iterable[Attribute]) -> tuple[InstalledProgram, ...]:
    """The programs in the attributes of a route, or of one next hop. Raises KernelError."""
    attributes = tuple(attributes)
    kind = rtattr.find(attributes, rtattr.ENCAP_TYPE)
    encap = rtattr.find(attributes, rtattr.ENCAP)
    if kind is None or len(kind) < 2 or encap is None:
        return ()
    (number,) = struct.unpack_from("=H", kind)
    inner = tuple(rtattr.unpack(encap))
    if number == _ENCAP_BPF:
        return tuple(
            _installed(_TRANSIT_NAMES[k], value) for k, value in inner if k in _TRANSIT_NAMES
        )
    if number == _ENCAP_SEG6_LOCAL:
        if rtattr.find_u32(inner, _SEG6_LOCAL_ACTION) != _ACTION_END_BPF:
            return ()
        return tuple(_installed("endpoint", value) for k, value in inner if k == _SEG6_LOCAL_BPF)
    return ()


def _check(program: RouteProgram) -> None:
    if program.hook not in _TRANSIT and program.hook != "endpoint":
        raise UsageError(f"no hook {program.hook!r}; there are: endpoint, {', '.join(_TRANSIT)}")
    size = len(program.tag.encode())
    if not 0 < size <= LONGEST_TAG or "\0" in program.tag:
        raise UsageError(
            f"a program's tag on a route has 1 to {LONGEST_TAG} bytes without NUL, not {size}"
        )


def _program(program: RouteProgram) -> bytes:
    fd = (_PROG, rtattr.u32(program.fd.fileno()))
    return rtattr.pack([fd, (_NAME, rtattr.text(program.tag))])


def _both(kind: int, inner: bytes) -> tuple[Attribute, Attribute]:
    return (rtattr.ENCAP_TYPE, struct.pack("=H", kind)), (rtattr.ENCAP, inner)


def _installed(hook: str, value: bytes) -> InstalledProgram:
    inner = tuple(rtattr.unpack(value))
    tag = (rtattr.find(inner, _NAME) or b"").split(b"\0", 1)[0].decode("utf-8", "replace")
    return InstalledProgram(hook, tag, rtattr.find_u32(inner, _PROG))
