"""Maps as objects declare them: by BTF in `.maps`, or by a struct of numbers in `maps`."""

from __future__ import annotations

from collections.abc import Sequence

from nfc.bpf.btf import Btf, Kind, Member, Type
from nfc.bpf.elf import STT_OBJECT, Elf, Section, Symbol
from nfc.bpf.object import MapDef
from nfc.bpf.raw import unpack
from nfc.errors import ObjectError

BTF_SECTION, LEGACY_SECTION = ".maps", "maps"
LEGACY_SIZE = 20  # bytes: type, key_size, value_size, max_entries, map_flags

# The members by which libbpf describes a map (tools/lib/bpf/libbpf.c, parse_btf_map_def) whose
# value is the length of the array that they point to, and what they are called here.
_NUMBERS = {
    "type": "type",
    "max_entries": "max_entries",
    "map_flags": "flags",
    "key_size": "key_size",
    "value_size": "value_size",
    "pinning": "pinning",
}
_TYPES = {"key": ("key_size", "key_type_id"), "value": ("value_size", "value_type_id")}


def read_maps(
    elf: Elf, btf: Btf | None, symbols: dict[int, list[Symbol]]
) -> dict[tuple[int, int], MapDef]:
    """All maps, by (section number, byte in the section). Raises ObjectError.

    `symbols` are the object's by section number.
    """
    found: dict[tuple[int, int], MapDef] = {}
    for section in elf.sections:
        if section.name not in (BTF_SECTION, LEGACY_SECTION) or not section.size:
            continue
        here = [s for s in symbols.get(section.index, ()) if s.type == STT_OBJECT]
        if elf.relocations(section):
            raise ObjectError("maps with initial values are not supported", where=section.where)
        if section.name == LEGACY_SECTION:
            maps = [(s, _legacy(elf.content(section), s)) for s in here]
        else:
            maps = _by_btf(btf, section, here)
        for symbol, definition in maps:
            if (section.index, symbol.value) in found:
                raise ObjectError("is where another map is", where=symbol.where)
            found[section.index, symbol.value] = definition
    names = [definition.name for definition in found.values()]
    if len(set(names)) < len(names):
        raise ObjectError("two maps have one name", where="maps")
    return found


def _legacy(content: bytes, symbol: Symbol) -> MapDef:
    if symbol.size < LEGACY_SIZE:
        raise ObjectError(f"a map needs {LEGACY_SIZE} bytes, not {symbol.size}", where=symbol.where)
    end = symbol.value + symbol.size
    rest = content[symbol.value + LEGACY_SIZE : end]
    # iproute2's struct bpf_elf_map goes on with an id and where to pin it, which say nothing of
    # the map itself; then with the map in it (include/bpf_elf.h).
    if rest[8:].strip(b"\0") or (len(rest) % 4 and rest.strip(b"\0")):
        raise ObjectError(
            "describes a map of maps, or something else that nfc does not know",
            where=symbol.where,
            hint="declare it with BTF, in section .maps",
        )
    number, key, value, entries, flags = unpack("IIIII", content, symbol.value, symbol.where)
    return MapDef(symbol.name, number, key, value, entries, flags)


def _by_btf(
    btf: Btf | None, section: Section, here: Sequence[Symbol]
) -> list[tuple[Symbol, MapDef]]:
    if btf is None:
        raise ObjectError("there is no .BTF to say what the maps are", where=section.where)
    described = btf.by_name.get((Kind.DATASEC, BTF_SECTION))
    if described is None:
        raise ObjectError("its .BTF does not describe it", where=section.where)
    by_name = {symbol.name: symbol for symbol in here}
    maps = []
    for member in described.members:
        variable = btf.types[member.type]
        if variable.name not in by_name:
            raise ObjectError("has no symbol in section .maps", where=variable.where)
        maps.append((by_name[variable.name], _definition(btf, variable)))
    return maps


def _definition(btf: Btf, variable: Type) -> MapDef:
    where = f"map {variable.name}"
    declared = btf.resolve(variable.type)
    if declared.kind is not Kind.STRUCT:
        raise ObjectError("is not declared as a struct", where=where)
    values: dict[str, int] = {}

    def put(name: str, value: int) -> None:
        if values.setdefault(name, value) != value:
            raise ObjectError(f"{name} is both {values[name]} and {value}", where=where)

    for member in declared.members:
        if member.name in _NUMBERS:
            put(_NUMBERS[member.name], _number(btf, member, where))
        elif member.name in _TYPES:
            size_name, id_name = _TYPES[member.name]
            target = _pointed(btf, member, where)
            put(size_name, btf.size(target))
            put(id_name, target)
        else:
            raise ObjectError(f"has '{member.name}', which is not supported", where=where)
    if "type" not in values:
        raise ObjectError("has no type", where=where)
    for name, value in values.items():
        if value >= 1 << 32:
            raise ObjectError(f"{name} is {value}", where=where)
    return MapDef(
        variable.name,
        values["type"],
        values.get("key_size", 0),
        values.get("value_size", 0),
        values.get("max_entries", 0),
        values.get("flags", 0),
        values.get("key_type_id", 0),
        values.get("value_type_id", 0),
        values.get("pinning", 0),
    )


def _pointed(btf: Btf, member: Member, where: str) -> int:
    pointer = btf.resolve(member.type)
    if pointer.kind is not Kind.PTR:
        raise ObjectError(f"'{member.name}' is no pointer", where=where)
    return pointer.type


def _number(btf: Btf, member: Member, where: str) -> int:
    array = btf.resolve(_pointed(btf, member, where))
    if array.kind is not Kind.ARRAY:
        raise ObjectError(f"'{member.name}' does not point to an array", where=where)
    return array.count
