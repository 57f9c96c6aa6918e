"""JSON Schemas of configuration files: they take whatever the reader takes, and are of use."""

from __future__ import annotations

import copy
import importlib
import json
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfc import config, schema
from nfc.bond import config as bond
from nfc.delay import config as delay
from nfc.discovery import routers
from nfc.errors import NfcError
from nfc.lab import file as lab

Nfc = Callable[..., tuple[int, str, str]]

EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = {
    "bond": [EXAMPLES / "bond" / "cpe.toml", EXAMPLES / "bond" / "agg.toml"],
    "delay": [EXAMPLES / "delay" / "collector.toml"],
    "lab": [
        *(EXAMPLES / name / "topology.toml" for name in ("delay", "discovery")),
        EXAMPLES / "bond" / "bond.toml",
    ],
    "routers": [EXAMPLES / "discovery" / f"{name}.toml" for name in ("all", "half", "none")],
}
CHECKS = {
    f"{kind}.{number}.{key}": check
    for kind, groups in {
        "bond": (bond.KEYS, bond.LINK_KEYS),
        "delay": (delay.KEYS, delay.PATH_KEYS),
        "routers": (routers.KEYS,),
        "lab": (
            *(lab.NODE, lab.SHAPE, lab.LINK, lab.HOP, lab.SEG6, lab.ROUTE, lab.FUNCTION),
            *(lab.SERVICE, lab.CAPTURE, *lab.STEPS.values()),
        ),
    }.items()
    for number, keys in enumerate(groups)
    for key, check in keys.items()
}
WORDS = (
    *("50mbit", "1.5 GBIT", " 15ms", "0s", "64kB", "0.5%", "100%", "default", "fd00::/16", "::1"),
    *("fd00:1::1/64", "::ffff:1.2.3.4", "fe80::1%eth0", "a", "a:b", "eth0", "inline", "[::1]:47"),
    *("4739", "", " ", "\0", "١ms", "fd00::/064"),
)
scalars = st.one_of(
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.integers(-(1 << 40), 1 << 40),
    st.integers(0, 9),
    st.floats(),
    st.booleans(),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


def of(kind: str) -> Any:
    return importlib.import_module(schema.KINDS[kind][0])


@cache
def fits(kind: str) -> Callable[[object], object]:
    compiled: Callable[[object], object] = fastjsonschema.compile(of(kind).SCHEMA)
    return compiled


@cache
def one(name: str) -> Callable[[object], object]:
    compiled: Callable[[object], object] = fastjsonschema.compile(dict(CHECKS[name].schema))
    return compiled


def taken(document: Callable[[object], object], value: object) -> bool:
    try:
        document(value)
    except fastjsonschema.JsonSchemaValueException:
        return False
    return True


@pytest.mark.parametrize(("kind", "path"), [(k, p) for k, paths in FILES.items() for p in paths])
def test_the_examples_fit(kind: str, path: Path) -> None:
    document = tomllib.loads(path.read_text())
    assert taken(fits(kind), document)
    assert not taken(fits(kind), document | {"unknown": 1})


@given(st.sampled_from(sorted(CHECKS)), values, st.data())
@settings(max_examples=300)
def test_every_value_that_a_key_takes_fits(name: str, value: object, data: st.DataObject) -> None:
    check = CHECKS[name]
    if "pattern" in check.schema and data.draw(st.booleans()):
        value = data.draw(st.from_regex(check.schema["pattern"]))
    try:
        check(value)
    except ValueError:
        return
    assert taken(one(name), value)


@pytest.mark.parametrize("word", WORDS)
def test_whatever_takes_these_words_fits(word: str) -> None:
    for name, check in CHECKS.items():
        try:
            check(word)
        except ValueError:
            continue
        assert taken(one(name), word), name


@given(st.sampled_from(sorted(FILES)), st.data())
def test_every_file_that_is_taken_fits(kind: str, data: st.DataObject) -> None:
    path = data.draw(st.sampled_from(FILES[kind]))
    document = copy.deepcopy(tomllib.loads(path.read_text()))
    for _ in range(data.draw(st.integers(1, 3))):
        where, key = data.draw(st.sampled_from([*places(document), (document, "x")]))
        match data.draw(st.sampled_from(("value", "value", "remove", "add"))):
            case "value":
                where[key] = data.draw(values)
            case "remove":
                where.pop(key, None) if isinstance(where, dict) else where.pop(key)
            case "add" if isinstance(where, dict):
                where[data.draw(st.sampled_from(("name", "dev", "x", "seed")))] = data.draw(values)
    try:
        of(kind).parse(written(document), *([path] if kind == "lab" else [str(path)]))
    except NfcError:
        return
    assert taken(fits(kind), document)


def places(document: Any) -> Iterator[tuple[Any, Any]]:
    for key in document if isinstance(document, dict) else range(len(document)):
        yield document, key
        if isinstance(document[key], dict | list):
            yield from places(document[key])


def written(value: object) -> str:
    """A table as TOML, a line for each key."""
    assert isinstance(value, dict)
    return "".join(f"{_text(key)} = {_inline(one)}\n" for key, one in value.items())


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _inline(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(k)} = {_inline(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    return _text(value) if isinstance(value, str) else repr(value)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("bond", 'function = "f"\n'),
        ("bond", "function = 1\nlink = []\n"),
        ("delay", 'listen = "here"\n'),
        ("delay", '[[path]]\nname = "a"\n'),
        ("delay", "step = 0\n"),
        ("routers", '[[router]]\nname = "r"\naddresses = []\n'),
        ("lab", '[node.a]\ntunsrc = "fd00"\nloss = 1\n'),
        ("lab", '[node."a b"]\n'),
        ("lab", '[node.a]\n[[step]]\ndo = "pong"\n'),
        ("lab", '[node.a]\n[[step]]\ndo = "ping"\nfrom = "a"\n'),
        ("lab", '[node.a]\n[[link]]\nends = ["a"]\naddresses = ["::1/64", "::2/64"]\n'),
        ("lab", '[node.a]\n[[link]]\nends = ["a", "a"]\naddresses = ["::1", "::2"]\n'),
        ("lab", '[node.a]\n[[link]]\nends = ["a", "a"]\naddresses = []\nback = { rat = 1 }\n'),
    ],
)
def test_what_is_wrong_by_itself_does_not_fit(kind: str, text: str) -> None:
    with pytest.raises(NfcError):
        of(kind).parse(text, *([EXAMPLES / "x.toml"] if kind == "lab" else ["x.toml"]))
    assert not taken(fits(kind), tomllib.loads(text))


@pytest.mark.parametrize("kind", schema.KINDS)
def test_the_command_prints_it(kind: str, nfc: Nfc) -> None:
    status, out, err = nfc("schema", kind)
    assert (status, err) == (0, "")
    assert json.loads(out) == json.loads(json.dumps(of(kind).SCHEMA))


def test_other_kinds_are_an_error(nfc: Nfc) -> None:
    status, out, err = nfc("schema", "bonds")
    assert (status, out) == (2, "")
    assert "'bond'" in err


def test_a_port_of_many_digits_is_none() -> None:
    with pytest.raises(ValueError, match="an address and a port"):
        delay.endpoint("000000000" + "99999999")


def test_addresses_have_no_zone() -> None:
    for check in (config.address, config.prefix, config.interface_address):
        with pytest.raises(ValueError, match="an IPv6"):
            check("fe80::1%eth0/64" if check is config.interface_address else "fe80::1%eth0")
