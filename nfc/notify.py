"""Telling a service manager how a service does: sd_notify(3), without its library.

A message is a datagram of lines to the socket that NOTIFY_SOCKET names. Where nobody asked for
that, as on a terminal, nothing happens; and a manager that cannot be told is no reason to end.
"""

from __future__ import annotations

import os
import socket
import time
from typing import Final

_WAIT_S: Final = 1.0  # for a manager whose queue is full


def notify(*lines: str) -> bool:
    """Send these lines, such as "READY=1"; whether somebody asked for them and they went out."""
    name = os.environ.get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")):  # none, or of a kind that is for virtual machines
        return False
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.settimeout(_WAIT_S)
            out.sendto("\n".join(lines).encode(), name.replace("@", "\0", 1))
    except (OSError, ValueError):
        return False
    return True


def ready(status: str) -> None:
    """The service does its work from now on; `systemctl status` shows the status."""
    notify("READY=1", f"STATUS={status}")


class Heartbeat:
    """Says that a service lives, twice as often as its manager wants to hear it (WatchdogSec= in
    a unit, sd_watchdog_enabled(3)); a service that is silent for too long is started anew."""

    def __init__(self) -> None:
        """Look at what this process was told; no socket is opened."""
        asked = os.environ.get("WATCHDOG_USEC", "")
        whom = os.environ.get("WATCHDOG_PID", "")
        ours = asked.isascii() and asked.isdigit() and whom in ("", str(os.getpid()))
        self._every = int(asked[:18]) / 2e6 if ours else 0.0  # seconds; 0: nobody wants to know
        self._due = 0.0

    def beat(self) -> None:
        """To be called whenever the service comes round; costs little."""
        if self._every and (now := time.monotonic()) >= self._due:
            self._due = now + self._every
            notify("WATCHDOG=1")
