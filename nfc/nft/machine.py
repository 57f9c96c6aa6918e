"""What a test runs on: the simulator, or real routes. Both are asked in the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from ipaddress import IPv6Address, IPv6Network
from typing import TYPE_CHECKING, Protocol

from nfc.compiler import Compiled
from nfc.nft.subject import Subject

if TYPE_CHECKING:
    from nfc.kernel.anymap import AnyMap

OUT = "out"  # the link of everything that no route of the test covers
MTU = 9000  # bytes, of every link
META = ("mark", "priority", "ingress", "hash", "cpu")


def leads(to: IPv6Address) -> bool:
    """Whether a router can have a route to an address."""
    return not (to.is_multicast or to.is_link_local or to.is_loopback or to.is_unspecified)


class UnableError(Exception):
    """This machine cannot do that; the reason, in a few words."""


@dataclass(frozen=True)
class RouteTo:
    """Packets to `prefix`, looked up in `table`, leave by `link`."""

    table: int
    prefix: IPv6Network
    link: str


@dataclass(frozen=True)
class Seen:
    """What was seen of one packet: what left, by which link, records of events, the clock before
    and after (TAI, nanoseconds), the CPU. `mark` and `priority` afterwards, None where nobody can
    see them. `others` are the links of further packets. `fault` says what stopped the program,
    `why` what else the machine tells of it."""

    link: str = ""
    packet: bytes | None = None
    records: tuple[bytes, ...] = ()
    before: int = 0
    after: int = 0
    mark: int | None = None
    priority: int | None = None
    cpu: int = 0
    others: tuple[str, ...] = ()
    fault: str = ""
    why: str = ""


class Session(Protocol):
    """A function in its place, for one test. Methods raise UnableError."""

    @property
    def maps(self) -> Mapping[str, AnyMap]:
        """The maps of the function's object by name."""

    @property
    def cpu(self) -> int:
        """The CPU on which packets come by themselves."""

    def now(self) -> int:
        """The clock: TAI in nanoseconds."""

    def clock(self, now: int) -> None:
        """Set the clock."""

    def wait(self, nanoseconds: int) -> None:
        """Let time go by."""

    def seed(self, seed: int) -> None:
        """Begin the random numbers again."""

    def draws(self, values: Sequence[int]) -> None:
        """Make the next random numbers, of 32 bits, these."""

    def fail(self, helper: str, error: int | None) -> None:
        """Let a helper fail from here on, with that errno; None: the one that the kernel gives."""

    def send(self, packet: bytes, meta: Mapping[str, int]) -> Seen:
        """Send a packet to the function."""


class Machine(Protocol):
    """Makes sessions."""

    name: str

    def close(self) -> None:
        """Take away what was made for them."""

    def session(
        self, subject: Subject, compiled: Compiled, routes: Sequence[RouteTo]
    ) -> AbstractContextManager[Session]:
        """Put a function in its place. Raises UnableError, NfcError."""
