"""What the route says is deployed, and making records and pins agree with it.

A command that was killed leaves a pending record and pins; the route decides whether its work
is finished or undone.
"""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

from nfc.deploy.places import folder, generation, remove_empty
from nfc.deploy.state import Damaged, Record, Store
from nfc.errors import KernelError, PrivilegeError

if TYPE_CHECKING:
    from nfc.kernel.route import Route


def routes_there(record: Record, netns: str | None = None) -> tuple[Route, ...]:
    """The route that the record's stands for or would take the place of, if there is one; in the
    record's namespace, or in the one that is given.

    Raises KernelError.
    """
    from nfc.kernel import routes

    found = routes.get_routes(
        record.route["prefix"],
        table=record.route["table"],
        netns=record.namespace if netns is None else netns,
    )
    metric = record.route["metric"]
    return tuple(r for r in found if metric is None or r.metric == metric)[:1]


def installed(record: Record, netns: str | None = None) -> str | None:
    """The tag of our program on the record's route, or None; `netns` as for `routes_there`. Raises
    KernelError."""
    for route in routes_there(record, netns):
        for program in route.programs:
            if program.tag.startswith("nfc:"):
                return program.tag
    return None


def recover(store: Store, netns: str, name: str) -> None:
    """Finish, or undo, what a killed command left: the route decides which. Raises NfcError."""
    pending = store.read(netns, name, next_=True)
    if pending is not None:
        try:
            tag = installed(pending)
        except PrivilegeError:
            return  # not ours to look at, nor to decide
        except KernelError:
            tag = None  # the namespace is gone, and its routes with it
        if tag == pending.tag:
            store.commit(pending)
        else:
            remove_generation(pending)
            store.remove(netns, name, next_=True)
    record = store.read(netns, name)
    if record is not None:
        sweep(retire(store, record))


def retire(store: Store, record: Record) -> Record:
    """Remove the record and the pins of an earlier nfc that this one has taken the place of, if
    there are any; the record then. Raises NfcError."""
    if not record.replaces:
        return record
    shutil.rmtree(folder(record.replaces, record.name), ignore_errors=True)
    remove_empty(record.replaces, record.name)
    store.forget(record.replaces, record.name)
    record = replace(record, replaces="")
    store.write(record)
    return record


def recover_all(store: Store) -> None:
    """`recover` for every record; damaged ones are left to those who ask for them."""
    store.clean()
    for netns, name in store.names():
        with contextlib.suppress(Damaged):
            recover(store, netns, name)


def remove_generation(record: Record) -> None:
    """Remove the pins of the record's generation."""
    shutil.rmtree(generation(record), ignore_errors=True)
    remove_empty(record.netns, record.name)


def sweep(record: Record) -> None:
    """Remove the pins of all generations of this function but the record's."""
    with contextlib.suppress(OSError):
        for place in folder(record.netns, record.name).iterdir():
            if place.name != record.generation:
                shutil.rmtree(place, ignore_errors=True)
