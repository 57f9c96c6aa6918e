"""BTF: the types of an object, read from `.BTF`, and made fit for the kernel.

Format: Documentation/bpf/btf.rst and uapi/linux/btf.h.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from nfc.bpf.raw import Strings, unpack
from nfc.errors import ObjectError

MAGIC = 0xEB9F
HEADER = "HBBIIIII"
HEADER_SIZE = 24
MAX_TYPES = 1 << 16  # the kernel: 0xfffff (BTF_MAX_TYPE); an object comes nowhere near
MAX_MEMBERS = 1 << 18  # of all types together
MAX_DEPTH = 64  # modifiers and array dimensions between a name and its type; kernel: 32
POINTER_SIZE = 8  # bytes, on BPF


class Kind(IntEnum):
    """BTF_KIND_*."""

    VOID = 0
    INT = 1
    PTR = 2
    ARRAY = 3
    STRUCT = 4
    UNION = 5
    ENUM = 6
    FWD = 7
    TYPEDEF = 8
    VOLATILE = 9
    CONST = 10
    RESTRICT = 11
    FUNC = 12
    FUNC_PROTO = 13
    VAR = 14
    DATASEC = 15
    FLOAT = 16
    DECL_TAG = 17
    TYPE_TAG = 18
    ENUM64 = 19


# Those whose third word is a size in bytes; for the others it is a type.
_SIZED = {Kind.INT, Kind.STRUCT, Kind.UNION, Kind.ENUM, Kind.DATASEC, Kind.FLOAT, Kind.ENUM64}
_TAGS = {Kind.DECL_TAG, Kind.TYPE_TAG}
_MODIFIERS = {Kind.TYPEDEF, Kind.VOLATILE, Kind.CONST, Kind.RESTRICT, Kind.TYPE_TAG}
# What follows the three words: for each member, and once.
_MEMBER = {
    Kind.STRUCT: "III", Kind.UNION: "III", Kind.ENUM: "Ii", Kind.FUNC_PROTO: "II",
    Kind.DATASEC: "III", Kind.ENUM64: "III",
}  # fmt: skip
_ONCE = {Kind.INT: "I", Kind.ARRAY: "III", Kind.VAR: "I", Kind.DECL_TAG: "i"}

LINKAGE_STATIC, LINKAGE_GLOBAL, LINKAGE_EXTERN = 0, 1, 2  # of VAR and FUNC


@dataclass(frozen=True, slots=True)
class Member:
    """A part of a type: a field, an enumerator, a parameter or a variable of a section.

    `offset` is in bits for STRUCT and UNION, in bytes for DATASEC; `bits` is the width of a bit
    field (0: it is none); `size` is in bytes, DATASEC only; `value` is an enumerator's.
    """

    name: str = ""
    type: int = 0
    offset: int = 0
    bits: int = 0
    size: int = 0
    value: int = 0


@dataclass(frozen=True, slots=True)
class Type:
    """One type. `size` in bytes (0 where the kind has none), `type` the id it refers to.

    `at` is its first byte in the type section. `count` is the number of elements of an ARRAY.
    `extra`: an INT's encoding word, a VAR's or FUNC's linkage, a DECL_TAG's component.
    """

    id: int
    kind: Kind
    name: str = ""
    size: int = 0
    type: int = 0
    members: tuple[Member, ...] = ()
    count: int = 0
    extra: int = 0
    at: int = 0

    @property
    def where(self) -> str:
        """For error messages."""
        return f".BTF, type {self.id} ({self.kind.name} {self.name or '(no name)'})"


@dataclass(frozen=True)
class Btf:
    """Parsed BTF; `types[0]` is void. All ids and names in it have been checked."""

    types: tuple[Type, ...]
    strings: Strings

    @cached_property
    def by_name(self) -> Mapping[tuple[Kind, str], Type]:
        """The last type of a kind and name."""
        return {(t.kind, t.name): t for t in self.types}

    def resolve(self, number: int) -> Type:
        """The type behind typedefs, qualifiers and tags. Raises ObjectError on a cycle."""
        found = self.types[number]
        for _ in range(MAX_DEPTH):
            if found.kind not in _MODIFIERS:
                return found
            found = self.types[found.type]
        raise ObjectError("refers to itself, or too deep", where=self.types[number].where)

    def size(self, number: int) -> int:
        """Bytes of a value of the type. Raises ObjectError for a cycle, or a type without size."""
        factor = 1
        current = self.resolve(number)
        for _ in range(MAX_DEPTH):
            if current.kind is Kind.PTR:
                return factor * POINTER_SIZE
            if current.kind is Kind.ARRAY:
                factor *= current.count
                current = self.resolve(current.type)
            elif current.kind is Kind.VAR:
                current = self.resolve(current.type)
            elif current.kind in _SIZED:
                return factor * current.size
            else:
                raise ObjectError("has no size", where=current.where)
        raise ObjectError("refers to itself, or too deep", where=self.types[number].where)


def parse_btf(data: bytes) -> Btf:
    """Parse a `.BTF` section. Raises ObjectError with the type at fault."""
    start, end, strings = _header(data)
    area = data[start:end]
    types = [Type(0, Kind.VOID, "void")]
    left = MAX_MEMBERS
    at = 0
    while at < len(area):
        if len(types) > MAX_TYPES:
            raise ObjectError(f"more than {MAX_TYPES} types", where=".BTF")
        parsed, after = _type(area, at, len(types), strings, left)
        types.append(parsed)
        left -= len(parsed.members)
        at = after
    _check_references(types)
    return Btf(tuple(types), strings)


def _type(area: bytes, at: int, number: int, strings: Strings, left: int) -> tuple[Type, int]:
    """The type at byte `at`, and the byte behind it; it may have `left` members."""
    where = f".BTF, type {number}"
    name_at, info, third = unpack("III", area, at, where)
    kind_number, count = info >> 24 & 0x1F, info & 0xFFFF
    if not 0 < kind_number <= max(Kind):
        raise ObjectError(f"kind {kind_number} is not known", where=where)
    kind = Kind(kind_number)
    if kind in _MEMBER and count > left:
        raise ObjectError(f"more than {MAX_MEMBERS} members", where=".BTF")
    after = at + 12
    once = unpack(_ONCE.get(kind, ""), area, after, where)
    after += 4 * len(once)
    layout = _MEMBER.get(kind, "")
    words = unpack(layout * count, area, after, where)
    members = tuple(
        _member(kind, words[i : i + len(layout)], bool(info >> 31), strings)
        for i in range(0, len(words), len(layout) or 1)
    )
    after += 4 * len(words)
    sized = kind in _SIZED
    refers = 0 if sized or kind is Kind.FWD else third
    extra = once[0] if once else count if kind is Kind.FUNC else 0
    element, elements = 0, 0
    if kind is Kind.ARRAY:
        element, _, elements = once
        refers, extra = element, 0
    # Tags hold any text; all other names are of things that people declare.
    name = strings.line(name_at) if kind in _TAGS else strings.at(name_at)
    size = third if sized else 0
    return Type(number, kind, name, size, refers, members, elements, extra, at), after


def _header(data: bytes) -> tuple[int, int, Strings]:
    """(first byte of the types, byte behind them, strings)."""
    magic, version, _, length, type_at, type_size, string_at, string_size = unpack(
        HEADER, data, 0, ".BTF header"
    )
    if magic != MAGIC or version != 1 or length < HEADER_SIZE:
        raise ObjectError("is not BTF version 1 in little-endian order", where=".BTF header")
    start, end = length + type_at, length + type_at + type_size
    first, last = length + string_at, length + string_at + string_size
    if max(end, last) > len(data) or (start < last and first < end and type_size):
        raise ObjectError("types or strings are outside, or overlap", where=".BTF header")
    return start, end, Strings(data[first:last], ".BTF strings")


def _member(kind: Kind, words: tuple[int, ...], flag: bool, strings: Strings) -> Member:
    if kind in (Kind.STRUCT, Kind.UNION):
        name, type_, offset = words
        bits, offset = (offset >> 24, offset & 0xFFFFFF) if flag else (0, offset)
        return Member(strings.at(name), type_, offset, bits)
    if kind is Kind.DATASEC:
        return Member("", words[0], words[1], size=words[2])
    if kind is Kind.FUNC_PROTO:
        return Member(strings.at(words[0]), words[1])
    value = words[1] | words[2] << 32 if kind is Kind.ENUM64 else words[1]
    return Member(strings.at(words[0]), value=value)


def _check_references(types: list[Type]) -> None:
    for t in types:
        for number in (t.type, *(m.type for m in t.members)):
            if number >= len(types):
                raise ObjectError(f"refers to type {number}, there are {len(types)}", where=t.where)
        if t.kind is Kind.DATASEC:
            for m in t.members:
                if types[m.type].kind not in (Kind.VAR, Kind.FUNC):
                    raise ObjectError(f"holds type {m.type}, no variable", where=t.where)


# ---- making it fit for the kernel ----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the linker put things: a section's size and its variables' offsets, in bytes."""

    size: int
    variables: Mapping[str, int]


def fix_datasecs(data: bytes, layouts: Mapping[str, Layout]) -> bytes:
    """The same `.BTF` with sizes of data sections and offsets of global variables filled in.

    LLVM leaves both to the linker, as relocations; there is no linker for BPF, and the kernel
    refuses zeros (btf_datasec_check_meta, kernel/bpf/btf.c: size not 0, variables ascending and
    apart). Static variables already have their offset. Sections of what the kernel has stay as
    they are. Raises ObjectError for a section or variable that the object does not have.
    """
    btf = parse_btf(data)
    start, _, _ = _header(data)
    fixed = bytearray(data)
    for section in btf.types:
        if section.kind is not Kind.DATASEC:
            continue
        layout = layouts.get(section.name)
        if layout is None and has_extern(btf, section):
            continue
        if layout is None:
            raise ObjectError(
                "describes a section that the object does not have", where=section.where
            )
        rows = sorted(
            (_offset(btf, section, member, layout), member.type, member.size)
            for member in section.members
        )
        if layout.size >= 1 << 32:
            raise ObjectError(f"section of {layout.size} bytes", where=section.where)
        end = 0
        for offset, _, size in rows:
            if offset < end or offset + size > layout.size:
                raise ObjectError(
                    f"variable at byte {offset} overlaps or is outside", where=section.where
                )
            end = offset + size
        at = start + section.at
        struct.pack_into("<I", fixed, at + 8, layout.size)
        for i, (offset, type_, size) in enumerate(rows):
            struct.pack_into("<III", fixed, at + 12 + 12 * i, type_, offset, size)
    return bytes(fixed)


def has_extern(btf: Btf, section: Type) -> bool:
    """Whether a DATASEC has functions or variables of the kernel's in it: `.ksyms`, `.kconfig`."""
    return section.kind is Kind.DATASEC and any(
        btf.types[member.type].extra == LINKAGE_EXTERN for member in section.members
    )


def _offset(btf: Btf, section: Type, member: Member, layout: Layout) -> int:
    variable = btf.types[member.type]
    if variable.extra == LINKAGE_EXTERN:
        raise ObjectError(
            f"'{variable.name}' is an extern variable, which is not supported", where=section.where
        )
    if variable.extra == LINKAGE_STATIC:
        return member.offset
    if variable.name not in layout.variables:
        raise ObjectError(f"has no symbol '{variable.name}'", where=section.where)
    return layout.variables[variable.name]
