"""A lab's file (TOML): nodes, links, routes, functions, services, captures, steps; every key is in
a table here. docs/labs.md is its description."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv6Interface
from pathlib import Path
from typing import Any, Final

from nfc import config, schema
from nfc.config import Check, Wrong, fits
from nfc.lab.shape import Shape
from nfc.schema import Schema
from nfc.syntax.diagnostics import nearest


@dataclass(frozen=True)
class Node:
    """A namespace. `addresses` lie on its loopback; `tunsrc` is the source of outer headers."""

    name: str
    forwarding: bool = True
    addresses: tuple[IPv6Interface, ...] = ()
    tunsrc: str | None = None
    sysctl: dict[str, str] = field(default_factory=dict)
    at: tuple[float, float] | None = None  # column and row in the picture


@dataclass(frozen=True)
class Port:
    """One end of a link."""

    node: str
    interface: str


@dataclass(frozen=True)
class Link:
    """Two ends with their addresses, and how each direction is shaped (first end to second, and
    back); None where a veth pair alone will do. `mtu` in bytes."""

    name: str
    ends: tuple[Port, Port]
    addresses: tuple[IPv6Interface, IPv6Interface]
    there: Shape
    back: Shape
    wire: bool
    mtu: int = 1500


@dataclass(frozen=True)
class Hop:
    """A next hop."""

    via: str | None = None
    dev: str | None = None
    weight: int = 1


@dataclass(frozen=True)
class Route:
    """A route: one or several next hops, and what the kernel's SRv6 does on it."""

    node: str
    to: str
    hops: tuple[Hop, ...] = ()
    table: int = 254
    metric: int | None = None
    seg6: dict[str, Any] | None = None
    seg6local: dict[str, str] | None = None


@dataclass(frozen=True)
class Function:
    """A function out of an .nf file on a route of a node."""

    node: str
    file: Path
    route: str
    dev: str
    function: str | None = None
    name: str | None = None
    via: str | None = None
    table: str = "main"
    metric: int | None = None
    set: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Service:
    """A command that runs in a node for as long as the lab stands."""

    node: str
    run: str
    name: str


@dataclass(frozen=True)
class Capture:
    """All that an interface sees while the steps run, into a pcap file."""

    node: str
    interface: str
    file: str


@dataclass(frozen=True)
class Step:
    """One thing that `nfc lab run` does; `kind` is a key of STEPS, `values` what it takes."""

    name: str
    kind: str
    values: dict[str, Any]


@dataclass(frozen=True)
class Topology:
    """A whole file, config."""

    name: str
    file: Path
    nodes: dict[str, Node]
    links: tuple[Link, ...] = ()
    routes: tuple[Route, ...] = ()
    functions: tuple[Function, ...] = ()
    services: tuple[Service, ...] = ()
    captures: tuple[Capture, ...] = ()
    steps: tuple[Step, ...] = ()


_MEANT_ENDS: Final = 'two ends, such as ["a", "b"] or ["a:eth1", "b:wan"]'


@fits(
    type="array",
    items={"type": "string"},
    minItems=2,
    maxItems=2,
    description=_MEANT_ENDS,
)
def _ends(value: object) -> tuple[tuple[str, str | None], ...]:
    if not isinstance(value, list) or len(value) != 2 or not all(isinstance(v, str) for v in value):
        raise ValueError(_MEANT_ENDS)
    parts = [one.partition(":") for one in value]
    return tuple(
        (config.name(node), config.interface(interface) if colon else None)
        for node, colon, interface in parts
    )


NODE: Final[dict[str, Check[Any]]] = {
    "forwarding": config.boolean,
    "addresses": config.list_of(config.interface_address),
    "tunsrc": config.address,
    "sysctl": config.scalars,
    "at": config.list_of(config.number(0, 100), 2, 2),
}
SHAPE: Final[dict[str, Check[Any]]] = {
    "rate": config.rate,
    "burst": config.size,
    "queue": config.size,
    "delay": config.duration,
    "jitter": config.duration,
    "reorder": config.boolean,
    "loss": config.share,
    "seed": config.number(0, 2**32, whole=True),
    "down": config.boolean,
}
LINK: Final[dict[str, Check[Any]]] = {
    "name": config.name,
    "ends": _ends,
    "addresses": config.list_of(config.interface_address, 2, 2),
    "mtu": config.number(1280, 65_535, whole=True),
    **SHAPE,
    "wire": config.boolean,
    "back": config.anything,
}
HOP: Final[dict[str, Check[Any]]] = {
    "via": config.address,
    "dev": config.interface,
    "weight": config.number(1, 256, whole=True),
}
SEG6: Final[dict[str, Check[Any]]] = {
    "mode": config.one_of("encap", "inline"),
    "segs": config.list_of(config.address, 1, 16),
}
ROUTE: Final[dict[str, Check[Any]]] = {
    "node": config.name,
    "to": config.prefix,
    "via": config.address,
    "dev": config.interface,
    "hops": config.anything,
    "table": config.number(1, 2**32 - 1, whole=True),
    "metric": config.number(1, 2**32 - 1, whole=True),
    "seg6": config.anything,
    "seg6local": config.scalars,
}
FUNCTION: Final[dict[str, Check[Any]]] = {
    "node": config.name,
    "file": config.text,
    "function": config.text,
    "name": config.text,
    "route": config.prefix,
    "dev": config.interface,
    "via": config.address,
    "table": config.text,
    "metric": config.number(1, 2**32 - 1, whole=True),
    "set": config.scalars,
}
SERVICE: Final[dict[str, Check[Any]]] = {
    "node": config.name,
    "run": config.text,
    "name": config.name,
}
CAPTURE: Final[dict[str, Check[Any]]] = {
    "node": config.name,
    "interface": config.interface,
    "file": config.text,
}
_SECONDS: Final = config.number(0.01, 3600)
# What a step can be, with its keys; those in NEEDED have to be there.
STEPS: Final[dict[str, dict[str, Check[Any]]]] = {
    "run": {"node": config.name, "run": config.text, "timeout": _SECONDS},
    "ping": {
        "from": config.name,
        "to": config.address,
        "count": config.number(1, 1_000_000, whole=True),
        "rate": config.number(0.1, 100_000),
        "size": config.number(0, 60_000, whole=True),
    },
    "udp": {
        "from": config.name,
        "to": config.address,
        "node": config.name,
        "rate": config.rate,
        "size": config.number(16, 60_000, whole=True),
        "seconds": _SECONDS,
        "port": config.number(1, 65_535, whole=True),
    },
    "tcp": {
        "from": config.name,
        "to": config.address,
        "node": config.name,
        "connections": config.number(1, 256, whole=True),
        "seconds": _SECONDS,
        "port": config.number(1, 65_535, whole=True),
    },
    "set": {"node": config.name, "function": config.text, "set": config.scalars},
    "link": {"link": config.name, **SHAPE},
    "wait": {"seconds": _SECONDS},
}
NEEDED: Final = {
    "run": ("run",),
    "ping": ("from", "to"),
    "udp": ("from", "to", "node"),
    "tcp": ("from", "to", "node"),
    "set": ("node", "function", "set"),
    "link": ("link",),
    "wait": ("seconds",),
}
_NEEDED: Final = {
    "link": ("ends", "addresses"),
    "route": ("node", "to"),
    "function": ("node", "file", "route", "dev"),
    "service": ("node", "run"),
    "capture": ("node", "interface", "file"),
}
_TOP: Final = ("name", "node", "link", "route", "function", "service", "capture", "step")


def _step(kind: str) -> Schema:
    """One of that kind; a command needs no `do`."""
    needed = NEEDED[kind] + (() if kind == "run" else ("do",))
    return schema.table(STEPS[kind] | {"name": config.text}, needed, do={"const": kind})


SCHEMA: Final = schema.document(
    "nfc lab",
    schema.table(
        {"name": config.name},
        ("node",),
        node={
            "type": "object",
            "additionalProperties": schema.table(NODE),
            "propertyNames": config.name.schema,
            "minProperties": 1,
        },
        link=schema.tables(schema.table(LINK, _NEEDED["link"], back=schema.table(SHAPE))),
        route=schema.tables(
            schema.table(
                ROUTE,
                _NEEDED["route"],
                hops=schema.tables(schema.table(HOP), 2),
                seg6=schema.table(SEG6, ("segs",)),
            )
        ),
        function=schema.tables(schema.table(FUNCTION, _NEEDED["function"])),
        service=schema.tables(schema.table(SERVICE, _NEEDED["service"])),
        capture=schema.tables(schema.table(CAPTURE, _NEEDED["capture"])),
        step=schema.tables({"anyOf": [_step(kind) for kind in STEPS]}),
    ),
)


def read(file: Path) -> Topology:
    """The topology in a file. Raises NfcError with the file and the key."""
    return parse(config.read(file), file)


def parse(text: str, file: Path) -> Topology:
    """The topology in a text; paths in it are seen from the file's folder. Raises NfcError."""
    found = config.parse(text, str(file))
    for key in found:
        if key not in _TOP:
            hint = nearest(key, _TOP) or f"there are: {', '.join(_TOP)}"
            raise Wrong(f"{file}: {key[:64]}: there is no such key", hint=hint)
    return _Reader(file).topology(found)


class _Reader:
    """Goes through one file; knows its name and nodes."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.nodes: dict[str, Node] = {}
        self.interfaces: dict[str, list[str]] = {}

    def topology(self, found: dict[str, Any]) -> Topology:
        name = found.get("name", self.file.stem)
        config.table({"name": name}, {"name": config.name}, f"{self.file}:")
        nodes = found.get("node", {})
        if not isinstance(nodes, dict) or not nodes:
            raise Wrong(f"{self.file}: a lab has nodes, written as [node.NAME]")
        for key, value in nodes.items():
            where = f"{self.file}: node.{key[:64]}"
            try:
                config.name(key)
            except ValueError as error:
                raise Wrong(f"{where} must be {error}") from None
            self.nodes[key] = Node(key, **config.table(value, NODE, where))
            self.interfaces[key] = ["lo"]
        links = tuple(self.links(self.tables(found, "link")))
        return Topology(
            name=name,
            file=self.file,
            nodes=self.nodes,
            links=links,
            routes=tuple(self.route(*one) for one in self.tables(found, "route")),
            functions=tuple(self.function(*one) for one in self.tables(found, "function")),
            services=self.services(found),
            captures=self.captures(found),
            steps=tuple(self.step(links, *one) for one in self.tables(found, "step")),
        )

    def tables(self, found: dict[str, Any], key: str) -> list[tuple[object, str]]:
        given = found.get(key, [])
        if not isinstance(given, list):
            raise Wrong(f"{self.file}: {key}: written as [[{key}]]")
        return [(one, f"{self.file}: {key}[{n}]") for n, one in enumerate(given, start=1)]

    def known(self, node: str, where: str) -> str:
        if node not in self.nodes:
            hint = nearest(node, self.nodes) or f"there are: {', '.join(self.nodes)}"
            raise Wrong(f"{where}: there is no node '{node}'", hint=hint)
        return node

    def device(self, node: str, interface: str | None, where: str) -> str | None:
        names = self.interfaces[node]
        if interface is not None and interface not in names:
            hint = nearest(interface, names) or f"there are: {', '.join(names)}"
            raise Wrong(f"{where}: {node} has no interface '{interface}'", hint=hint)
        return interface

    def links(self, given: list[tuple[object, str]]) -> Iterable[Link]:
        names: set[str] = set()
        for number, (one, where) in enumerate(given, start=1):
            values = config.table(one, LINK, where, _NEEDED["link"])
            ends = []
            for node, asked in values["ends"]:
                self.known(node, f"{where}.ends")
                taken = self.interfaces[node]
                interface = asked or next(
                    free for n in range(len(taken) + 1) if (free := f"eth{n}") not in taken
                )
                if interface in taken:
                    raise Wrong(f"{where}.ends: {node} has an interface '{interface}' already")
                taken.append(interface)
                ends.append(Port(node, interface))
            shape = {key: values[key] for key in SHAPE if key in values}
            back = config.table(values.get("back", {}), SHAPE, f"{where}.back")
            name = values.get("name", f"link{number}")
            if name in names:
                raise Wrong(f"{where}.name: there is a link '{name}' already")
            names.add(name)
            ours, theirs = values["addresses"]
            if ours == theirs:
                raise Wrong(f"{where}.addresses: both ends have {ours}")
            yield Link(
                name=name,
                ends=(ends[0], ends[1]),
                addresses=values["addresses"],
                there=Shape(**shape),
                back=Shape(**{"seed": shape.get("seed", 0) + 1, **_without_seed(shape), **back}),
                wire=values.get("wire", bool(shape or back)),
                mtu=values.get("mtu", 1500),
            )

    def route(self, one: object, where: str) -> Route:
        values = config.table(one, ROUTE, where, _NEEDED["route"])
        node = self.known(values["node"], f"{where}.node")
        hops = values.pop("hops", None)
        single = {key: values.pop(key) for key in ("via", "dev") if key in values}
        if hops is not None and (single or not isinstance(hops, list) or len(hops) < 2):
            raise Wrong(f"{where}.hops must be a list of two or more, instead of via and dev")
        given = hops if hops is not None else [single] if single else []
        made = []
        for n, hop in enumerate(given, start=1):
            at = f"{where}.hops[{n}]" if hops is not None else where
            made.append(Hop(**config.table(hop, HOP, at)))
            self.device(node, made[-1].dev, f"{at}.dev")
            if made[-1] == Hop():
                raise Wrong(f"{at} has neither via nor dev")
        if "seg6" in values:
            at = f"{where}.seg6"
            values["seg6"] = {
                "mode": "encap",
                **config.table(values["seg6"], SEG6, at, ("segs",)),
            }
            if "seg6local" in values:
                raise Wrong(f"{where} has both seg6 and seg6local")
        if not made:
            raise Wrong(f"{where} has neither via, dev nor hops")
        return Route(**values, hops=tuple(made))

    def function(self, one: object, where: str) -> Function:
        values = config.table(one, FUNCTION, where, _NEEDED["function"])
        self.device(self.known(values["node"], f"{where}.node"), values["dev"], f"{where}.dev")
        values["file"] = self.nf(values["file"], where)
        return Function(**values)

    def nf(self, text: str, where: str) -> Path:
        """A file beside this one, else of the standard library (as `use` looks)."""
        from nfc.resources import data_dir

        places = (self.file.parent / text, data_dir("stdlib") / text)
        for path in places:
            if path.is_file():
                return path.resolve()
        beside = [
            p.name for p in (*places[0].parent.glob("*.nf"), *data_dir("stdlib").glob("*.nf"))
        ]
        raise Wrong(f"{where}.file: there is no {text}", hint=nearest(text, beside))

    def services(self, found: dict[str, Any]) -> tuple[Service, ...]:
        made: list[Service] = []
        for number, (one, where) in enumerate(self.tables(found, "service"), start=1):
            values = config.table(one, SERVICE, where, _NEEDED["service"])
            self.known(values["node"], f"{where}.node")
            service = Service(**{"name": f"service{number}", **values})
            if any(other.name == service.name for other in made):
                raise Wrong(f"{where}.name: there is a service '{service.name}' already")
            made.append(service)
        return tuple(made)

    def captures(self, found: dict[str, Any]) -> tuple[Capture, ...]:
        made: list[Capture] = []
        for one, where in self.tables(found, "capture"):
            capture = self.capture(one, where)
            if any(other.file == capture.file for other in made):
                raise Wrong(f"{where}.file: another capture goes into {capture.file}")
            made.append(capture)
        return tuple(made)

    def capture(self, one: object, where: str) -> Capture:
        values = config.table(one, CAPTURE, where, _NEEDED["capture"])
        node = self.known(values["node"], f"{where}.node")
        self.device(node, values["interface"], f"{where}.interface")
        if Path(values["file"]).name != values["file"]:
            raise Wrong(f"{where}.file must be a name alone: it goes into the folder of results")
        return Capture(**values)

    def step(self, links: tuple[Link, ...], one: object, where: str) -> Step:
        if not isinstance(one, dict):
            raise Wrong(f"{where} must be a table")
        given = dict(one)
        name = given.pop("name", None)
        if name is not None:
            config.table({"name": name}, {"name": config.text}, where)
        kind = given.pop("do", "run" if "run" in given else None)
        if not isinstance(kind, str) or kind not in STEPS:
            hint = nearest(str(kind), STEPS) or f"there are: {', '.join(STEPS)}"
            raise Wrong(f"{where}.do: there is no step '{kind}'", hint=hint)
        values = config.table(given, STEPS[kind], where, NEEDED[kind])
        for key in ("node", "from"):
            if key in values:
                self.known(values[key], f"{where}.{key}")
        if "link" in values and values["link"] not in (names := [link.name for link in links]):
            hint = nearest(values["link"], names) or f"there are: {', '.join(names)}"
            raise Wrong(f"{where}.link: there is no link '{values['link']}'", hint=hint)
        if "link" in values and not next(one.wire for one in links if one.name == values["link"]):
            raise Wrong(
                f"{where}.link: '{values['link']}' has no wire, which could change it",
                hint="give the link a delay, a rate or a loss, or wire = true",
            )
        return Step(name or kind, kind, values)


def _without_seed(shape: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in shape.items() if key != "seed"}
