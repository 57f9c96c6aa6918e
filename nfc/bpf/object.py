"""What an ELF object holds for us, as plain frozen values: programs, maps, data, BTF.

`nfc.bpf.reader` reads bytes into these; `nfc.kernel.loader` turns them into file descriptors;
`nfc.verify` and `nfc.vm` work on them. Nothing here knows who compiled the object.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class RelocationKind(Enum):
    """What a relocated instruction refers to."""

    MAP = "map"  # ld_imm64 of a map's file descriptor; symbol = map name
    DATA = "data"  # ld_imm64 of an address in a data section; symbol = section name
    CALL = "call"  # BPF-to-BPF call; symbol = function name
    FUNC = "func"  # ld_imm64 of a function's address (callbacks); symbol = function name


@dataclass(frozen=True)
class Relocation:
    """One place in a program that the loader fills in.

    `offset` is in bytes from the program's first instruction; `addend` in bytes into the data
    section (DATA only, else 0).
    """

    offset: int
    kind: RelocationKind
    symbol: str
    addend: int = 0


@dataclass(frozen=True)
class LineInfo:
    """The source line of an instruction: `offset` in bytes from the program's start."""

    offset: int
    file: str
    text: str
    line: int
    column: int


@dataclass(frozen=True)
class FuncInfo:
    """BTF type id of the function that begins `offset` bytes from the program's start."""

    offset: int
    type_id: int


@dataclass(frozen=True)
class Program:
    """One function of an executable section; `code` is a multiple of 8 bytes."""

    name: str
    section: str
    code: bytes
    relocations: tuple[Relocation, ...] = ()
    func_info: tuple[FuncInfo, ...] = ()
    line_info: tuple[LineInfo, ...] = ()
    # The raw 16-byte bpf_line_info records that `line_info` was decoded from, with insn_off
    # already rebased to this program and in bytes / 8 as the kernel wants them.
    raw_line_info: bytes = b""
    obstacle: str = ""  # why it cannot be linked: it needs what only a loader on the spot knows


@dataclass(frozen=True)
class MapDef:
    """A map as declared in `.maps` (BTF-defined) or `maps` (legacy struct); sizes in bytes."""

    name: str
    type: int  # BPF_MAP_TYPE_*, uapi/linux/bpf.h
    key_size: int
    value_size: int
    max_entries: int
    flags: int = 0
    key_type_id: int = 0  # BTF ids, 0: unknown
    value_type_id: int = 0
    pinning: int = 0  # LIBBPF_PIN_*, 0: none
    inner: MapDef | None = None  # of a map of maps: what the maps in it look like
    # Of a map of maps or programs: by index, the name of one that a loader puts there
    values: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class DataSection:
    """`.data`, `.rodata` or `.bss`: becomes a one-entry array map with this content."""

    name: str
    content: bytes
    readonly: bool


@dataclass(frozen=True)
class Object:
    """A whole object. `btf` is the raw `.BTF` section, fit for BPF_BTF_LOAD (DATASEC sizes and
    variable offsets filled in), or empty; `extern` says that it names functions or variables of
    the kernel, with which no kernel takes it."""

    programs: tuple[Program, ...]
    maps: tuple[MapDef, ...] = ()
    data: tuple[DataSection, ...] = ()
    license: str = ""
    btf: bytes = b""
    extern: bool = False

    def program(self, name: str) -> Program:
        """The program called `name`. Raises KeyError with the names that exist."""
        for prog in self.programs:
            if prog.name == name:
                return prog
        raise KeyError(
            f"no program {name!r}; there are: {', '.join(p.name for p in self.programs)}"
        )

    def map(self, name: str) -> MapDef:
        """The map called `name`. Raises KeyError with the names that exist."""
        for m in self.maps:
            if m.name == name:
                return m
        raise KeyError(f"no map {name!r}; there are: {', '.join(m.name for m in self.maps)}")
