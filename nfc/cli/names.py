"""Names that a shell can complete: what is deployed, and network namespaces."""

from __future__ import annotations

import contextlib

import click

from nfc.errors import NfcError


def namespaces(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The network namespaces whose names begin so; none where they cannot be listed."""
    from nfc.kernel.netns import names

    try:
        return [name for name in names() if name.startswith(begun)]
    except NfcError:
        return []


def deployed(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The deployed functions, in the namespace of --netns, whose names begin so."""
    from nfc.deploy.namespaces import HERE, split
    from nfc.deploy.state import Store, state_dir
    from nfc.kernel.netns import identity

    netns = context.params.get("netns")
    inode = None
    with contextlib.suppress(NfcError):  # it is gone, but not what is kept of it
        inode = str(identity(netns).inode)
    found = set()
    for place, name in Store(state_dir()).names():
        called, of = split(place)
        old = not of or inode is None
        here = called == (netns or HERE) if old else of.partition("-")[0] == inode
        if here and name.startswith(begun):
            found.add(name)
    return sorted(found)


def tables(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The names of routing tables that begin so."""
    from nfc.kernel.tables import table_names

    return sorted(name for name in table_names() if name.startswith(begun))
