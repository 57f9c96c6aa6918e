"""Asks the running kernel by bpf(2) directly, so that tables and objects are tested without
the loader that uses them."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

_NUMBER = {"x86_64": 321, "aarch64": 280, "riscv64": 280}
_PROG_LOAD, _BTF_LOAD, _MAP_CREATE = 5, 18, 0
_LOG_SIZE = 1 << 20


def _bpf(command: int, attributes: bytes) -> tuple[int, int]:
    """(file descriptor or -1, errno)."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attributes)
    number = _NUMBER[platform.machine()]
    answer = libc.syscall(number, command, buffer, len(attributes))
    return answer, ctypes.get_errno()


def load_program(prog_type: int, code: bytes, attributes: bytes = b"") -> tuple[bool, str]:
    """Whether the verifier takes `code`, and its log. `attributes` follow `prog_flags` (offset
    44 of bpf_attr, uapi/linux/bpf.h)."""
    license_ = ctypes.create_string_buffer(b"GPL")
    instructions = ctypes.create_string_buffer(code, len(code))
    log = ctypes.create_string_buffer(_LOG_SIZE)
    head = struct.pack(
        "<IIQQIIQII",
        prog_type,
        len(code) // 8,
        ctypes.addressof(instructions),
        ctypes.addressof(license_),
        2,  # every step
        _LOG_SIZE,
        ctypes.addressof(log),
        0,
        0,
    )
    fd, _ = _bpf(_PROG_LOAD, head + attributes)
    if fd >= 0:
        os.close(fd)
    return fd >= 0, log.value.decode(errors="replace")


def load_btf(btf: bytes) -> tuple[int, str]:
    """The descriptor of a BTF blob (the caller closes it) or -1, and the kernel's log."""
    blob = ctypes.create_string_buffer(btf, len(btf))
    log = ctypes.create_string_buffer(_LOG_SIZE)
    attributes = struct.pack(
        "<QQIII", ctypes.addressof(blob), ctypes.addressof(log), len(btf), _LOG_SIZE, 1
    )
    fd, _ = _bpf(_BTF_LOAD, attributes)
    return fd, log.value.decode(errors="replace")
