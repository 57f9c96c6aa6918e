"""Maps as objects declare them: by BTF in `.maps`, or by a struct of numbers in `maps`."""

from __future__ import annotations

import re
import struct
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

from nfc.bpf.btf import Btf, Kind, Member, Type
from nfc.bpf.elf import STB_GLOBAL, STT_FUNC, STT_NOTYPE, STT_OBJECT, Elf, Section, Symbol
from nfc.bpf.object import MapDef
from nfc.bpf.raw import unpack
from nfc.errors import ObjectError

BTF_SECTION, LEGACY_SECTION = ".maps", "maps"
MAX_MAPS = 1024  # of an object; a program may use 64
MAPS_OF_MAPS = (12, 13)  # BPF_MAP_TYPE_ARRAY_OF_MAPS, BPF_MAP_TYPE_HASH_OF_MAPS
POINTER = 8  # bytes
PROG_ARRAY = 3  # BPF_MAP_TYPE_PROG_ARRAY
_C_NUMBER = "(0[xX][0-9a-fA-F]{1,8}|0[0-7]{0,11}|[1-9][0-9]{0,9})"
_ID_AND_INDEX = re.compile(f"{_C_NUMBER}/{_C_NUMBER}")
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
_IGNORED = ("numa_node", "map_extra")  # they say nothing that the verifier asks about
_TYPES = {"key": ("key_size", "key_type_id"), "value": ("value_size", "value_type_id")}


def read_maps(
    elf: Elf, btf: Btf | None, symbols: dict[int, list[Symbol]]
) -> dict[tuple[int, int], MapDef]:
    """All maps, by (section number, byte in the section). Raises ObjectError.

    `symbols` are the object's by section number.
    """
    found: dict[tuple[int, int], MapDef] = {}
    ids: dict[int, tuple[int, int]] = {}
    for section in elf.sections:
        if section.name not in (BTF_SECTION, LEGACY_SECTION) or not section.size:
            continue
        all_here = symbols.get(section.index, [])
        here = [s for s in all_here if s.type == STT_OBJECT] or _without_type(section, all_here)
        if section.name == LEGACY_SECTION:
            maps = _legacy(elf.content(section), here)
            for number, symbol in _ids(elf.content(section), here):
                ids.setdefault(number, (section.index, symbol.value))
        else:
            maps = _by_btf(btf, section, here)
        for symbol, definition in maps:
            if (section.index, symbol.value) in found:
                raise ObjectError("is where another map is", where=symbol.where)
            found[section.index, symbol.value] = definition
        if len(found) > MAX_MAPS:
            raise ObjectError(f"more than {MAX_MAPS} maps", where=section.where)
    names = [definition.name for definition in found.values()]
    if len(set(names)) < len(names):
        raise ObjectError("two maps have one name", where="maps")
    for section in elf.sections:
        if section.name in (BTF_SECTION, LEGACY_SECTION) and section.size:
            values = _initial(elf, btf, section, found, symbols)
            found |= {
                place: replace(found[place], values=tuple(sorted(held.items())))
                for place, held in values.items()
            }
    for place, held in _by_section(elf, symbols, ids).items():
        if found[place].type == PROG_ARRAY:
            found[place] = replace(found[place], values=tuple(sorted(held.items())))
    return found


def _by_section(
    elf: Elf, symbols: dict[int, list[Symbol]], ids: dict[int, tuple[int, int]]
) -> dict[tuple[int, int], dict[int, str]]:
    """What iproute2 puts into maps of programs, by index: the program at the beginning of a section
    `ID/INDEX` into the map of that id (lib/bpf_legacy.c, bpf_fill_prog_arrays)."""
    found: dict[tuple[int, int], dict[int, str]] = {}
    for section in elf.sections if ids else ():
        named = _ID_AND_INDEX.fullmatch(section.name)
        if named is None or not section.executable:
            continue
        number, index = (_c_number(text) for text in named.groups())
        function = _function(symbols, (section.index, 0))
        if number in ids and function is not None:
            found.setdefault(ids[number], {})[index] = function
    return found


def _c_number(text: str) -> int:
    """A number as C reads `%i`: 0x begins a hexadecimal one, 0 an octal one."""
    base = 16 if text.lower().startswith("0x") else 8 if text.startswith("0") else 10
    return int(text, base)


def _initial(
    elf: Elf,
    btf: Btf | None,
    section: Section,
    maps: dict[tuple[int, int], MapDef],
    symbols: dict[int, list[Symbol]],
) -> dict[tuple[int, int], dict[int, str]]:
    """What maps declared by BTF hold from the beginning, by index: relocations in their member
    `values` name it, programs or maps (libbpf.c, bpf_object__collect_map_relos)."""
    found: dict[tuple[int, int], dict[int, str]] = {}
    relocations = elf.relocations(section)
    if section.name == LEGACY_SECTION or btf is None or not relocations:
        return found
    content = elf.content(section)
    begins = sorted(at for index, at in maps if index == section.index)
    members = {
        variable.name: member.offset // 8
        for variable in btf.types
        if variable.kind is Kind.VAR
        for member in btf.resolve(variable.type).members
        if member.name == "values"
    }
    for relocation in relocations:
        before = bisect_right(begins, relocation.offset) - 1
        place = (section.index, begins[before] if before >= 0 else -1)
        where = f"{section.where}, byte {relocation.offset}"
        if place not in maps or maps[place].name not in members:
            raise ObjectError("an initial value that is no map's", where=where)
        name = maps[place].name
        index, odd = divmod(relocation.offset - place[1] - members[name], POINTER)
        if index < 0 or odd or relocation.offset + POINTER > section.size:
            raise ObjectError("an initial value that is not among its map's values", where=where)
        (addend,) = unpack("Q", content, relocation.offset, where)
        target = (relocation.symbol.section, relocation.symbol.value + addend)
        held = maps[target].name if target in maps else _function(symbols, target)
        if held is None:
            raise ObjectError(
                f"value {index} of map {name} is neither a map nor a program", where=where
            )
        found.setdefault(place, {})[index] = held
    return found


def _function(symbols: dict[int, list[Symbol]], place: tuple[int, int]) -> str | None:
    """The function that begins at a byte of a section."""
    here = symbols.get(place[0], ())
    return next((s.name for s in here if s.type == STT_FUNC and s.value == place[1]), None)


def _without_type(section: Section, symbols: Sequence[Symbol]) -> list[Symbol]:
    """Symbols as old compilers leave them, without type and size: each goes to the next."""
    found = sorted(
        (s for s in symbols if s.type == STT_NOTYPE and s.binding == STB_GLOBAL and s.name),
        key=lambda s: s.value,
    )
    ends = [s.value for s in found[1:]] + [section.size]
    return [replace(s, size=ends[n] - s.value) for n, s in enumerate(found)]


def _legacy(content: bytes, symbols: Sequence[Symbol]) -> list[tuple[Symbol, MapDef]]:
    """Maps as five numbers; iproute2's struct bpf_elf_map (include/bpf_elf.h) goes on with an id
    and where to pin it, and for maps of maps with the id of one that is like those in it."""
    found = []
    by_id: dict[int, MapDef] = {}
    inner: list[int] = []
    for symbol in symbols:
        if symbol.size < LEGACY_SIZE:
            raise ObjectError(
                f"a map needs {LEGACY_SIZE} bytes, not {symbol.size}", where=symbol.where
            )
        number, key, value, entries, flags = unpack("IIIII", content, symbol.value, symbol.where)
        definition = MapDef(symbol.name, number, key, value, entries, flags)
        rest = content[symbol.value + LEGACY_SIZE : symbol.value + symbol.size]
        if rest[16:].strip(b"\0") or (len(rest) % 4 and rest.strip(b"\0")):
            raise ObjectError(
                "says something of a map that nfc does not know",
                where=symbol.where,
                hint="declare it with BTF, in section .maps",
            )
        words = struct.unpack("<4I", rest[:16].ljust(16, b"\0"))
        by_id.setdefault(words[0], definition)
        inner.append(words[2])
        found.append((symbol, definition))
    return [
        (symbol, replace(map_, inner=by_id.get(of)) if map_.type in MAPS_OF_MAPS and of else map_)
        for (symbol, map_), of in zip(found, inner, strict=True)
    ]


def _ids(content: bytes, symbols: Sequence[Symbol]) -> Iterator[tuple[int, Symbol]]:
    """The ids that iproute2's maps have, 0 being none."""
    for symbol in symbols:
        if symbol.size >= LEGACY_SIZE + 4:
            (number,) = unpack("I", content, symbol.value + LEGACY_SIZE, symbol.where)
            if number:
                yield number, symbol


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
    return _declared(btf, variable.name, variable.type, f"map {variable.name}", nested=False)


def _declared(btf: Btf, name: str, number: int, where: str, *, nested: bool) -> MapDef:
    declared = btf.resolve(number)
    if declared.kind is not Kind.STRUCT:
        raise ObjectError("is not declared as a struct", where=where)
    values: dict[str, int] = {}
    inner: MapDef | None = None

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
        elif member.name == "values" and not nested:
            values.setdefault("value_size", 4)
            inner = _held(btf, member, name, where)
        elif member.name not in _IGNORED:
            raise ObjectError(f"has '{member.name}', which is not supported", where=where)
    if "type" not in values:
        raise ObjectError("has no type", where=where)
    for what, value in values.items():
        if value >= 1 << 32:
            raise ObjectError(f"{what} is {value}", where=where)
    return MapDef(
        name,
        values["type"],
        values.get("key_size", 0),
        values.get("value_size", 0),
        values.get("max_entries", 0),
        values.get("flags", 0),
        values.get("key_type_id", 0),
        values.get("value_type_id", 0),
        values.get("pinning", 0),
        inner,
    )


def _held(btf: Btf, member: Member, name: str, where: str) -> MapDef | None:
    """What a map of maps holds, by `values`: an array of pointers to a map. An array of programs
    has it too, with pointers to functions; that says nothing of the map."""
    array = btf.resolve(member.type)
    if array.kind is Kind.ARRAY:
        pointer = btf.resolve(array.type)
        if pointer.kind is Kind.PTR:
            if btf.resolve(pointer.type).kind is not Kind.STRUCT:
                return None
            return _declared(btf, f"{name}.inner", pointer.type, f"{where}, values", nested=True)
    raise ObjectError("'values' is no array of pointers", where=where)


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
