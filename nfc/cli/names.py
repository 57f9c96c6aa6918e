"""Names that a shell can complete: what a file declares, what is deployed, network namespaces."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfc.errors import NfcError

if TYPE_CHECKING:
    from nfc.manifest import Manifest
    from nfc.syntax import tree


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


def functions(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The functions of the file that the line names, whose names begin so."""
    from nfc.syntax import tree

    items = _items(context)
    names = [item.name.text for item in items if isinstance(item, tree.Function)]
    return [name for name in names if name.startswith(begun)]


def params(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The params of that file, to be given a value."""
    from nfc.syntax import tree

    names = [item.name.text for item in _items(context) if isinstance(item, tree.Param)]
    return _to_be_set(names, begun)


def deployed_params(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The params of the deployed function that the line names, to be given a value."""
    manifest = _manifest(context)
    return _to_be_set([p.field.name for p in manifest.params] if manifest else [], begun)


def deployed_tables(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """Tables, states and counters with keys of the deployed function that the line names."""
    manifest = _manifest(context)
    names = [t.name for t in manifest.tables] if manifest else []
    return [name for name in names if name.startswith(begun)]


def interfaces(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The interfaces of the namespace of --netns whose names begin so."""
    import socket

    from nfc.kernel.netns import run_in

    with contextlib.suppress(NfcError, OSError):
        found = run_in(context.params.get("netns"), socket.if_nameindex)
        return sorted(name for _, name in found if name.startswith(begun))
    return []


def _to_be_set(names: list[str], begun: str) -> list[str]:
    return [f"{name}=" for name in names if f"{name}=".startswith(begun)]


def _items(context: click.Context) -> tuple[tree.Item, ...]:
    """The items of the file that the line names, those without errors."""
    from nfc.syntax.diagnostics import Diagnostics
    from nfc.syntax.parser import parse
    from nfc.syntax.source import Source

    # click has not come to the arguments where the last word is an option that lacks its value.
    file = context.params.get("file") or next(map(Path, context.args), None)
    if file is None or file.suffix == ".o":
        return ()
    try:
        return parse(Source.read(file), Diagnostics()).items
    except NfcError:
        return ()


def _manifest(context: click.Context) -> Manifest | None:
    """What the record of the deployed function says of it."""
    from nfc.deploy.select import find
    from nfc.deploy.state import Store, state_dir

    name = context.params.get("name")
    if name is None:
        return None
    try:
        record = find(Store(state_dir()), name, context.params.get("netns"))
    except NfcError:
        return None
    return record.manifest if record is not None else None


def tables(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The names of routing tables that begin so."""
    from nfc.kernel.tables import table_names

    return sorted(name for name in table_names() if name.startswith(begun))
