"""Reads a file of tests, compiles the program beside it, and checks both against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from nfc.compiler import Compilation, Compiled, compile_file
from nfc.errors import NfcError
from nfc.nft import tree
from nfc.nft.parser import parse
from nfc.nft.subject import Subject
from nfc.nft.values import show
from nfc.nft.walk import check
from nfc.packet import TlvNames
from nfc.sema import modules, typed, types
from nfc.sema.declare import declare
from nfc.sema.scope import Scope
from nfc.syntax import tree as nf
from nfc.syntax.diagnostics import Diagnostics, SourceErrors, nearest
from nfc.syntax.source import Source

_Item = TypeVar("_Item", tree.Const, tree.LetPacket)


def program_of(path: Path) -> Path:
    """The program that a file of tests stands beside. Raises NfcError."""
    beside = path.with_suffix(".nf")
    if not beside.is_file():
        raise NfcError(
            f"there is no {beside.name} beside {path}", hint="X.nft holds the tests of X.nf"
        )
    return beside


def load(path: Path) -> Subject:
    """Read and check a file of tests, compile its program. Raises SourceErrors, NfcError."""
    diagnostics = Diagnostics()
    file = parse(Source.read(path), diagnostics)
    compilation = compile_file(program_of(path))
    scope = _scope(file, compilation, diagnostics)
    consts = _named(file.consts, diagnostics)
    packets = _named(file.packets, diagnostics)
    tests = _tests(file, compilation, diagnostics)
    subject = Subject(
        path,
        file,
        compilation,
        scope,
        consts,
        packets,
        tests,
        {},
        {t.number: _names(t) for t in scope.tlvs.values()},
    )
    check(subject, diagnostics)
    if diagnostics.has_errors:
        raise SourceErrors(diagnostics.sorted())
    wanted = {c.function.name: c for _, c in tests}
    objects = {name: compilation.object([c]) for name, c in wanted.items()}
    return replace(subject, objects=objects)


def _scope(file: tree.File, compilation: Compilation, diagnostics: Diagnostics) -> Scope:
    """The program's names, and those of the files that the tests use."""
    main = compilation.tree
    asked = {i.module.text for i in main.items if isinstance(i, nf.Use)}
    more = [
        u
        for u in file.uses
        if u.module.text not in asked and u.module.text != Path(compilation.source.name).stem
    ]
    whole = replace(main, items=(*main.items, *more))
    path = Path(compilation.source.name)
    before = len(diagnostics.items)
    used = modules.load(path, whole, diagnostics)
    return declare([whole, *used], diagnostics, incomplete=len(diagnostics.items) > before)


def _named(items: tuple[_Item, ...], diagnostics: Diagnostics) -> dict[str, _Item]:
    found: dict[str, _Item] = {}
    for item in items:
        if item.name.text in found:
            line = found[item.name.text].span.line
            said = f"'{item.name.text}' is declared twice"
            diagnostics.error(item.name.span, said, f"first in line {line}")
        found[item.name.text] = item
    return found


def _tests(
    file: tree.File, compilation: Compilation, diagnostics: Diagnostics
) -> tuple[tuple[tree.Test, Compiled], ...]:
    """Each test with its function."""
    names = [c.function.name for c in compilation.functions]
    found = []
    counts = Counter((t.name, t.function.text if t.function else "") for t in file.tests)
    for test in file.tests:
        if counts[test.name, test.function.text if test.function else ""] > 1:
            diagnostics.error(test.span, f"two tests are called '{test.name}'")
        if test.function is None:
            if len(names) != 1:
                hint = f'test "{test.name}" of {names[0]} {{' if names else None
                said = f"{compilation.source.name} has {len(names)} functions: of which is this?"
                diagnostics.error(test.span, said, hint)
                continue
            found.append((test, compilation.functions[0]))
        elif test.function.text not in names:
            said = f"{compilation.source.name} has no function '{test.function.text}'"
            hint = nearest(test.function.text, names) or f"its functions: {', '.join(names)}"
            diagnostics.error(test.function.span, said, hint)
        else:
            place = names.index(test.function.text)
            found.append((test, compilation.functions[place]))
    return tuple(found)


def _names(tlv: typed.Tlv) -> TlvNames:
    """How a difference in a TLV is told."""
    fields = []
    bit = 16
    for one in tlv.fields:
        name = one.name or f"reserved bits at {bit}"
        fields.append((name, one.type.bits, _reads(one.type)))
        bit += one.type.bits
    return TlvNames(tlv.name, tuple(fields))


def _reads(type_: types.Type) -> Callable[[int], str]:
    def text(value: int) -> str:
        if isinstance(type_, types.Timestamp):
            value = (value >> 32) * 1_000_000_000 + (value & 0xFFFF_FFFF)
        return show(value, type_)

    return text
