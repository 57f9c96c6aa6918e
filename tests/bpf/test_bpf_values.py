"""What BTF says of a map's bytes: names and numbers, and nothing where it makes no sense."""

from __future__ import annotations

import struct
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.bpf.btf import Btf, Kind, Member, Type, parse_btf
from nfc.bpf.object import Object
from nfc.bpf.raw import Strings
from nfc.bpf.reader import read_object
from nfc.bpf.values import decode, show
from nfc.compiler import compile_file

SOURCE = """
param limit: u16 = 3
table seen: hash[8] { src: ipv6, on: bool } to { tag: u16, wait: duration }
table near: prefix[4] { p: ipv6 } to { mark: u32 }
transit f at in {
    when near has [ip.src] as n { set packet.mark = n.mark forward }
    when ip.hop_limit > limit { put seen[ip.src, true] { tag = 7, wait = 5ms } forward }
    otherwise forward
}
"""


@cache
def built() -> tuple[Object, Btf]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "f.nf"
        path.write_text(SOURCE)
        compilation = compile_file(path)
    obj = read_object(compilation.object(compilation.functions))
    return obj, parse_btf(obj.btf)


def test_fields_have_the_names_of_the_declaration() -> None:
    obj, btf = built()
    seen, near = obj.map("seen_table"), obj.map("near_table")
    key = decode(btf, seen.key_type_id, bytes(range(16)) + b"\1" + bytes(seen.key_size - 17))
    assert key == {"src": "1:203:405:607:809:a0b:c0d:e0f", "on": True}
    value = decode(btf, seen.value_type_id, struct.pack("<HxxxxxxQ", 7, 5_000_000))
    assert value == {"tag": 7, "wait": 5_000_000}
    assert show(value) == "{tag=7, wait=5000000}"
    prefix = decode(btf, near.key_type_id, struct.pack("<I", 32) + b"\xfd" + bytes(15))
    assert prefix == {"prefix_length": 32, "p": "fd00::"}
    (data,) = obj.data
    params: Any = decode(btf, btf.by_name[Kind.DATASEC, ".data"].id, data.content)
    assert params == {"params": {"active": 0, "copies": [{"limit": 3}, {"limit": 3}]}}


INT = Type(1, Kind.INT, "int", 4, extra=1 << 24)
CHAR = Type(2, Kind.INT, "char", 1, extra=2 << 24)


def btf_of(*types: Type) -> Btf:
    return Btf((Type(0, Kind.VOID), INT, CHAR, *types), Strings(b"\0", ""))


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        (Type(3, Kind.TYPEDEF, "t", type=1), b"\xff\xff\xff\xff", -1),
        (Type(3, Kind.STRUCT, "in6_addr", 16), b"\xfd" + bytes(14) + b"\1", "fd00::1"),
        (Type(3, Kind.ARRAY, type=1, count=2), struct.pack("<ii", 5, -5), [5, -5]),
        (Type(3, Kind.ARRAY, type=2, count=6), b"abc\0\0\0", "abc"),
        (Type(3, Kind.ARRAY, type=2, count=2), b"\x80\1", "8001"),
        (Type(3, Kind.PTR, type=1), bytes(7) + b"\1", "0x100000000000000"),
        (Type(3, Kind.ENUM, "e", 4, members=(Member("ONE", value=1),)), b"\1\0\0\0", "ONE"),
        (Type(3, Kind.ENUM, "e", 4, members=(Member("ONE", value=1),)), b"\2\0\0\0", 2),
        (
            Type(3, Kind.STRUCT, "s", 4, members=(Member("a", 1, 3, 5), Member("b", 1, 8, 2))),
            b"\xf8\1\0\0",
            {"a": 31, "b": 1},
        ),
        (Type(3, Kind.STRUCT, "s", 8, members=(Member("a", 1),)), b"\1\0\0\0", None),
        (Type(3, Kind.FWD, "s"), b"\1\0\0\0", None),
        (Type(3, Kind.TYPEDEF, "t", type=3), b"\1\0\0\0", None),
        (Type(3, Kind.STRUCT, "s", 4, members=(Member("again", 3),)), b"\1\0\0\0", None),
        (Type(3, Kind.ARRAY, type=4, count=1 << 31), b"", None),
    ],
)
def test_kinds(kind: Type, data: bytes, value: Any) -> None:
    assert decode(btf_of(kind, Type(4, Kind.STRUCT, "empty")), 3, data) == value


def test_types_that_grow_without_end_are_given_up() -> None:
    """Ten levels of fifty fields each, all at one place."""
    levels = [Type(3, Kind.STRUCT, "s", 4, members=(Member("a", 1),))]
    for number in range(4, 14):
        members = tuple(Member(f"m{i}", number - 1) for i in range(50))
        levels.append(Type(number, Kind.STRUCT, f"s{number}", 4, members=members))
    assert decode(btf_of(*levels), 13, bytes(4)) is None


@given(st.integers(0, 200), st.binary(max_size=80))
def test_any_type_on_any_bytes(number: int, data: bytes) -> None:
    found = decode(built()[1], number, data)
    assert found is None or isinstance(show(found), str)


def test_long_ones_are_cut() -> None:
    assert show("00" * 100) == "0000000000000000… (200 characters)"
