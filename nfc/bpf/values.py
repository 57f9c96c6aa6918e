"""Bytes of a map as what BTF says that they are: numbers, lists, and fields by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address

from nfc.bpf.btf import Btf, Kind, Type
from nfc.errors import ObjectError

Value = int | bool | str | Sequence["Value"] | Mapping[str, "Value"]
MAX_PARTS = 4096  # of one value: types of other people's objects may refer to each other at will
MAX_DEPTH = 16
MAX_TEXT, SHOWN_TEXT = 64, 16  # characters: of what is shown whole, of what is not
_SIGNED, _CHAR, _BOOL = 1, 2, 4  # BTF_INT_*: how an INT is meant


def decode(btf: Btf, number: int, data: bytes) -> Value | None:
    """The value of a type, given its bytes, little-endian. Bytes one after the other are
    hexadecimal, text where they are chars. None where BTF says nothing useful, or what does not fit
    the bytes."""
    try:
        return _Decoder(btf).value(number, data, 0)
    except _UnknownError:
        return None


def show(value: Value) -> str:
    """A value on one line: `{src=fd00, seen=[1, 2]}`; the first bytes of long ones."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{name}={show(part)}' for name, part in value.items())}}}"
    if isinstance(value, str):
        cut = len(value) > MAX_TEXT
        return f"{value[:SHOWN_TEXT]}… ({len(value)} characters)" if cut else value
    if isinstance(value, Sequence):
        return f"[{', '.join(map(show, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def is_char(kind: Type) -> bool:
    """Whether a number of one byte is a character; clang says so by its name alone."""
    return bool(kind.extra >> 24 & _CHAR) or kind.name == "char"


class _UnknownError(Exception):
    """The bytes cannot be shown by their type."""


class _Decoder:
    """Decodes one value."""

    def __init__(self, btf: Btf) -> None:
        self.btf = btf
        self.parts = 0

    def value(self, number: int, data: bytes, depth: int) -> Value:
        self.parts += 1
        if depth > MAX_DEPTH or self.parts > MAX_PARTS or number >= len(self.btf.types):
            raise _UnknownError
        try:
            kind = self.btf.resolve(number)
            if kind.kind is Kind.VAR:
                kind = self.btf.resolve(kind.type)
            size = len(data) if kind.kind is Kind.DATASEC else self.btf.size(kind.id)
        except ObjectError:
            raise _UnknownError from None
        if size > len(data):
            raise _UnknownError
        if size == 16 and self.is_address(number):
            return str(IPv6Address(data[:size]))
        return self.known(kind, data[:size], depth)

    def is_address(self, number: int) -> bool:
        """Whether 16 bytes are an address by their type's name: the kernel's, or nfc's `ipv6`."""
        kind = self.btf.types[number]
        while kind.kind is Kind.TYPEDEF and kind.name != "ipv6":
            kind = self.btf.types[kind.type]
        return kind.name == ("ipv6" if kind.kind is Kind.TYPEDEF else "in6_addr")

    def known(self, kind: Type, data: bytes, depth: int) -> Value:
        match kind.kind:
            case Kind.INT:
                encoding = kind.extra >> 24 & 0xF
                found = int.from_bytes(data, "little", signed=bool(encoding & _SIGNED))
                return bool(found) if encoding & _BOOL and found in (0, 1) else found
            case Kind.ENUM | Kind.ENUM64:
                number = int.from_bytes(data, "little")
                mask = (1 << 8 * len(data)) - 1
                names = (m.name for m in kind.members if m.value & mask == number)
                return next(names, number)
            case Kind.PTR:
                return f"0x{int.from_bytes(data, 'little'):x}"
            case Kind.ARRAY:
                return self.array(kind, data, depth)
            case Kind.STRUCT | Kind.UNION:
                return self.fields(kind, data, depth)
            case Kind.DATASEC if kind.members:  # without any, what lies there has no name
                return {
                    self.btf.types[m.type].name: self.value(
                        m.type, data[m.offset : m.offset + m.size], depth + 1
                    )
                    for m in kind.members
                }
        raise _UnknownError

    def array(self, kind: Type, data: bytes, depth: int) -> Value:
        element = self.btf.resolve(kind.type)
        if element.kind is Kind.INT and element.size == 1:
            text = data.rstrip(b"\0")
            if is_char(element) and text.isascii() and text.decode().isprintable():
                return text.decode()
            return data.hex()
        step = len(data) // kind.count if kind.count else 0
        if not step and kind.count:
            raise _UnknownError
        return [self.value(kind.type, data[i : i + step], depth + 1)
                for i in range(0, len(data), step or 1)]  # fmt: skip

    def fields(self, kind: Type, data: bytes, depth: int) -> Value:
        found: dict[str, Value] = {}
        for member in kind.members:
            if member.bits:
                number = int.from_bytes(data, "little") >> member.offset
                part: Value = number & (1 << member.bits) - 1
            else:
                part = self.value(member.type, data[member.offset // 8 :], depth + 1)
            if member.name:
                found[member.name] = part
            elif isinstance(part, Mapping):  # a struct without a name: its fields are ours
                found |= part
        return found
