"""Putting functions onto routes and taking them off, so that nothing is ever half done.

The steps of a deployment, and what a kill after each leaves:

1. compile, check, load: held by this process alone; nothing is left.
2. write the pending record, under a generation of its own: the next command removes it.
3. pin program and maps under that generation: the next command removes them too.
4. replace the route, in one netlink message: the old function, or the new one. From here on the
   route's program name says that the new generation is in force.
5. make the pending record the record, remove the old generation's pins: the next command does it.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfc.bpf.version import KernelVersion
from nfc.deploy import bpffs, namespaces
from nfc.deploy import settings as params
from nfc.deploy.places import PROGRAM, folder, generation, pin_names, remove_empty
from nfc.deploy.recovery import (
    installed,
    recover,
    recover_all,
    remove_generation,
    retire,
    routes_there,
    sweep,
)
from nfc.deploy.select import find, place_for, select_all, select_one
from nfc.deploy.state import DEFAULT_METRIC, NAME, Record, Store, check_netns, open_store
from nfc.deploy.tables import shared
from nfc.deploy.transaction import transaction
from nfc.errors import KernelError, NfcError, PrivilegeError, UsageError
from nfc.manifest import PARAMS_ACTIVE_SIZE, PARAMS_SECTION, Manifest
from nfc.syntax.diagnostics import Diagnostic

if TYPE_CHECKING:
    from nfc.bpf.object import DataSection, Object
    from nfc.kernel.encap import RouteProgram
    from nfc.kernel.loader import LoadedProgram
    from nfc.kernel.route import Route

GENERATION_DIGITS = 16
_GROUPS = IPv6Network("ff00::/8")  # RFC 4291, section 2.7


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
            "netns": self.record.place,
            "route": self.record.route,
            "notes": list(self.notes),
        }

    def __str__(self) -> str:
        """What to tell the operator."""
        record = self.record
        where = "" if record.place is None else f" in {record.place}"
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
    from nfc.kernel.tables import MAIN, table_id

    prefix = str(parse_prefix(request.prefix))
    check_netns(request.netns)
    kernel = request.kernel or running_kernel()
    compilation = compile_file(request.file, kernel, request.function)
    compiled = compilation.function(request.function)
    manifest = compiled.manifest
    _check_sid(prefix, manifest)
    name = request.name or manifest.function
    _check_name(name)
    params.apply(bytes(manifest.params_size), manifest, request.settings)
    data = compilation.object([compiled])
    route = {
        "prefix": prefix,
        "dev": request.dev,
        "table": "main" if table_id(request.table) == MAIN else request.table,
        "via": request.via,
        "metric": request.metric,
    }
    _check_privileges()
    record = Record(
        name=name,
        netns="",  # known once others do not change it
        generation=_generation(data, manifest, route),
        source=os.path.abspath(request.file),
        route=route,
        previous=[],
        settings=dict(request.settings),
        manifest=manifest,
        since=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    with open_store() as store:
        store.clean()
        record = replace(record, netns=place_for(store, request.netns))
        recover(store, record.netns, name)
        old = find(store, name, request.netns)
        if old is not None and old.netns != record.netns:
            recover(store, old.netns, name)  # a record of an earlier nfc
            old = store.read(old.netns, name)
        record = _at_its_place(record, old)
        if old is not None and _same_program(old, record) and installed(old) == old.tag:
            return _already(store, old, request.settings, compilation.warnings)
        obj = read_object(data)
        notes = _checked(obj, manifest, request)
        record = _place(store, replace(record, forced=bool(notes)), old, obj, notes)
        _forget_gone(store, record, notes)
    change = "replaced" if old is not None else "deployed"
    return Outcome(record, change, tuple(notes), compilation.warnings)


def running_kernel() -> str:
    """The running kernel's version."""
    return str(KernelVersion.running())


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot be a name",
            hint="letters, digits, _ and -, at most 64, and no - at the beginning",
        )


def _check_sid(prefix: str, manifest: Manifest) -> None:
    """A route with an endpoint is a SID, and no group is one (RFC 8200, section 4.4); besides, the
    table `local`, where groups are found, is looked up first."""
    network = IPv6Network(prefix)
    if manifest.hook == "endpoint" and network.subnet_of(_GROUPS):
        raise UsageError(
            f"{manifest.function} is an endpoint, and no packet is led over {prefix}: groups "
            "are no segments",
            hint="give it a unicast address of this router as its --route",
        )


def _check_privileges() -> None:
    """Before anything is tried, so that the operator hears of all that is missing at once."""
    from nfc.kernel import capabilities

    lacking = capabilities.missing(("CAP_BPF", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"))
    if lacking:
        raise PrivilegeError(
            f"no permission to deploy: {', '.join(lacking)} missing", hint="run it as root"
        )


def _generation(data: bytes, manifest: Manifest, route: Mapping[str, object]) -> str:
    """A name for a program: the same for the same object on the same route. The metric is part
    of the place (see `_at_its_place`), and need not be said again."""
    asked = sorted((k, v) for k, v in route.items() if k != "metric")
    digest = hashlib.sha256(data)
    digest.update(repr((manifest, asked)).encode())
    return digest.hexdigest()[:GENERATION_DIGITS]


def _same_program(old: Record, new: Record) -> bool:
    """Whether `old` was made of the same; its generation may have a number (`_unused`)."""
    return old.generation.partition("-")[0] == new.generation


def _at_its_place(record: Record, old: Record | None) -> Record:
    """The record with its route's metric: as asked for, as `old` has it, or as the route that is
    there. Raises UsageError if `old` is on another route."""
    from nfc.kernel.tables import table_id

    asked = record.route["metric"]
    if old is None:
        there = routes_there(record)
        metric = asked or (there[0].metric if there else DEFAULT_METRIC)
    else:
        metric = asked or old.route["metric"] or DEFAULT_METRIC
        same = (
            old.route["prefix"] == record.route["prefix"]
            and table_id(old.route["table"]) == table_id(record.route["table"])
            and (old.route["metric"] or DEFAULT_METRIC) == metric
        )
        if not same:
            raise UsageError(
                f"{old.name} is deployed on {old.route_text} already",
                hint="undeploy it first, or give this one another --name",
            )
    return replace(record, route={**record.route, "metric": metric})


def _unused(record: Record) -> Record:
    """The record under a generation that has no pins: those of the same program, which somebody
    took off its route, stay as they are until the new ones are in force."""
    number, found = 1, record
    while generation(found).exists():
        number += 1
        found = replace(record, generation=f"{record.generation}-{number}")
    return found


def _already(
    store: Store, record: Record, wanted: Mapping[str, str], warnings: tuple[Diagnostic, ...]
) -> Outcome:
    """The program is there; set what is asked to be set."""
    if not wanted:
        return Outcome(record, "unchanged", (), warnings)
    record, before, after = params.change(store, record, wanted)
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
    from nfc.kernel import routes
    from nfc.kernel.encap import RouteProgram
    from nfc.kernel.loader import load

    there = routes_there(record)
    _refuse_other_programs(record, there)
    record = _with_kept_settings(record, old, notes)
    obj = _with_params(obj, record)
    bpffs.ensure_mounted()
    record = replace(_unused(record), previous=_previous(record, old, there, notes))
    if old is not None and old.netns != record.netns:
        record = replace(record, replaces=old.netns)
    with (
        _held(old or record, there) as held,  # first, so that it outlives what is undone
        transaction() as on_failure,
        shared(store, record, old, notes) as maps,
        load(obj, record.manifest.function, hook=record.manifest.hook, reuse_maps=maps) as loaded,
    ):
        on_failure(lambda: store.remove(record.netns, record.name, next_=True))
        store.write_next(record)
        on_failure(lambda: remove_generation(record))
        _pin_all(record, loaded)
        on_failure(lambda: _restore(record, there, held))
        routes.replace_route(
            record.route["prefix"],
            [RouteProgram(record.manifest.hook, loaded.fd, record.tag)],
            table=record.route["table"],
            netns=record.namespace,
            metric=record.route["metric"],
            gateway=record.route["via"],
            dev=_device(record, there),
        )
        store.commit(record)
    record = retire(store, record)
    sweep(record)
    return record


def _forget_gone(store: Store, record: Record, notes: list[str]) -> None:
    """Remove what is left of this function in namespaces that had the same name and are gone."""
    called = namespaces.split(record.netns)[0]
    for place, name in store.names():
        same = (namespaces.split(place)[0], name) == (called, record.name)
        if same and place != record.netns and namespaces.gone(place):
            _forget(store, place, name)
            notes.append("what an earlier namespace of that name had of it is removed")


def _forget(store: Store, place: str, name: str) -> None:
    shutil.rmtree(folder(place, name), ignore_errors=True)
    remove_empty(place, name)
    store.forget(place, name)


def _refuse_other_programs(record: Record, there: tuple[Route, ...]) -> None:
    """A route has one function: replacing it would take the other one off, and nfc could put
    back only its own."""
    for route in there:
        for program in route.programs:
            _, _, rest = program.tag.partition("nfc:")
            other = rest.split(":")[0]
            if not other:
                raise NfcError(
                    f"the route to {record.route['prefix']} runs a program that is not nfc's: "
                    f"{program.tag}",
                    hint="'nfc undeploy' could not put it back; take it off the route first",
                )
            if other != record.name:
                raise NfcError(
                    f"the route to {record.route['prefix']} runs {other} already",
                    hint=f"'nfc undeploy {other}' takes it off",
                )


def _previous(
    record: Record, old: Record | None, there: tuple[Route, ...], notes: list[str]
) -> list[dict[str, Any]]:
    """What undeploying is to put back."""
    tags = [program.tag for route in there for program in route.programs]
    if not tags:
        return [route.to_json() for route in there]
    if old is not None and old.tag in tags:
        return old.previous
    # The program is ours, but its record is gone, and with it what stood there before.
    notes.append("what the route was before its record was lost is not known")
    if record.manifest.hook == "endpoint":
        return []
    return [there[0].settable().with_encap(()).to_json()]


@contextlib.contextmanager
def _held(record: Record, there: tuple[Route, ...]) -> Iterator[list[RouteProgram]]:
    """Programs of ours on the route, kept in the kernel so that they can be put back."""
    from nfc.kernel import pins
    from nfc.kernel.encap import RouteProgram

    with contextlib.ExitStack() as opened:
        held = []
        for program in (program for route in there for program in route.programs):
            place = folder(record.netns, record.name) / program.tag.rpartition(":")[2]
            with contextlib.suppress(KernelError):  # its pin is gone: there is no way back
                descriptor = opened.enter_context(pins.open_pinned(place / PROGRAM))
                held.append(RouteProgram(program.hook, descriptor, program.tag))
        yield held


def _device(record: Record, there: tuple[Route, ...]) -> str | None:
    """The device to put the route on; None leaves all next hops of the route as they are, if the
    device is that of one of them."""
    dev: str = record.route["dev"]
    keeps = record.route["via"] is None and any(dev in route.devices for route in there)
    return None if keeps else dev


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


def _restore(
    record: Record, there: tuple[Route, ...], programs: Sequence[RouteProgram] = ()
) -> None:
    """If the record's program is on the route: put back the route that stood there, with these
    programs, or remove ours if none did."""
    from nfc.kernel import routes

    for route in routes_there(record):
        if not any(p.tag == record.tag for p in route.programs):
            continue
        if there:
            routes.put_route(there[0], programs, netns=record.namespace)
        else:
            routes.delete_route(route, netns=record.namespace)


# ---- undeploy -------------------------------------------------------------------------------


def undeploy(names: list[str], netns: str | None, *, all_: bool = False) -> list[str]:
    """Take functions off their routes; returns what to tell the operator.

    One that cannot be undeployed does not keep the others from it; raises its error, or the
    first of them, at the end.
    """
    done: list[str] = []
    errors: list[NfcError] = []
    with open_store() as store:
        recover_all(store)
        if all_:
            records, damaged = select_all(store, netns)
            errors += damaged
        else:
            records = [select_one(store, name, netns) for name in dict.fromkeys(names)]
        for record in records:
            try:
                done.append(_undeploy(store, record))
            except NfcError as error:
                errors.append(error)
    if errors:
        texts = ["; ".join(error.message for error in errors)]
        texts += ["undeployed all the same:", *done] if done else []
        raise NfcError("\n  ".join(texts), hint=errors[0].hint)
    return done


def _undeploy(store: Store, record: Record) -> str:
    from nfc.kernel.route import Route

    where = "" if record.place is None else f" in {record.place}"
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
        if not namespaces.gone(record.netns):
            raise
        after = f"its namespace is gone ({error.message})"
    _forget(store, record.netns, record.name)
    return f"{record.name} off {record.route_text}{where}: {after}"
