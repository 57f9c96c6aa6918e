"""Values as people write them go into the bytes that BTF says, and come out of them again."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.bpf.btf import Btf, Kind, Member, Type
from nfc.bpf.encode import encode, raw
from nfc.bpf.raw import Strings
from nfc.bpf.values import decode

U32, INT, CHAR, BOOL, U16 = 1, 2, 3, 4, 5
BASE = (
    Type(0, Kind.VOID),
    Type(U32, Kind.INT, "unsigned int", 4),
    Type(INT, Kind.INT, "int", 4, extra=1 << 24),
    Type(CHAR, Kind.INT, "char", 1, extra=2 << 24),
    Type(BOOL, Kind.INT, "_Bool", 1, extra=4 << 24),
    Type(U16, Kind.INT, "unsigned short", 2),
    Type(6, Kind.TYPEDEF, "__be16", type=U16),
    Type(7, Kind.INT, "__u64", 8),
    Type(8, Kind.TYPEDEF, "duration", type=7),
    Type(9, Kind.ENUM, "color", 4, members=(Member("RED", value=1), Member("BLUE", value=2))),
    Type(10, Kind.ARRAY, type=U16, count=3),
    Type(11, Kind.ARRAY, type=CHAR, count=8),
    Type(12, Kind.STRUCT, "in6_addr", 16, members=(Member("a", 11), Member("b", 11, 64))),
    Type(13, Kind.UNION, "", 4, members=(Member("number", U32), Member("part", U16))),
    Type(
        14, Kind.STRUCT, "row", 40,
        members=(
            Member("n", U32), Member("c", 9, 32), Member("", 13, 64), Member("name", 11, 96),
            Member("low", U16, 160, 4), Member("high", U16, 164, 12), Member("to", 12, 192),
        ),
    ),
    Type(15, Kind.PTR, type=0),
)  # fmt: skip
BTF = Btf(BASE, Strings(b"\0", ""))


@pytest.mark.parametrize(
    ("number", "value", "data"),
    [
        (U32, 7, "07000000"),
        (U32, "0x102", "02010000"),
        (INT, -2, "feffffff"),
        (BOOL, True, "01"),
        (BOOL, "false", "00"),
        (6, 258, "0102"),
        (8, "5us", "8813000000000000"),
        (9, "BLUE", "02000000"),
        (9, 2, "02000000"),
        (10, [1, 2], "010002000000"),
        (10, "0x010002000300", "010002000300"),
        (11, "abc", "6162630000000000"),
        (12, "fd00::1", "fd00" + "00" * 13 + "01"),
        (14, {"n": 1, "number": 9, "name": "x", "low": 3, "high": 5, "to": "::1"},
         "01000000" "00000000" "09000000" "7800000000000000" "5300" "0000" + "00" * 15 + "01"),
        (15, "0xff", "ff" + "00" * 7),
    ],
)  # fmt: skip
def test_values(number: int, value: Any, data: str) -> None:
    assert encode(BTF, number, value).hex() == data


@pytest.mark.parametrize(
    ("number", "value", "message"),
    [
        (U32, -1, "-1 is not between 0 and 4294967295"),
        (U16, 65536, "is not between"),
        (BOOL, 2, "2 is not between 0 and 1"),
        (U32, "x", "'x' is not a number"),
        (U32, None, "is not a number"),
        (U32, 1.5, "is not a number"),
        (U32, "5ms", "'5ms' is not a number"),
        (9, "GREEN", "'GREEN' is none of RED, BLUE"),
        (10, [1] * 4, "a list of 3 at most"),
        (10, [1, 1 << 16], "is not between"),
        (11, "far too long", "is not 8 bytes"),
        (12, "fd00::x", "is no IPv6 address"),
        (12, "0x00", "is not 16 bytes"),
        (14, {"m": 1}, "there is no field m in row"),
        (14, {"n": -1}, "n: -1 is not between"),
        (14, [], "is no value of a struct"),
        (0, 1, "its type cannot be"),
        (99, 1, "its type cannot be"),
    ],
)
def test_what_does_not_fit(number: int, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        encode(BTF, number, value)


def test_types_that_lie() -> None:
    """A field outside its structure, and a structure that has itself within."""
    outside = Type(16, Kind.STRUCT, "s", 4, members=(Member("a", U32, 16), Member("b", U32, 96, 4)))
    inside = Type(17, Kind.STRUCT, "t", 4, members=(Member("", 17), Member("x", U32)))
    large = Type(18, Kind.ARRAY, type=U32, count=1 << 30)
    btf = Btf((*BASE, outside, inside, large), Strings(b"\0", ""))
    for number, value in ((16, {"a": 1}), (16, {"b": 1}), (17, {"x": 1}), (18, [1])):
        with pytest.raises(ValueError, match=r"lies outside|too deep|too large"):
            encode(btf, number, value)


@given(st.sampled_from([U32, INT, 7, 9, 10, 12, 15]), st.binary(min_size=16, max_size=16))
def test_what_is_read_can_be_written(number: int, data: bytes) -> None:
    """For every value of these types, without unions and text."""
    data = data[: BTF.size(number)]
    value = decode(BTF, number, data)
    assert encode(BTF, number, value) == data


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)


@given(st.integers(0, 20), JSON)
def test_anything_is_written_or_refused(number: int, value: Any) -> None:
    with contextlib.suppress(ValueError):
        assert len(encode(BTF, number, value)) == BTF.size(number)


def test_hexadecimal() -> None:
    assert (raw("0a0b", 2), raw("0x0A0b", 2)) == (b"\x0a\x0b", b"\x0a\x0b")
    assert [raw(text, 2) for text in ("0a0", "0a 0", "0a0g", "10", "")] == [None] * 5
