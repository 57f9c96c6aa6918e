"""Params and tables for an object that nfc has not compiled just now: its variables and maps, by
the names that BTF has for them."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network
from typing import Any

from nfc.bpf.btf import Btf, Kind, parse_btf
from nfc.bpf.encode import encode, raw
from nfc.bpf.object import MapDef, Object
from nfc.errors import KernelError, NfcError, UsageError
from nfc.kernel.maps import ARRAY, LPM_TRIE, PERCPU_ARRAY
from nfc.syntax.diagnostics import nearest
from nfc.vm.buffers import QueueMap
from nfc.vm.maps import ArrayMap, HashMap, TrieMap, VmMap


@dataclass(frozen=True)
class Variable:
    """A variable of a data section: where it lies, in bytes (in two places for a param of nfc), and
    its type in BTF."""

    section: str
    places: tuple[int, ...]
    type: int
    size: int


def with_params(obj: Object, params: Mapping[str, str]) -> Object:
    """The object with other values of variables. Raises UsageError."""
    if not params:
        return obj
    if not obj.btf:
        raise UsageError(
            "an object without BTF does not say what its params are",
            hint="compile it with -g, or give the source",
        )
    btf = parse_btf(obj.btf)
    known = variables(obj, btf)
    contents = {section.name: bytearray(section.content) for section in obj.data}
    for name, text in params.items():
        found = known.get(name, [])
        if not found:
            hint = nearest(name, known) or f"its variables: {', '.join(known)[:200] or 'none'}"
            raise UsageError(f"the object has no variable '{name}'", hint=hint)
        if len(found) > 1:
            raise UsageError(f"the object has {len(found)} variables '{name}'")
        (variable,) = found
        try:
            data = encode(btf, variable.type, _meant(text))
        except ValueError as error:
            raise UsageError(f"{name}: {error}") from None
        content = contents[variable.section]
        for at in variable.places:
            if len(data) != variable.size or at + len(data) > len(content):
                raise UsageError(f"{name}: its place in {variable.section} is not known")
            content[at : at + len(data)] = data
    data_ = tuple(replace(one, content=bytes(contents[one.name])) for one in obj.data)
    return replace(obj, data=data_)


def variables(obj: Object, btf: Btf) -> dict[str, list[Variable]]:
    """The variables of all data sections by name, and the params of nfc's objects."""
    found: dict[str, list[Variable]] = {}
    for section in obj.data:
        kind = btf.by_name.get((Kind.DATASEC, section.name))
        for member in kind.members if kind is not None else ():
            of = btf.types[member.type]
            if of.kind is not Kind.VAR:
                continue
            copies = _copies(btf, section.name, member.offset, of.type)
            for name, variable in copies.items():
                found.setdefault(name, []).append(variable)
            if not copies:
                variable = Variable(section.name, (member.offset,), of.type, member.size)
                found.setdefault(of.name, []).append(variable)
    return found


def _copies(btf: Btf, section: str, at: int, number: int) -> dict[str, Variable]:
    """The params of an object that nfc has made (nfc.manifest, PARAMS_SECTION): in both copies."""
    both = btf.resolve(number)
    if both.kind is not Kind.STRUCT or both.name != "nfc_params_copies" or len(both.members) != 2:
        return {}
    array = btf.resolve(both.members[1].type)
    one = btf.resolve(array.type)
    if array.kind is not Kind.ARRAY or array.count != 2 or one.kind is not Kind.STRUCT:
        return {}
    first = at + both.members[1].offset // 8
    return {
        member.name: Variable(
            section,
            tuple(first + copy * one.size + member.offset // 8 for copy in range(2)),
            member.type,
            btf.size(member.type),
        )
        for member in one.members
    }


def _meant(text: str) -> Any:
    """A value of the command line: lists and fields are written as JSON."""
    if text[:1] not in ("[", "{", '"'):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"is not JSON: {str(error)[:80]}") from None


# ---- maps -----------------------------------------------------------------------------------


def load(obj: Object, maps: Mapping[str, VmMap], name: str, items: Sequence[Any]) -> int:
    """Put entries into a map, and return how many. Keys and values are what `nfc run --json` gives:
    bytes in hexadecimal, or what BTF says that they are. Raises NfcError, before anything is put
    unless the map is full."""
    definitions = {one.name: one for one in obj.maps}
    for section in obj.data:
        definitions[section.name] = MapDef(section.name, ARRAY, 4, len(section.content), 1)
    definition = definitions.get(name) or definitions.get(f"{name}_table")
    if definition is None:
        hint = nearest(name, definitions) or f"its maps: {', '.join(definitions)[:200] or 'none'}"
        raise UsageError(f"the object has no map '{name}'", hint=hint)
    one = maps[definition.name]
    if not items:
        return 0
    if not isinstance(one, ArrayMap | HashMap | TrieMap | QueueMap):
        raise UsageError(f"entries cannot be put into map {definition.name} like that")
    btf = parse_btf(obj.btf) if obj.btf else None
    rows = []
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict) or not {"key", "value"} <= set(item):
            raise NfcError(f'entry {number}: this is not of the form {{"key": …, "value": …}}')
        try:
            key = _key(definition, item["key"])
            rows.append(
                (
                    _bytes(btf, definition.key_type_id, definition.key_size, key),
                    _bytes(btf, definition.value_type_id, definition.value_size, item["value"]),
                )
            )
        except ValueError as error:
            raise NfcError(f"entry {number}: {error}") from None
    for number, (key, value) in enumerate(rows, start=1):
        try:
            if one.frozen:  # read-only for programs and users; this is before both
                one.region.data[: len(value)] = value
            elif one.per_cpu:
                one.update_percpu(key, [value] * one.cpus)
            else:
                one.update(key, value)
        except KernelError as error:
            raise NfcError(f"entry {number}: {error.message}") from None
    return len(rows)


def _key(definition: MapDef, key: Any) -> Any:
    """The key as it is given, but an index as a number, and a prefix as its bytes: a length in
    bits, and the address."""
    if (
        definition.type in (ARRAY, PERCPU_ARRAY)
        and isinstance(key, dict)
        and list(key) == ["index"]
    ):
        return key["index"]
    if definition.type != LPM_TRIE:
        return key
    text = next(iter(key.values())) if isinstance(key, dict) and len(key) == 1 else key
    if not isinstance(text, str) or "/" not in text:
        return key
    network = ip_network(text)
    return (struct.pack("<I", network.prefixlen) + network.network_address.packed).hex()


def _bytes(btf: Btf | None, number: int, size: int, value: Any) -> bytes:
    """A key or a value. Raises ValueError."""
    data = raw(value, size) if isinstance(value, str) else None
    if data is None and btf is not None and number:
        data = encode(btf, number, value)
    elif data is None and isinstance(value, int) and 0 <= value < 1 << 8 * size:
        data = value.to_bytes(size, "little")
    if data is None or len(data) != size:
        raise ValueError(f"{str(value)[:40]!r} is not {size} bytes in hexadecimal")
    return data
