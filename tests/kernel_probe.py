"""Ask the running kernel whether the tests marked `kernel` can run here, by doing what they do.

In a network namespace of its own, made and left by this process: a veth pair, a BPF program, and an
End.BPF route that holds it. Run as a script, so that the namespace ends with it; prints the first
step that fails and exits 1, or prints nothing and exits 0.

It shares no code with nfc: a defect there must make tests fail, not be skipped.
"""

from __future__ import annotations

import ctypes
import os
import platform
import socket
import struct
import sys

from pyroute2 import IPRoute
from pyroute2.netlink import (
    NETLINK_ROUTE,
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NetlinkError,
)
from pyroute2.netlink.rtnl import RTM_NEWROUTE
from pyroute2.netlink.rtnl.rtmsg import rtmsg

# The number of bpf(2): arch/x86/entry/syscalls/syscall_64.tbl, scripts/syscall.tbl,
# arch/powerpc/kernel/syscalls/syscall.tbl, arch/s390/kernel/syscalls/syscall.tbl.
BPF_SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}

CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h
BPF_PROG_LOAD = 5  # include/uapi/linux/bpf.h, as are the next three
BPF_PROG_TYPE_LWT_SEG6LOCAL = 19
MOV64_IMM = 0xB7
EXIT = 0x95
LWTUNNEL_ENCAP_SEG6_LOCAL = 7  # include/uapi/linux/lwtunnel.h

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int) -> int:
    """The result of a libc call, or OSError with its errno if that is negative."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def enter_namespace() -> None:
    """Move this process into a new network namespace."""
    checked(libc.unshare(CLONE_NEWNET))


def load_program() -> int:
    """Load `r0 = 0; exit` as an End.BPF program; its descriptor."""
    number = BPF_SYSCALL.get(platform.machine())
    if number is None:
        raise OSError(f"the number of bpf(2) on {platform.machine()} is not known here")
    code = ctypes.create_string_buffer(struct.pack("=BBhiBBhi", MOV64_IMM, 0, 0, 0, EXIT, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    # union bpf_attr for BPF_PROG_LOAD: prog_type, insn_cnt, insns, license; the rest is zero.
    fields = (BPF_PROG_TYPE_LWT_SEG6LOCAL, 2, ctypes.addressof(code), ctypes.addressof(licence))
    attr = ctypes.create_string_buffer(struct.pack("=IIQQ", *fields), 128)
    return checked(libc.syscall(number, BPF_PROG_LOAD, attr, len(attr)))


def make_link(netlink: IPRoute) -> int:
    """Make a veth pair and set one end up; the index of that end."""
    netlink.link("add", ifname="probe0", kind="veth", peer="probe1")
    index: int = netlink.link_lookup(ifname="probe0")[0]
    netlink.link("set", index=index, state="up")
    return index


def add_route(link: int, program: int) -> None:
    """Put the program on a seg6local route, action End.BPF, through the link."""
    holder = {"attrs": [("LWT_BPF_PROG_FD", program), ("LWT_BPF_PROG_NAME", "probe")]}
    encap = {"attrs": [("SEG6_LOCAL_ACTION", "End.BPF"), ("SEG6_LOCAL_BPF", holder)]}
    message = rtmsg()
    message["family"] = socket.AF_INET6
    message["dst_len"] = 128
    message["table"] = 254
    message["type"] = 1
    message["attrs"] = [
        ("RTA_DST", "2001:db8::1"),
        ("RTA_OIF", link),
        ("RTA_ENCAP_TYPE", LWTUNNEL_ENCAP_SEG6_LOCAL),
        ("RTA_ENCAP", encap),
    ]
    message["header"]["type"] = RTM_NEWROUTE
    message["header"]["flags"] = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
    message.encode()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_ROUTE) as route:
        route.send(message.data)
        answer = route.recv(4096)
    # The answer is struct nlmsghdr (16 bytes), then struct nlmsgerr: the errno negated, 0 for done.
    error = -struct.unpack_from("=i", answer, 16)[0]
    if error:
        raise OSError(error, os.strerror(error))


def main() -> None:
    """Take every step; say which one failed."""
    step = "make a network namespace"
    try:
        enter_namespace()
        step = "load a BPF program"
        program = load_program()
        with IPRoute() as netlink:
            step = "make a veth pair"
            link = make_link(netlink)
        step = "add an End.BPF route"
        add_route(link, program)
    except NetlinkError as error:
        sys.exit(f"cannot {step}: {os.strerror(error.code)}")
    except OSError as error:
        sys.exit(f"cannot {step}: {error.strerror or error}")


if __name__ == "__main__":
    main()
