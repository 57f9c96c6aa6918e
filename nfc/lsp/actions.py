"""Fixes: what a diagnostic's hint says to do, as edits.

A table of hints, each with the function that makes its edits. tests/lsp/test_lsp_actions.py
applies every one that docs/errors.md brings up, and sees the diagnostic gone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from nfc.errors import NfcError
from nfc.lsp.document import Document
from nfc.lsp.workspace import Workspace
from nfc.resources import data_dir
from nfc.sema import modules
from nfc.syntax.diagnostics import Diagnostic


@dataclass(frozen=True)
class Edit:
    """Characters `start` up to `end` of a document, and what takes their place."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Fix:
    """A title, and edits that do what it says; `sure` where the hint names one thing to do."""

    title: str
    edits: tuple[Edit, ...]
    sure: bool = True


@dataclass(frozen=True)
class _Problem:
    """A diagnostic in its document, with the files that might help."""

    workspace: Workspace
    document: Document
    diagnostic: Diagnostic
    hint: str

    @property
    def start(self) -> int:
        """Where the diagnostic begins."""
        return self.diagnostic.span.start

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.diagnostic.span.end

    @property
    def text(self) -> str:
        """What it is about."""
        return self.document.text.text[self.start : self.end]

    def instead(self, text: str, *, sure: bool = True) -> Fix:
        """Put a text in its place."""
        return Fix(f"Replace '{self.text}' by '{text}'", (Edit(self.start, self.end, text),), sure)

    def item(self) -> tuple[int, int]:
        """Where the item begins and ends that it stands in."""
        found = self.document.item_at(self.start)
        if found is None:
            return self.start, self.end
        return found[0] + found[1].start, found[0] + found[1].end


_Found = re.Match[str]
_Maker = Callable[[_Problem, _Found], Iterator[Fix]]


def fixes(workspace: Workspace, document: Document, diagnostic: Diagnostic) -> list[Fix]:
    """What can be done about a diagnostic of a document's present text."""
    hint = diagnostic.hint or ""
    problem = _Problem(workspace, document, diagnostic, hint)
    return [
        fix
        for pattern, make in _TABLE
        if (found := re.match(pattern, hint))
        for fix in make(problem, found)
    ]


def _nearest(problem: _Problem, found: _Found) -> Iterator[Fix]:
    yield problem.instead(found[1])


def _one_of(problem: _Problem, found: _Found) -> Iterator[Fix]:
    names = found[1].split(" or ")
    for name in names:
        yield problem.instead(name, sure=len(names) == 1)


def _join(problem: _Problem, found: _Found) -> Iterator[Fix]:
    yield problem.instead({"&": "and", "|": "or"}[problem.text])


def _end_with(problem: _Problem, found: _Found) -> Iterator[Fix]:
    """A function without `otherwise`: one before its closing brace."""
    _, end = problem.item()
    for rule in (found[1], found[2]):
        yield Fix(f"Add '{rule}'", (Edit(end - 1, end - 1, f"    {rule}\n"),), sure=False)


def _verdict(problem: _Problem, found: _Found) -> Iterator[Fix]:
    """A rule without a verdict: behind its last statement."""
    if problem.text.startswith(("when", "otherwise")):
        return
    for verdict in ("forward", "drop"):
        edit = Edit(problem.end, problem.end, f"\n        {verdict}")
        yield Fix(f"Add '{verdict}'", (edit,), sure=False)


def _delete(problem: _Problem, found: _Found) -> Iterator[Fix]:
    yield Fix(f"Delete '{problem.text.splitlines()[0]}'", (_line(problem),))


def _unquote(problem: _Problem, found: _Found) -> Iterator[Fix]:
    """Both quotes, if there is another one in the line."""
    text = problem.document.text.text
    line = text.find("\n", problem.end)
    other = text.find(problem.text, problem.end, line if line >= 0 else len(text))
    places = [problem.start] if other < 0 else [problem.start, other]
    yield Fix("Leave the quotes out", tuple(Edit(place, place + 1, "") for place in places))


def _line(problem: _Problem) -> Edit:
    """Delete it, with its line where nothing else is in that."""
    text = problem.document.text.text
    begin = text.rfind("\n", 0, problem.start) + 1
    end = text.find("\n", problem.end)
    if end >= 0 and not text[begin : problem.start].strip() + text[problem.end : end].strip():
        return Edit(begin, end + 1, "")
    return Edit(problem.start, problem.end, "")


def _cut(problem: _Problem, found: _Found) -> Iterator[Fix]:
    simple = re.fullmatch(r"[\w.]+", problem.text)
    yield problem.instead(
        f"{problem.text} {found[1]}" if simple else f"({problem.text}) {found[1]}", sure=False
    )


def _units(problem: _Problem, found: _Found) -> Iterator[Fix]:
    for value in found[0].split(", "):
        yield problem.instead(value, sure=False)


def _reserved(problem: _Problem, found: _Found) -> Iterator[Fix]:
    """A field at the end of a TLV."""
    begin, end = problem.item()
    text = problem.document.text.text
    inside = text[begin : end - 1].rstrip()
    comma = "" if inside.endswith((",", "{")) else ","
    place = begin + len(inside)
    apart = "\n    " if "\n" in text[place : end - 1] else " "
    yield Fix(f"Add '{found[1]}'", (Edit(place, place, f"{comma}{apart}{found[1]}"),))


def _declare(problem: _Problem, found: _Found) -> Iterator[Fix]:
    """A declaration before the item that needs it, with the comment above that kept with it."""
    begin, _ = problem.item()
    text = problem.document.text.text
    while begin > 0:
        line = text.rfind("\n", 0, begin - 1) + 1
        if not text[line:begin].startswith("#"):
            break
        begin = line
    yield Fix(f"Add '{found[1]}'", (Edit(begin, begin, f"{found[1]}\n\n"),))


def _use(problem: _Problem, found: _Found) -> Iterator[Fix]:
    """A file that declares the TLV."""
    here = problem.document.path
    place = 0
    for start, item in problem.document.items():
        if item.keyword == "use":
            place = problem.document.text.text.find("\n", start + item.end) + 1
    workspace = problem.workspace
    beside = [path.stem for path in workspace.open if path.parent == here.parent]
    for name in dict.fromkeys([*beside, *modules.known(here)]):
        path = modules.find(here, name, workspace.there)
        if path is None or path == here:
            continue
        try:
            document = workspace.get(path)
        except NfcError:
            continue
        if any(i.keyword == "tlv" and i.name == problem.text for _, i in document.items()):
            sure = path.parent == data_dir("stdlib")
            more = "" if place else "\n"
            yield Fix(f"Add 'use {name}'", (Edit(place, place, f"use {name}\n{more}"),), sure)


def _type(problem: _Problem, found: _Found) -> Iterator[Fix]:
    """`name type` or `name = …` without a type: a colon, or a colon and a type."""
    written = problem.text == found[1]
    name_end = len(problem.document.text.text[: problem.start].rstrip())
    text = ":" if written else f": {found[1]}"
    yield Fix(f"Add '{text}'", (Edit(name_end, name_end, text),), sure=written)


def _const_type(problem: _Problem, found: _Found) -> Iterator[Fix]:
    begin, end = problem.item()
    text = problem.document.text.text
    place = text.index(found[1], begin, end) + len(found[1])
    yield Fix("Add ': u32'", (Edit(place, place, ": u32"),), sure=False)


def _not(problem: _Problem, found: _Found) -> Iterator[Fix]:
    yield problem.instead("not ")


_TABLE: tuple[tuple[str, _Maker], ...] = (
    (r"did you mean '([^']+)'\?$", _nearest),
    (r"did you mean ([\w.]+(?: or [\w.]+)*)\?$", _one_of),
    (r"a comparison is written '(==)'", _nearest),
    (r"what no rule takes, '(otherwise)' does", _nearest),
    (r"the prefix is (\S+)$", _nearest),
    (r"conditions are joined with 'and' and 'or'", _join),
    (r"end it with '(otherwise forward)' or '(otherwise drop)'", _end_with),
    (r"end it with one of: ", _verdict),
    (r"(leave it out)$", _delete),
    (r"statements need nothing between them$", _delete),
    (r"names stand without quotes$", _unquote),
    (r"cut it with '(& 0x[0-9a-f]+)'", _cut),
    (r"[0-9]+ms, [0-9]+us, [0-9]+ns, [0-9]+s$", _units),
    (r"add (reserved: u[0-9]+)$", _reserved),
    (r"declare it: (counter \w+)$", _declare),
    (r"declare it with tlv, or use a file that does", _use),
    (r"its type follows: \w+: (\w+)$", _type),
    (r"const (\w+): u32 = …$", _const_type),
    (r"a condition is turned round with 'not'", _not),
)
