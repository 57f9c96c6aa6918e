"""rtnetlink through pyroute2: raw route messages to the kernel and back.

This is the only module that imports pyroute2, and `nfc.kernel.routes` imports it only when it
has something to ask. pyroute2 decodes attributes into its own shapes, some of which it cannot
encode again (LWT and seg6local programs); a route has to go back exactly as it was. So messages
are taken raw from pyroute2's sockets, and their attributes stay bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

from pyroute2.netlink import NETLINK_ROUTE, nlmsg
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.marshal import Marshal
from pyroute2.netlink.nlsocket import AsyncNetlinkSocket, NetlinkSocket

from nfc.errors import KernelError
from nfc.kernel.netns import run_in
from nfc.kernel.rtattr import Attribute, unpack

RTM_NEWROUTE = 24
RTM_DELROUTE = 25
RTM_GETROUTE = 26

REQUEST = 0x1
ACK = 0x4
DUMP = 0x300
REPLACE = 0x100
CREATE = 0x400

_DUMP_INTERRUPTED = 0x10  # NLM_F_DUMP_INTR: the table changed under the dump
_ATTEMPTS = 20
_NLMSG_DONE = 3
_HIGHEST_ATTRIBUTE = 64  # RTA_MAX is 31 in 6.18

RTMSG = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type


class _RawMarshal(Marshal):  # type: ignore[misc]
    """Gives routes as bytes, and sees the error that the end of a dump may carry."""

    def get_parser(
        self, key: int, flags: int, sequence_number: int
    ) -> Callable[[bytes, int, int], Any]:
        """pyroute2's hook for a message: what turns it into a value."""
        usual = super().get_parser(key, flags, sequence_number)

        def parse(data: bytes, offset: int, length: int) -> Any:
            if key == RTM_NEWROUTE:
                body = data[offset + 16 : offset + length]
                return {"header": {"type": key, "flags": flags, "error": None}, "body": body}
            message = usual(data, offset, length)
            if key == _NLMSG_DONE and length >= 20 and message["header"].get("error") is None:
                (code,) = struct.unpack_from("=i", data, offset + 16)
                if code < 0:
                    message["header"]["error"] = NetlinkError(-code)
            return message

        return parse


class _AsyncRawSocket(AsyncNetlinkSocket):  # type: ignore[misc]
    marshal_class = _RawMarshal


class _RawSocket(NetlinkSocket):  # type: ignore[misc]
    async_class = _AsyncRawSocket


class _RouteMessage(nlmsg):  # type: ignore[misc]
    """struct rtmsg, and attributes that are bytes under the name of their number."""

    prefix = "RTA_"
    fields = (
        ("family", "B"),
        ("dst_len", "B"),
        ("src_len", "B"),
        ("tos", "B"),
        ("table", "B"),
        ("proto", "B"),
        ("scope", "B"),
        ("type", "B"),
        ("flags", "I"),
    )
    nla_map = tuple((f"RTA_{number}", "cdata") for number in range(_HIGHEST_ATTRIBUTE))


class Refused(Exception):
    """The kernel's answer: errno, and its extack text or the errno's own."""

    def __init__(self, code: int, said: str) -> None:
        """Keep both."""
        super().__init__(code, said)
        self.code = code
        self.said = said


def request(
    kind: int, flags: int, header: bytes, attributes: Iterable[Attribute], netns: str | None
) -> list[tuple[bytes, tuple[Attribute, ...]]]:
    """Send one message into `netns`; the routes of the answer as (struct rtmsg, attributes).

    A dump that was interrupted by a change is asked for again. Raises Refused, and KernelError
    when there is no such namespace or the table does not stand still.
    """
    message_attributes = [(f"RTA_{number}", value) for number, value in attributes]

    def exchange() -> list[Any]:
        message = _RouteMessage()
        for (name, _), value in zip(_RouteMessage.fields, RTMSG.unpack(header), strict=True):
            message[name] = value
        message["attrs"] = list(message_attributes)
        with _RawSocket(family=NETLINK_ROUTE, ext_ack=True, strict_check=True) as socket:
            socket.bind()
            return list(socket.nlm_request(message, msg_type=kind, msg_flags=REQUEST | flags))

    for _ in range(_ATTEMPTS):
        try:
            answers = run_in(netns, exchange)
        except NetlinkError as error:
            raise Refused(error.code, str(error.args[1])) from None
        except OSError as error:
            raise Refused(error.errno or 0, error.strerror or str(error)) from None
        routes = [answer for answer in answers if "body" in answer]
        if not any(answer["header"]["flags"] & _DUMP_INTERRUPTED for answer in routes):
            return [
                (body[: RTMSG.size], tuple(unpack(body[RTMSG.size :])))
                for body in (answer["body"] for answer in routes)
            ]
    raise KernelError(f"the routing tables changed during each of {_ATTEMPTS} dumps")
