"""What objects hold: an object of nfc's kind, a rich one, and one from before BTF."""

from __future__ import annotations

import struct

import pytest
from bpf_objects import ALL, clang_object, llvm_object, real_object

from nfc.bpf.btf import parse_btf
from nfc.bpf.elf import (
    SHT_SYMTAB,
    STT_FUNC,
    STT_OBJECT,
    SYMBOL_SIZE,
    read_elf,
)
from nfc.bpf.link import link
from nfc.bpf.object import DataSection, FuncInfo, MapDef, Object, Relocation, RelocationKind
from nfc.bpf.reader import read_object
from nfc.bpf.strip import strip
from nfc.errors import ObjectError

CALL, DATA, FUNC, MAP = (RelocationKind[kind] for kind in ("CALL", "DATA", "FUNC", "MAP"))


@pytest.fixture(scope="module", params=["raw", "stripped"])
def small(request: pytest.FixtureRequest) -> Object:
    data = llvm_object()
    return read_object(strip(data) if request.param == "stripped" else data)


def test_object_of_nfc_s_kind(small: Object) -> None:
    assert [p.name for p in small.programs] == ["end_small"]
    assert small.maps == (MapDef("events", 27, 0, 0, 4096),)
    assert small.data == (DataSection(".data", struct.pack("<QQ", 7, 9), readonly=False),)
    assert small.license == "GPL"
    program = small.program("end_small")
    assert program.section == "lwt_seg6local"
    assert [(r.kind, r.symbol) for r in program.relocations] == [(DATA, ".data"), (MAP, "events")]


def test_lines_are_those_of_the_source(small: Object) -> None:
    program = small.program("end_small")
    lines = [(line.offset, line.file, line.line, line.column) for line in program.line_info]
    assert lines == [(0, "small.nf", 2, 5), (48, "small.nf", 2, 10), (88, "small.nf", 3, 5)]
    assert program.line_info[0].text.strip() == "emit value"
    raw = list(struct.iter_unpack("<IIII", program.raw_line_info))
    assert [(8 * slot, place >> 10, place & 1023) for slot, _, _, place in raw] == [
        (offset, line, column) for offset, _, line, column in lines
    ]


def test_function_has_its_type(small: Object) -> None:
    (info,) = small.program("end_small").func_info
    assert info == FuncInfo(0, info.type_id)
    assert parse_btf(small.btf).types[info.type_id].name == "end_small"


@pytest.fixture(scope="module", params=["raw", "stripped"])
def rich(request: pytest.FixtureRequest) -> Object:
    data = clang_object("rich")
    return read_object(strip(data) if request.param == "stripped" else data)


def test_functions_of_sections_and_of_text(rich: Object) -> None:
    assert {p.name: p.section for p in rich.programs} == {
        "one": "lwt_in",
        "two": "lwt_in",
        "three": "lwt_xmit",
        "inner": ".text",
        "outer": ".text",
        "visible": ".text",
        "step": ".text",
    }
    assert all(p.code[-8] == 0x95 for p in rich.programs)  # each ends with its own exit
    assert all(p.func_info and p.func_info[0].offset == 0 for p in rich.programs)
    assert all(0 <= line.offset < len(p.code) for p in rich.programs for line in p.line_info)


def test_maps_declared_with_types_and_with_sizes(rich: Object) -> None:
    btf = parse_btf(rich.btf)
    pairs = rich.map("pairs")
    assert (pairs.type, pairs.key_size, pairs.value_size) == (1, 4, 16)
    assert (pairs.max_entries, pairs.flags) == (64, 1)
    assert btf.types[pairs.value_type_id].name == "pair"
    assert btf.types[pairs.key_type_id].name == "u32"
    assert rich.map("stats") == MapDef("stats", 6, 4, 16, 1, pinning=1)
    assert rich.map("events") == MapDef("events", 27, 0, 0, 4096)


def test_data_sections(rich: Object) -> None:
    assert {d.name: (d.content, d.readonly) for d in rich.data} == {
        ".data": (struct.pack("<QQII", 11, 22, 33, 44), False),
        ".rodata": (struct.pack("<I", 55), True),
        ".data.apart": (struct.pack("<I", 66), False),
        ".bss": (bytes(32), False),
    }


def test_relocations_by_symbol_by_section_and_none_at_all(rich: Object) -> None:
    def refers(name: str) -> set[tuple[RelocationKind, str, int]]:
        return {(r.kind, r.symbol, r.addend) for r in rich.program(name).relocations}

    assert refers("inner") == {(MAP, "pairs", 0), (DATA, ".data", 16)}
    # outer calls inner within .text: LLVM leaves no relocation.
    assert refers("outer") == {(CALL, "inner", 0), (DATA, ".data", 20), (DATA, ".rodata", 0)}
    assert refers("two") == {(CALL, "visible", 0), (FUNC, "step", 0)}
    assert refers("step") == {(DATA, ".bss", 0), (DATA, ".data", 8)}


def test_relocated_instructions_are_where_the_relocations_say(rich: Object) -> None:
    for program in rich.programs:
        for relocation in program.relocations:
            opcode = program.code[relocation.offset]
            assert opcode == (0x85 if relocation.kind is CALL else 0x18)


def test_maps_from_before_btf() -> None:
    obj = read_object(clang_object("legacy"))
    assert sorted(obj.maps, key=lambda m: m.name) == [
        MapDef("first", 1, 4, 8, 16, 1),
        MapDef("second", 2, 4, 24, 3, 0),
    ]
    assert obj.program("only").relocations == (Relocation(32, MAP, "second"),)
    assert obj.license == "Dual BSD/GPL"


def of_iproute2(*numbers: int) -> str:
    """A map as iproute2 declares one (struct bpf_elf_map, include/bpf_elf.h): 36 bytes."""
    values = ", ".join(map(str, numbers))
    return (
        "struct bpf_elf_map { unsigned numbers[9]; };"
        f'struct bpf_elf_map one __attribute__((section("maps"), used)) = {{{{{values}}}}};'
        'int f(void *c) __attribute__((section("x")));'
        "static void *(*lookup)(void *, const void *) = (void *)1;"
        "int f(void *c) { unsigned key = 0; return lookup(&one, &key) ? 0 : 2; }"
    )


def test_maps_of_iproute2() -> None:
    """An id and where to pin it follow what the kernel is told of the map."""
    obj = read_object(clang_object(source=of_iproute2(1, 4, 8, 16, 1, 7, 2), debug=False))
    assert obj.maps == (MapDef("one", 1, 4, 8, 16, 1),)


def test_maps_of_maps_of_iproute2() -> None:
    """What is in them looks like the map of the id that they name."""
    source = of_iproute2(12, 4, 4, 16, 0, 7, 2, 9).replace(
        "int f(void",
        'struct bpf_elf_map two __attribute__((section("maps"), used)) = {{1, 4, 8, 5, 0, 9}};'
        "int f(void",
        1,
    )
    obj = read_object(clang_object(source=source, debug=False))
    assert obj.map("one").inner == obj.map("two") == MapDef("two", 1, 4, 8, 5)


def test_programs_that_iproute2_puts_into_maps() -> None:
    """By section: `ID/INDEX`, as C reads numbers."""
    source = of_iproute2(3, 4, 4, 99, 0, 8, 0)
    names = {"a": "8/1", "b": "010/0x10", "c": "9/2", "d": "8/x", "e": "0x8/3/4"}
    for name, section in names.items():
        source += f'__attribute__((section("{section}"), used)) int {name}(void *c) {{ return 0; }}'
    obj = read_object(clang_object(source=source, debug=False))
    assert obj.map("one").values == ((1, "a"), (16, "b"))
    other = source.replace("{3, 4, 4, 99", "{1, 4, 4, 99")  # no map of programs
    assert read_object(clang_object(source=other, debug=False)).map("one").values == ()


OF_MAPS = """
#define SEC(name) __attribute__((section(name), used))
struct inner { int (*type)[2]; int (*max_entries)[3]; int *key; long *value; } in SEC(".maps");
struct { int (*type)[12]; int (*max_entries)[2]; int *key; struct inner *values[]; } out
    SEC(".maps") = { .values = { &in } };
SEC("lwt_in") int jumps(void *c);
struct { int (*type)[3]; int (*max_entries)[2]; int *key; int (*values[])(void *); } calls
    SEC(".maps") = { .values = { jumps } };
static long (*tail_call)(void *, void *, int) = (void *)12;
static void *(*lookup)(void *, const void *) = (void *)1;
int jumps(void *c) { int k = 0; tail_call(c, &calls, 0); return lookup(&out, &k) ? 0 : 2; }
"""


def test_maps_that_hold_maps_and_programs() -> None:
    """What the maps in them look like, and what a loader puts in."""
    obj = read_object(clang_object(source=OF_MAPS))
    inner = obj.map("out").inner
    assert inner is not None
    assert (inner.type, inner.key_size, inner.value_size, inner.max_entries) == (2, 4, 8, 3)
    assert (obj.map("out").type, obj.map("out").value_size) == (12, 4)
    assert (obj.map("calls").type, obj.map("calls").inner, obj.map("calls").value_size) == (
        3, None, 4,
    )  # fmt: skip
    assert (obj.map("out").values, obj.map("calls").values) == (((0, "in"),), ((0, "jumps"),))
    other = OF_MAPS.replace(".values = { &in }", ".values = { [1] = &in }")
    assert read_object(clang_object(source=other)).map("out").values == ((1, "in"),)


def test_maps_that_hold_what_is_neither() -> None:
    """A variable's address among the values of a map of programs."""
    source = OF_MAPS.replace("{ jumps }", "{ (int (*)(void *))&one }")
    source = source.replace('SEC("lwt_in") int', 'int one = 1; SEC("lwt_in") int', 1)
    with pytest.raises(ObjectError, match="value 0 of map calls is neither a map nor a program"):
        read_object(clang_object(source=source))


def without_types(data: bytes) -> bytes:
    """The object as LLVM 4 would have left it: no machine, symbols without type and size."""
    old = bytearray(data)
    struct.pack_into("<H", old, 18, 0)
    elf = read_elf(data)
    table = next(s for s in elf.sections if s.type == SHT_SYMTAB)
    for symbol in elf.symbols:
        if symbol.type in (STT_OBJECT, STT_FUNC):
            at = table.offset + symbol.index * SYMBOL_SIZE
            old[at + 4] = symbol.binding << 4
            struct.pack_into("<Q", old, at + 16, 0)
    return bytes(old)


def test_objects_of_old_compilers() -> None:
    """A section is one function; where one map ends and the next begins is told by both."""
    new = clang_object("legacy", debug=False)
    old = read_object(without_types(new))
    assert old.programs == read_object(new).programs
    assert set(old.maps) == set(read_object(new).maps)


def test_tags_hold_any_text() -> None:
    """A tab in one, as in the kernel's own self-tests."""
    tag = '__attribute__((btf_decl_tag("a\\tb")))'
    obj = read_object(clang_object(source=f"{tag} int x; int f(void) {{ return x; }}"))
    assert any(t.name == "a\tb" for t in parse_btf(obj.btf).types)


@pytest.mark.parametrize("name", ALL)
def test_reading_is_the_same_each_time(name: str) -> None:
    data = real_object(name)
    assert read_object(data) == read_object(bytes(data))


UNSUPPORTED = {
    "map with a member of its own": (
        'struct { int (*type)[1]; int (*odd)[2]; } m __attribute__((section(".maps")));'
        "SEC(lwt_in) int f(void *c) { return 0; }",
        "map m: has 'odd'",
    ),
    "map without a type": (
        'struct { int (*max_entries)[1]; } m __attribute__((section(".maps")));'
        "SEC(lwt_in) int f(void *c) { return 0; }",
        "map m: has no type",
    ),
    "map with two sizes": (
        "struct { int (*type)[1]; int (*key_size)[2]; int *key; } m"
        ' __attribute__((section(".maps"))); SEC(lwt_in) int f(void *c) { return 0; }',
        "map m: key_size is both 2 and 4",
    ),
}


@pytest.mark.parametrize(("source", "message"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_what_is_not_supported_is_refused_with_a_reason(source: str, message: str) -> None:
    data = clang_object(source="#define SEC(n) __attribute__((section(#n), used))\n" + source)
    with pytest.raises(ObjectError, match=message):
        read_object(data)


UNKNOWN_HERE = {
    "undefined function": (
        "extern int elsewhere(void); SEC(lwt_in) int f(void *c) { return elsewhere(); }",
        "'elsewhere' is not defined",
    ),
    "kernel function": (
        'extern int kernels(void) __attribute__((section(".ksyms")));'
        "SEC(lwt_in) int f(void *c) { return kernels(); }",
        "'kernels' is not defined.*kfuncs",
    ),
    "extern variable": (
        'extern int there __attribute__((section(".kconfig")));'
        "SEC(lwt_in) int f(void *c) { return there; }",
        "'there' is not defined",
    ),
    "CO-RE": (
        "struct s { int a; } __attribute__((preserve_access_index));"
        "SEC(lwt_in) int f(struct s *c) { return c->a; }",
        "CO-RE",
    ),
}


@pytest.mark.parametrize(("source", "message"), UNKNOWN_HERE.values(), ids=UNKNOWN_HERE)
def test_what_only_a_loader_knows_spoils_its_own_program(source: str, message: str) -> None:
    """The others of the object are none the worse."""
    head = "#define SEC(n) __attribute__((section(#n), used))\n"
    obj = read_object(
        clang_object(source=head + source + "SEC(lwt_out) int good(void *c) { return 2; }")
    )
    with pytest.raises(ObjectError, match=message):
        link(obj, "f")
    assert link(obj, "good").code


def test_addresses_in_data_stay_as_libbpf_leaves_them() -> None:
    source = 'int x; int *p = &x; __attribute__((section("lwt_in"))) int f(void *c) { return !p; }'
    (data,) = [d for d in read_object(clang_object(source=source)).data if d.name == ".data"]
    assert data.content == bytes(8)


def test_object_without_btf_still_has_its_programs_and_data() -> None:
    obj = read_object(
        clang_object(
            source="""
        int state = 3;
        __attribute__((section("lwt_out"), used)) int f(void *c) { return state++; }
    """,
            debug=False,
        )
    )
    assert obj.btf == b""
    assert obj.data[0].content == struct.pack("<I", 3)
    assert obj.programs[0].line_info == ()
