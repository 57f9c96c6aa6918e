"""Putting functions onto routes and taking them off, so that nothing is ever half done.

The steps of a deployment, and what a kill after each leaves:

1. compile, check, load: held by this process alone; nothing is left.
2. pin program and maps under the new generation: pins that nothing uses; the next command on
   this function removes them.
3. write the pending record: as before.
4. replace the route, in one netlink message: the old function, or the new one. From here on the
   route's program name says that the new generation is in force.
5. make the pending record the record, remove the old generation's pins: the next command does it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfc.deploy import settings as params
from nfc.deploy.places import PROGRAM, folder, generation, params_map, pin_names, remove_empty
from nfc.deploy.recovery import (
    installed,
    recover,
    recover_all,
    remove_generation,
    routes_there,
    sweep,
)
from nfc.deploy.select import select, select_one
from nfc.deploy.state import HERE, Record, Store, open_store
from nfc.deploy.transaction import transaction
from nfc.errors import KernelError, NfcError, UsageError
from nfc.manifest import PARAMS_ACTIVE_SIZE, PARAMS_SECTION, Manifest
from nfc.syntax.diagnostics import Diagnostic

if TYPE_CHECKING:
    from nfc.bpf.object import DataSection, Object
    from nfc.kernel.loader import LoadedProgram
    from nfc.kernel.route import Route

GENERATION_DIGITS = 16


@dataclass(frozen=True)
class Request:
    """What `nfc deploy` was asked for; None where the command line says nothing."""

    file: Path
    prefix: str
    dev: str
    function: str | None = None
    name: str | None = None
    table: str = "main"
    via: str | None = None
    metric: int | None = None
    netns: str | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    kernel: str | None = None
    force: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a deployment did: `change` is `deployed`, `replaced`, `set` (params only) or
    `unchanged`; `notes` is what else the operator should know."""

    record: Record
    change: str
    notes: tuple[str, ...] = ()
    warnings: tuple[Diagnostic, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The outcome as a JSON-ready object."""
        return {
            "ok": True,
            "name": self.record.name,
            "change": self.change,
            "generation": self.record.generation,
            "netns": None if self.record.netns == HERE else self.record.netns,
            "route": self.record.route,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """What to tell the operator."""
        record = self.record
        where = "" if record.netns == HERE else f" in {record.netns}"
        what = {
            "deployed": f"{record.name} now runs on {record.route_text}{where}",
            "replaced": f"{record.name} on {record.route_text}{where} is replaced "
            f"by generation {record.generation}",
            "set": f"{record.name} runs already; its params are set",
            "unchanged": f"{record.name} runs already on {record.route_text}{where}: "
            "nothing changed",
        }[self.change]
        return "\n".join([what, *(f"  {note}" for note in self.notes)])


# ---- deploy ---------------------------------------------------------------------------------


def deploy(request: Request) -> Outcome:
    """Compile, check, load, pin, and replace the route. Raises NfcError; then all is as it was."""
    from nfc.bpf.reader import read_object
    from nfc.compiler import compile_file
    from nfc.kernel.route import parse_prefix

    prefix = str(parse_prefix(request.prefix))
    compilation = compile_file(request.file, request.kernel or running_kernel())
    compiled = compilation.function(request.function)
    manifest = compiled.manifest
    name = request.name or manifest.function
    _check_name(name)
    params.apply(bytes(manifest.params_size), manifest, request.settings)
    data = compilation.object([compiled])
    route = {
        "prefix": prefix,
        "dev": request.dev,
        "table": request.table,
        "via": request.via,
        "metric": request.metric,
    }
    record = Record(
        name=name,
        netns=request.netns or HERE,
        generation=_generation(data, manifest, route),
        source=str(request.file),
        route=route,
        previous=[],
        settings=dict(request.settings),
        manifest=manifest,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
        forced=request.force,
    )
    with open_store() as store:
        recover(store, record.netns, name)
        old = store.read(record.netns, name)
        if old is not None and _same_place(old, record) and installed(old) == record.tag:
            return _already(store, old, request.settings, compilation.warnings)
        obj = read_object(data)
        notes = _checked(obj, manifest, request)
        record = _place(store, record, old, obj, notes)
    change = "replaced" if old is not None else "deployed"
    return Outcome(record, change, tuple(notes), compilation.warnings)


def running_kernel() -> str:
    """The running kernel's version."""
    return os.uname().release


def _check_name(name: str) -> None:
    if not (0 < len(name) <= 64 and all(c.isalnum() or c in "_-" for c in name)):
        raise UsageError(f"'{name}' cannot be a name", hint="letters, digits, _ and -, at most 64")


def _generation(data: bytes, manifest: Manifest, route: Mapping[str, object]) -> str:
    """A name for a program: the same for the same object on the same route."""
    digest = hashlib.sha256(data)
    digest.update(repr((manifest, sorted(route.items(), key=lambda item: item[0]))).encode())
    return digest.hexdigest()[:GENERATION_DIGITS]


def _same_place(old: Record, new: Record) -> bool:
    if old.route == new.route:
        return True
    if (old.route.get("prefix"), old.route.get("table")) != (
        new.route["prefix"],
        new.route["table"],
    ):
        raise UsageError(
            f"{old.name} is deployed on {old.route_text} already",
            hint="undeploy it first, or give this one another --name",
        )
    return False


def _already(
    store: Store, record: Record, wanted: Mapping[str, str], warnings: tuple[Diagnostic, ...]
) -> Outcome:
    """The program is there; set what is asked to be set."""
    from nfc.kernel.params import read_params, write_params

    if not wanted:
        return Outcome(record, "unchanged", (), warnings)
    with params_map(record) as opened:
        before = read_params(opened)
        after = params.apply(before, record.manifest, wanted)
        if after != before:
            write_params(opened, after)
    merged = {**record.settings, **wanted}
    if merged != record.settings:
        record = replace(record, settings=merged)
        store.write(record)
    if after == before:
        return Outcome(record, "unchanged", (), warnings)
    notes = tuple(f"{name} = {value}" for name, value in wanted.items())
    return Outcome(record, "set", notes, warnings)


def _checked(obj: Object, manifest: Manifest, request: Request) -> list[str]:
    """The check that runs before every insertion. Raises NfcError unless forced."""
    from nfc.verify.checks import check_object

    report = check_object(obj, manifest.function, manifest.hook, running_kernel())
    if report.ok:
        return []
    if not request.force:
        raise NfcError(
            f"the check refuses {manifest.function}:\n{report}",
            hint="--force deploys it all the same, if the kernel takes it",
        )
    return [f"forced past the check: {violation.message}" for violation in report.violations]


def _place(
    store: Store, record: Record, old: Record | None, obj: Object, notes: list[str]
) -> Record:
    """Steps 1 to 5 of the module's text."""
    from nfc.kernel import pins, routes
    from nfc.kernel.encap import RouteProgram
    from nfc.kernel.loader import load

    _refuse_shared_route(record)
    record = _with_kept_settings(record, old, notes)
    obj = _with_params(obj, record)
    pins.ensure_mounted()
    with (
        transaction() as on_failure,
        load(obj, record.manifest.function, hook=record.manifest.hook) as loaded,
    ):
        on_failure(lambda: remove_generation(record))
        _pin_all(record, loaded)
        netns = record.namespace
        there = routes_there(record)
        still = old is not None and installed(old) == old.tag
        previous = old.previous if old and still else [r.to_json() for r in there]
        record = replace(record, previous=previous)
        on_failure(lambda: store.remove(record.netns, record.name, next_=True))
        store.write_next(record)
        on_failure(lambda: _restore(record, there, old))
        routes.replace_route(
            record.route["prefix"],
            [RouteProgram(record.manifest.hook, loaded.fd, record.tag)],
            table=record.route["table"],
            netns=netns,
            metric=record.route["metric"],
            gateway=record.route["via"],
            dev=record.route["dev"],
        )
        store.commit(record)
    sweep(record)
    return record


def _refuse_shared_route(record: Record) -> None:
    """A route has one function of ours: replacing it would take the other one off."""
    for route in routes_there(record):
        for program in route.programs:
            ours = program.tag.startswith(f"nfc:{record.name}:")
            if program.tag.startswith("nfc:") and not ours:
                other = program.tag.split(":")[1]
                raise NfcError(
                    f"the route to {record.route['prefix']} runs {other} already",
                    hint=f"'nfc undeploy {other}' takes it off",
                )


def _with_kept_settings(record: Record, old: Record | None, notes: list[str]) -> Record:
    """Settings of the program that is replaced stay in force, where they still fit."""
    if old is None:
        return record
    settings = dict(record.settings)
    for name, value in old.settings.items():
        if name in settings:
            continue
        with contextlib.suppress(UsageError):
            params.apply(bytes(record.manifest.params_size), record.manifest, {name: value})
            settings[name] = value
            notes.append(f"kept {name} = {value}")
    return replace(record, settings=settings)


def _with_params(obj: Object, record: Record) -> Object:
    """The object with the record's settings as its params, in both copies."""
    if not record.manifest.params:
        return obj
    size = record.manifest.params_size

    def filled(section: DataSection) -> DataSection:
        if section.name != PARAMS_SECTION:
            return section
        head = section.content[:PARAMS_ACTIVE_SIZE]
        copy = section.content[PARAMS_ACTIVE_SIZE : PARAMS_ACTIVE_SIZE + size]
        copy = params.apply(copy, record.manifest, record.settings)
        return replace(section, content=head + copy + copy)

    return replace(obj, data=tuple(filled(section) for section in obj.data))


def _pin_all(record: Record, loaded: LoadedProgram) -> None:
    from nfc.kernel import pins

    place = generation(record)
    pins.pin(loaded.fd, place / PROGRAM, replace=True)
    for name, pinned in pin_names(record).items():
        pins.pin(loaded.maps[name].fd, place / pinned, replace=True)


def _restore(record: Record, there: tuple[Route, ...], old: Record | None = None) -> None:
    """If the record's program is on the route: put back the route that stood there (with the
    program of `old`, if it had that), or remove ours if none did."""
    from nfc.kernel import pins, routes
    from nfc.kernel.encap import RouteProgram

    netns = record.namespace
    for route in routes_there(record):
        if not any(p.tag == record.tag for p in route.programs):
            continue
        if not there:
            routes.delete_route(route, netns=netns)
        elif old is not None and there[0].programs:
            with pins.open_pinned(generation(old) / PROGRAM) as program:
                again = RouteProgram(old.manifest.hook, program, old.tag)
                routes.put_route(there[0], [again], netns=netns)
        else:
            routes.put_route(there[0], netns=netns)


# ---- undeploy -------------------------------------------------------------------------------


def undeploy(names: list[str], netns: str | None, *, all_: bool = False) -> list[str]:
    """Take functions off their routes; returns what to tell the operator."""
    with open_store() as store:
        recover_all(store)
        if all_:
            records = select(store, [], netns)
        else:
            records = [select_one(store, name, netns) for name in dict.fromkeys(names)]
        return [_undeploy(store, record) for record in records]


def _undeploy(store: Store, record: Record) -> str:
    from nfc.kernel.route import Route

    try:
        tag = installed(record)
        if tag == record.tag:
            _restore(record, tuple(Route.from_json(r) for r in record.previous))
            after = (
                "the route that was there before is back" if record.previous else "route removed"
            )
        else:
            after = "it was not on its route any more; the route is left as it is"
    except KernelError as error:
        if _exists(record.netns):
            raise
        after = f"its namespace is gone ({error.message})"
    shutil.rmtree(folder(record.netns, record.name), ignore_errors=True)
    remove_empty(record.netns, record.name)
    store.remove(record.netns, record.name)
    where = "" if record.netns == HERE else f" in {record.netns}"
    return f"{record.name} off {record.route_text}{where}: {after}"


def _exists(netns: str) -> bool:
    from nfc.kernel.netns import names

    return netns == HERE or netns in names()
