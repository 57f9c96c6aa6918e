"""Probes of the helpers on text. Constant strings lie in .rodata, which `TEXT` is."""

from __future__ import annotations

from probing import (
    Code,
    Probe,
    call,
    keep,
    load,
    mov,
    onto_stack,
    store,
    to_stack,
    to_text,
    wide,
)  # fmt: skip

ONE_HOOK = ("endpoint",)  # for what is about the text only
COMMON = ("decimal", "negative", "no digits", "base 36", "too large")
PRINT, TO_LONG, TO_ULONG, SNPRINTF, VPRINT, COMPARE = 6, 105, 106, 165, 177, 182
_texts = bytearray()


def text(content: str) -> int:
    """Where a string lies."""
    raw = content.encode() + b"\0"
    at = _texts.find(raw)
    if at < 0:
        at = len(_texts)
        _texts.extend(raw)
    return at


def texts() -> bytes:
    """All strings so far."""
    return bytes(_texts)


# ---- numbers ------------------------------------------------------------------------------------


def parse(helper: int, content: bytes, base: int = 0) -> Code:
    """What it gives, and the number in slot 1."""
    room = -(-len(content) // 8) * 8
    return [
        onto_stack(-16 - room, content.ljust(room, b"7")), onto_stack(-8, b"\xee" * 8),
        to_stack(1, -16 - room), mov(2, len(content)), wide(3, base), to_stack(4, -8),
        call(helper), keep(0), load(8, 1, 10, -8), keep(1, 1),
    ]  # fmt: skip


NUMBERS: dict[str, tuple[bytes, int]] = {
    "decimal": (b"1234", 0), "negative": (b"-1234", 0), "hexadecimal": (b"0x1f", 0),
    "octal": (b"017", 0), "spaces": (b" \t\n\v\f\r 42", 0), "a hard space": (b"\xa042", 0),
    "base 10": (b"0x1f", 10), "base 16": (b"0X1f", 16), "base 16, plain": (b"ff", 16),
    "base 8": (b"0178", 8), "base 8, no digit": (b"8", 8), "trailing": (b"12abc", 0),
    "ends with a zero": (b"12\x0034", 0), "no digits": (b"abc", 0), "a zero byte": (b"\0", 0),
    "only a sign": (b"-", 0), "a plus": (b"+5", 0), "sign, space": (b"- 5", 0),
    "two signs": (b"--5", 0), "only spaces": (b"   ", 0), "only 0x": (b"0x", 0),
    "only 0x, base 16": (b"0x", 16), "0x and no digit": (b"0xg", 0), "zero": (b"0", 0),
    "minus zero": (b"-0", 0), "08": (b"08", 0), "base 2": (b"101", 2), "base 36": (b"zz", 36),
    "base 1": (b"1", 1), "high flags": (b"1", 1 << 40 | 10), "flags -1": (b"1", (1 << 64) - 1),
    "most": (b"9223372036854775807", 0), "most and 1": (b"9223372036854775808", 0),
    "least": (b"-9223372036854775808", 0), "least less 1": (b"-9223372036854775809", 0),
    "most without a sign": (b"18446744073709551615", 0), "too large": (b"18446744073709551616", 0),
    "far too large": (b"9" * 40, 0), "zeros before": (b"0" * 70 + b"5", 10),
    "zeros before, 64": (b"0" * 63 + b"5", 10), "underscore": (b"1_0", 0),
}  # fmt: skip


# ---- printing -----------------------------------------------------------------------------------


def printed(fmt: bytes, *arguments: int, size: int | None = None) -> Code:
    room = -(-len(fmt) // 8) * 8
    return [
        onto_stack(-room - 8, fmt.ljust(room, b"\0")), to_stack(1, -room - 8),
        mov(2, len(fmt) if size is None else size),
        [wide(3 + i, value) for i, value in enumerate(arguments)],
        [mov(3 + i, 0) for i in range(len(arguments), 3)], call(PRINT), keep(0),
    ]  # fmt: skip


def words(arguments: tuple[int | str, ...]) -> Code:
    """Arguments at r10-128: numbers, and the addresses of strings."""
    return [
        [
            to_text(1, text(one)) if isinstance(one, str) else wide(1, one),
            store(8, 10, -128 + 8 * i, 1),
        ]
        for i, one in enumerate(arguments)
    ]


def snprintf(fmt: str, *arguments: int | str, size: int = 64, length: int | None = None) -> Code:
    """What it gives; the first 48 bytes of the buffer in slots 1 to 6."""
    length = 8 * len(arguments) if length is None else length
    return [
        onto_stack(-208, b"\xee" * 64), words(arguments), to_stack(1, -208) if size else mov(1, 0),
        mov(2, size), to_text(3, text(fmt)), to_stack(4, -128) if length else mov(4, 0),
        mov(5, length), call(SNPRINTF), keep(0),
        [[load(8, 1, 10, -208 + 8 * i), keep(1 + i, 1)] for i in range(6)],
    ]  # fmt: skip


def vprinted(fmt: bytes, *arguments: int | str, length: int | None = None) -> Code:
    length = 8 * len(arguments) if length is None else length
    room = -(-len(fmt) // 8) * 8
    return [
        onto_stack(-256, fmt.ljust(room, b"\0")), words(arguments), to_stack(1, -256),
        mov(2, len(fmt)), to_stack(3, -128) if length else mov(3, 0), mov(4, length),
        call(VPRINT), keep(0),
    ]  # fmt: skip


MINUS = (1 << 64) - 5
FORMATS: dict[str, tuple[int | str, ...]] = {
    "plain": (), "100%%": (), "%d": (5,), "%d %i": (MINUS, 1 << 31), "%u": (MINUS,),
    "%x %X": (0xBEEF, 0xBEEF), "%ld": (MINUS,), "%lu": (MINUS,), "%lld": (MINUS,),
    "%llu": (MINUS,), "%llx": (MINUS,), "%lX": (MINUS,), "[%5d]": (7,), "[%-5d]": (7,),
    "[%05d]": (MINUS,), "[%+d]": (7,), "[% d]": (7,), "[%-05d]": (7,), "[%12llx]": (0xABC,),
    "[%012llX]": (0xABC,), "[%+x]": (7,), "[%3u]": (123456,), "[%+05d]": (42,), "[%+ d]": (1,),
    "%s": ("word",), "[%8s]": ("word",), "[%-8s]": ("word",), "%s,%s": ("a", "b"),
    "%c%c": (72, 105), "[%4c]": (65,), "[%-3c]": (65,), "%d%%": (50,), "[%08s]": ("word",),
    "%pI4": ("\x0a\x01\x02\x7f",), "%pi4": ("\x0a\x01\x02\x7f",),
    "%pI6": ("\x20\x01\x0d" + "A" * 13,), "%pi6": ("\x20\x01\x0d" + "A" * 13,),
    "%d %d %d %d %d %d %d %d %d %d %d %d": tuple(range(12)), "%s.": ("",), "%0d": (9,),
    "%llu%c": (1, 0x41), "%c%d": (65, 7), "%s %d": ("x", 5),
}  # fmt: skip
BAD = (
    b"%",
    b"%z",
    b"%f",
    b"%.3d",
    b"%*d",
    b"%sx",
    b"%lc",
    b"%hd",
    b"%pz",
    b"%pI5",
    b"%o",
    b"%n",
    b"%s\xc3\xa9",
    b"%s\xb7",
    b"%s\xa0",
    b"%s\xd7",
    b"%s\xff",
    b"%5c\xe9",
)


def _name(fmt: str) -> str:
    return f"'{fmt}'"


def _prints() -> list[Probe]:
    found = []
    for fmt, arguments in FORMATS.items():
        at = () if fmt in ("%d", "%s") else ONE_HOOK
        found.append(Probe(SNPRINTF, _name(fmt), snprintf(fmt, *arguments), at))
        if len(arguments) <= 4:
            code = vprinted(fmt.encode() + b"\0", *arguments)
            found.append(Probe(VPRINT, _name(fmt), code, at))
        if len(arguments) <= 3 and all(isinstance(a, int) for a in arguments):
            numbers = [a for a in arguments if isinstance(a, int)]
            code = printed(fmt.encode() + b"\0", *numbers)
            found.append(Probe(PRINT, _name(fmt), code, at))
    for raw in BAD:
        name, at = f"bad {_name(raw.decode('latin-1'))}", () if raw == b"%z" else ONE_HOOK
        found += [
            Probe(PRINT, name, printed(raw + b"\0", 1, 2, 3), at),
            Probe(VPRINT, name, vprinted(raw + b"\0", 1, 2), at),
        ]
    return [
        *found,
        Probe(SNPRINTF, "no room", snprintf("%d", 5, size=0)),
        Probe(SNPRINTF, "one byte", snprintf("%d", 12345, size=1)),
        Probe(SNPRINTF, "cut", snprintf("%d", 12345, size=4)),
        Probe(SNPRINTF, "exactly", snprintf("%d", 12345, size=6)),
        Probe(SNPRINTF, "more arguments than there are", snprintf("%d", 5, 6)),
        Probe(SNPRINTF, "13 arguments", snprintf("%d", *range(13), length=104)),
        Probe(PRINT, "no zero at the end", printed(b"abcd")),
        Probe(PRINT, "a zero in the middle", printed(b"ab\0cd\0")),
        Probe(PRINT, "only a zero", printed(b"\0")),
        Probe(PRINT, "not ASCII", printed("é\0".encode())),
        Probe(PRINT, "a bell", printed(b"\x07\0")),
        Probe(PRINT, "a newline", printed(b"a\tb\n\0")),
        Probe(PRINT, "four arguments", printed(b"%d%d%d%d\0", 1, 2, 3)),
        Probe(VPRINT, "no zero at the end", vprinted(b"abcd")),
        Probe(VPRINT, "not ASCII", vprinted("é\0".encode())),
        Probe(VPRINT, "4 bytes of arguments", vprinted(b"x\0", 5, length=4)),
        Probe(VPRINT, "13 arguments", vprinted(b"x\0", *range(13), length=104)),
        Probe(VPRINT, "too few", vprinted(b"%d %d\0", 1)),
        Probe(VPRINT, "too many", vprinted(b"%d\0", 1, 2)),
    ]  # fmt: skip


def compared(one: bytes, size: int, other: str) -> Code:
    return [
        onto_stack(-16, one.ljust(8, b"\0")), to_stack(1, -16), mov(2, size),
        to_text(3, text(other)), call(COMPARE), keep(0),
    ]  # fmt: skip


def _compares() -> list[Probe]:
    return [
        Probe(COMPARE, "the same", compared(b"word", 5, "word")),
        Probe(COMPARE, "less", compared(b"wor", 5, "word")),
        Probe(COMPARE, "more", compared(b"words", 6, "word")),
        Probe(COMPARE, "a prefix", compared(b"wor", 3, "word")),
        Probe(COMPARE, "another", compared(b"xord", 4, "word")),
        Probe(COMPARE, "over 127", compared(b"\xfford", 4, "word")),
        Probe(COMPARE, "empty", compared(b"", 1, "")),
        Probe(COMPARE, "behind the zero", compared(b"ab\0x", 4, "ab")),
    ]


def table() -> list[Probe]:
    """All of these."""
    return [
        *(
            Probe(helper, name, parse(helper, content, base), () if name in COMMON else ONE_HOOK)
            for helper in (TO_LONG, TO_ULONG)
            for name, (content, base) in NUMBERS.items()
        ),
        *_prints(),
        *_compares(),
    ]
