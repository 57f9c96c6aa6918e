"""Loaded programs: what the kernel knows of them, running one on a packet, counting runs.

Structures: include/uapi/linux/bpf.h (struct bpf_prog_info, union bpf_attr).
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass

from nfc.kernel import syscall
from nfc.kernel.syscall import Fd

# Our hooks and their enum bpf_prog_type.
PROG_TYPES = {"endpoint": 19, "in": 10, "out": 11, "xmit": 12}
HOOKS = {number: hook for hook, number in PROG_TYPES.items()}

_BPF_STATS_RUN_TIME = 0
# type, id, tag, jited and xlated size, their two buffers, load time, uid, maps, their buffer, name
_INFO = struct.Struct("=II8sIIQQQIIQ16s")
_RUN_TIME_AT = 192  # offset of run_time_ns, followed by run_cnt
_INFO_SIZE = 208
_MAX_PACKET = 1 << 16


@dataclass(frozen=True)
class ProgInfo:
    """A loaded program. Sizes in bytes; `load_time_ns` since boot.

    `run_count` and `run_time_ns` stand still unless kernel.bpf_stats_enabled or `enable_stats`.
    """

    id: int
    tag: str
    name: str
    type: int
    jited_size: int
    xlated_size: int
    load_time_ns: int
    map_ids: tuple[int, ...]
    run_count: int
    run_time_ns: int

    @property
    def hook(self) -> str | None:
        """Which of our hooks this program is for, or None."""
        return HOOKS.get(self.type)


@dataclass(frozen=True)
class TestRun:
    """What BPF_PROG_TEST_RUN gave: the program's answer, the packet, the mean time of a run."""

    result: int
    packet: bytes
    duration_ns: int


def info(fd: Fd | int) -> ProgInfo:
    """Ask the kernel about the program. Raises KernelError (EINVAL: not a program)."""
    number = fd if isinstance(fd, int) else fd.fileno()
    what = "read a program's info"
    raw = syscall.object_info(number, _INFO_SIZE, what)
    count = _INFO.unpack_from(raw)[9]
    ids = ctypes.create_string_buffer(max(4 * count, 1))
    request = ctypes.create_string_buffer(_INFO_SIZE)
    struct.pack_into("=IQ", request, 52, count, syscall.address(ids))
    raw = syscall.fill_info(number, request, what)
    kind, ident, tag, jited, xlated, _, _, loaded, _, now, _, name = _INFO.unpack_from(raw)
    run_time, run_count = struct.unpack_from("=QQ", raw, _RUN_TIME_AT)
    return ProgInfo(
        id=ident,
        tag=tag.hex(),
        name=syscall.object_name(name),
        type=kind,
        jited_size=jited,
        xlated_size=xlated,
        load_time_ns=loaded,
        map_ids=struct.unpack_from(f"={min(count, now)}I", ids.raw),
        run_count=run_count,
        run_time_ns=run_time,
    )


def by_id(ident: int) -> Fd:
    """Open the program with this id. Raises KernelError (ENOENT), PrivilegeError."""
    attr = struct.pack("=III", ident, 0, 0)
    what = f"open program {ident}"
    return Fd(syscall.bpf(syscall.PROG_GET_FD_BY_ID, attr, what, ("CAP_SYS_ADMIN",)))


def info_by_id(ident: int) -> ProgInfo:
    """As `info`, for the program with this id. Raises as `by_id`."""
    with by_id(ident) as fd:
        return info(fd)


def enable_stats() -> Fd:
    """Count all programs' runs and nanoseconds while the result is open (5.8).

    Raises KernelError, PrivilegeError (CAP_SYS_ADMIN).
    """
    attr = struct.pack("=I", _BPF_STATS_RUN_TIME)
    needed = ("CAP_SYS_ADMIN",)
    return Fd(syscall.bpf(syscall.ENABLE_STATS, attr, "count program runs", needed))


def test_run(fd: Fd | int, frame: bytes, *, repeat: int = 1) -> TestRun:
    """Run the program on `frame`, an Ethernet frame (14-byte header, then the packet).

    The answer's `packet` is what the program left of the whole frame. Raises KernelError: EINVAL
    for a frame too short or too long, ENOTSUPP (524) for the endpoint type, which the kernel
    cannot run this way (net/core/filter.c, lwt_seg6local_prog_ops is empty).
    """
    number = fd if isinstance(fd, int) else fd.fileno()
    given = syscall.buffer_of(frame)
    # Room for what lwt_xmit may push; the kernel refuses to write past it (ENOSPC).
    out = ctypes.create_string_buffer(_MAX_PACKET)
    attr = ctypes.create_string_buffer(80)
    fields = (number, 0, len(frame), len(out), syscall.address(given), syscall.address(out), repeat)
    struct.pack_into("=IIIIQQI", attr, 0, *fields)
    syscall.bpf(syscall.PROG_TEST_RUN, attr, "run a program on a test packet")
    _, result, _, size, _, _, _, duration = struct.unpack_from("=IIIIQQII", attr)
    return TestRun(result, out.raw[:size], duration)
