"""Finds the records that a command means by a name."""

from __future__ import annotations

import errno

from nfc.deploy import namespaces
from nfc.deploy.namespaces import HERE
from nfc.deploy.recovery import installed
from nfc.deploy.state import Damaged, Record, Store, check_netns
from nfc.errors import KernelError, UsageError
from nfc.syntax.diagnostics import nearest


def select(store: Store, names: list[str], netns: str | None) -> list[Record]:
    """Records of these names, in one namespace or in all.

    Raises UsageError for a name that nothing has, Damaged for a damaged record of one of them.
    """
    known = _known(store, netns)
    for name in names:
        if not any(n == name for _, n in known):
            where = f" in namespace {netns}" if netns else ""
            raise UsageError(
                f"nothing called '{name}' is deployed{where}",
                hint=nearest(name, [n for _, n in known]) or "'nfc status' lists what is",
            )
    read = [store.read(ns, n) for ns, n in known if n in names]
    found = [record for record in read if record is not None]
    old = {(record.replaces, record.name) for record in found}
    return [record for record in found if (record.netns, record.name) not in old]


def select_all(store: Store, netns: str | None) -> tuple[list[Record], list[Damaged]]:
    """All records, of one namespace or of all, and what is wrong with those that are damaged."""
    found: list[Record] = []
    damaged: list[Damaged] = []
    for ns, name in _known(store, netns):
        try:
            record = store.read(ns, name)
        except Damaged as error:
            damaged.append(error)
        else:
            found += [record] if record is not None else []
    return found, damaged


def select_one(store: Store, name: str, netns: str | None) -> Record:
    """The one record of that name; where no namespace is said, the one of our own before any
    other. Raises UsageError if there is none, or one in several other namespaces."""
    found = select(store, [name], netns)
    if len(found) > 1 and netns is None:
        found = [record for record in found if record.place is None] or found
    if len(found) > 1:
        places = ", ".join(record.place or "this one" for record in found)
        raise UsageError(
            f"'{name}' is deployed in several namespaces: {places}", hint="say which with --netns"
        )
    if not found:
        raise UsageError(f"nothing called '{name}' is deployed")
    return found[0]


def find(store: Store, name: str, netns: str | None) -> Record | None:
    """The record of that name in the namespace (None: our own), if there is one. Raises
    KernelError, Damaged."""
    check_netns(netns)
    for place in _places(store, name, namespaces.identity(netns), netns):
        record = store.read(place, name)
        if record is not None:
            return record
    return None


def place_for(store: Store, netns: str | None) -> str:
    """Where records of the namespace are kept, or are to be. Raises KernelError."""
    check_netns(netns)
    of = namespaces.identity(netns)
    found = (ns for ns, _ in store.names() if namespaces.split(ns)[1] == of)
    return next(found, None) or namespaces.place(netns)


def _known(store: Store, netns: str | None) -> list[tuple[str, str]]:
    """(place, name) of what is deployed, in the namespace of that name or everywhere. What was
    deployed in one that had the name and is gone counts where that has nothing of that name."""
    check_netns(netns)
    every = store.names()
    if netns is None:
        return every
    called = [(ns, name) for ns, name in every if namespaces.split(ns)[0] == netns]
    try:
        of = namespaces.identity(netns)
    except KernelError as error:
        if error.errno != errno.ENOENT:
            raise
        return called or [(ns, name) for ns, name in every if ns == netns]  # of that very place
    found = [
        (place, name)
        for name in sorted({name for _, name in every})
        for place in _places(store, name, of, netns)[:1]
    ]
    there = {name for _, name in found}
    gone = [(ns, n) for ns, n in called if n not in there and namespaces.gone(ns)]
    return found + gone


def _places(store: Store, name: str, of: str, netns: str | None) -> list[str]:
    """The places that have a record of this name in the namespace, the one that counts first."""
    there = [ns for ns, n in store.names() if n == name]
    found = [ns for ns in there if namespaces.split(ns)[1] == of]
    return found + [ns for ns in there if _old_record_of(store, ns, name, of, netns)]


def _old_record_of(store: Store, place: str, name: str, of: str, netns: str | None) -> bool:
    """Whether this is a record of an earlier nfc, which tells the namespace's name or nothing, of
    this namespace: by its name; or by its route, which has the program."""
    was, known = namespaces.split(place)
    if known:
        return False
    try:
        if was != HERE:
            return was == netns or namespaces.identity(was) == of
        record = store.read(place, name)
        return record is not None and installed(record, netns) == record.tag
    except (KernelError, Damaged):
        return False
