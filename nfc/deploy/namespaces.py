"""Which network namespace a record is of: the namespace itself, and not what somebody calls it.

So a function that was deployed with `--netns NAME` is found from inside, by a service with
NetworkNamespacePath= say, and one that was deployed inside is found from outside.

A record's place is written NAME@INODE-COOKIE: the number of the namespace, which `lsns` and
`/proc/PID/ns/net` show, and its cookie, which no later namespace gets (left out before Linux 5.14).
The name is that of the first deployment: for people, and for when the namespace is gone. Records of
nfc before this have the name alone, or HERE where none had been given.
"""

from __future__ import annotations

import contextlib
import errno
import re
from typing import Final

from nfc.errors import KernelError, PrivilegeError
from nfc.kernel import netns as kernel

HERE: Final = "-"  # the name of a place that has none
_PLACE: Final = re.compile(r"(.+)@((\d{1,20})(?:-(\d{1,20}))?)", re.ASCII | re.DOTALL)


def identity(netns: str | None) -> str:
    """INODE-COOKIE of a namespace; None is our own. Raises KernelError where there is none, and
    PrivilegeError without CAP_SYS_ADMIN for one that is not ours."""
    inode = kernel.identity(netns).inode
    ours = netns is None or inode == kernel.identity().inode
    cookie = kernel.cookie(None if ours else netns)
    return f"{inode}-{cookie}" if cookie else str(inode)


def split(place: str) -> tuple[str, str]:
    """Name (or HERE) and INODE-COOKIE of a place; that is empty in old records."""
    found = _PLACE.fullmatch(place)
    return (found[1], found[2]) if found else (place, "")


def place(netns: str | None) -> str:
    """The place of a namespace where nothing is deployed yet. Raises as `identity` does."""
    of = identity(netns)
    if netns is None:
        names = kernel.called(int(of.partition("-")[0]))
        netns = next((name for name in names if not name.startswith("/")), HERE)
    return f"{netns}@{of}"


def entered_by(place: str) -> str | None:
    """The namespace of a place as nfc.kernel takes it; None is our own. Raises KernelError (ENOENT)
    where it is gone."""
    name, of = split(place)
    if not of:
        return None if name == HERE else name
    inode = int(of.partition("-")[0])
    if inode == kernel.identity().inode:
        if of == identity(None):
            return None
    else:
        for each in sorted(kernel.called(inode), key=lambda one: one != name):
            with contextlib.suppress(PrivilegeError):
                if identity(each) != of:
                    break
            return each
    shown = f"net:[{inode}]" if name == HERE else repr(name)
    raise KernelError(
        f"no network namespace {shown}, in which it was deployed, any more", errno=errno.ENOENT
    )


def gone(place: str) -> bool:
    """Whether the namespace of a place is gone: it has no name, and no process that is seen."""
    try:
        kernel.identity(entered_by(place))
    except KernelError as error:
        return error.errno == errno.ENOENT
    return False


def shown(place: str) -> str | None:
    """What to call a place from here: None is our own namespace."""
    try:
        return entered_by(place)
    except KernelError:
        name, of = split(place)
        return f"net:[{of.partition('-')[0]}]" if name == HERE else name
