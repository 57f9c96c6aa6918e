"""Params of a deployed function: read, and set while it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from nfc.deploy.places import params_map
from nfc.deploy.recovery import recover_all
from nfc.deploy.select import select_one
from nfc.deploy.state import Record, Store, open_store
from nfc.deploy.transaction import transaction
from nfc.errors import UsageError
from nfc.manifest import Manifest, Param
from nfc.observe import values
from nfc.syntax.diagnostics import nearest


def split(settings: Iterable[str]) -> dict[str, str]:
    """`param=value` texts as a dictionary. Raises UsageError."""
    found: dict[str, str] = {}
    for setting in settings:
        name, sign, value = setting.partition("=")
        if not sign or not name:
            raise UsageError(f"'{setting}' is not of the form param=value")
        if name in found:
            raise UsageError(f"'{name}' is set twice")
        found[name.strip()] = value
    return found


def apply(copy: bytes, manifest: Manifest, settings: Mapping[str, str]) -> bytes:
    """A params copy with settings put into it. Raises UsageError for what does not fit."""
    data = bytearray(copy)
    params = {p.field.name: p for p in manifest.params}
    for name, text in settings.items():
        if name not in params:
            raise UsageError(
                f"{manifest.function} has no param '{name}'",
                hint=nearest(name, params) or f"its params: {', '.join(params) or 'none'}",
            )
        field = params[name].field
        data[field.offset : field.offset + field.size] = values.parse(field, text)
    return bytes(data)


def show(param: Param, copy: bytes) -> str:
    """A param's value as an operator writes it."""
    return values.show(param.field, values.decode(param.field, copy))


def change(store: Store, record: Record, wanted: Mapping[str, str]) -> tuple[Record, bytes, bytes]:
    """Set params in the kernel and in the record, or neither; the record then, and the copies of
    the params before and after."""
    from nfc.kernel.params import read_params, write_params

    with params_map(record) as opened, transaction() as on_failure:
        before = read_params(opened)
        after = apply(before, record.manifest, wanted)
        if after != before:
            on_failure(lambda: write_params(opened, before))
            write_params(opened, after)
        settings = {**record.settings, **wanted}
        if settings != record.settings:
            record = replace(record, settings=settings)
            store.write(record)
    return record, before, after


def set_params(name: str, netns: str | None, settings: Mapping[str, str]) -> list[str]:
    """Set params of a deployed function, all at once; returns what to tell the operator."""
    with open_store() as store:
        recover_all(store)
        record = select_one(store, name, netns)
        # Names and values first, the kernel after.
        apply(bytes(record.manifest.params_size), record.manifest, settings)
        record, before, after = change(store, record, settings)
    lines = []
    for param in record.manifest.params:
        if param.field.name in settings:
            old, new = show(param, before), show(param, after)
            lines.append(
                f"{param.field.name} = {new}" + (f" (was {old})" if old != new else " (as it was)")
            )
    return lines
