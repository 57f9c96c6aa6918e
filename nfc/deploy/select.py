"""Finds the records that a command means by a name."""

from __future__ import annotations

from nfc.deploy.state import HERE, Damaged, Record, Store, check_netns
from nfc.errors import UsageError
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
    found = [store.read(ns, n) for ns, n in known if n in names]
    return [record for record in found if record is not None]


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


def _known(store: Store, netns: str | None) -> list[tuple[str, str]]:
    check_netns(netns)
    return [(ns, n) for ns, n in store.names() if netns is None or ns == netns]


def select_one(store: Store, name: str, netns: str | None) -> Record:
    """The one record of that name. Raises UsageError if there is none, or one in several
    namespaces."""
    found = select(store, [name], netns)
    if len(found) > 1:
        places = ", ".join("this one" if r.netns == HERE else r.netns for r in found)
        raise UsageError(
            f"'{name}' is deployed in several namespaces: {places}", hint="say which with --netns"
        )
    if not found:
        raise UsageError(f"nothing called '{name}' is deployed")
    return found[0]
