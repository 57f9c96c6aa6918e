"""What a file's layout is made of: tokens and comments, brackets, and the lines within them.

The formatter (nfc/syntax/format.py) works on this and not on the tree, so that a new construct
has a layout as soon as the parser takes it: brackets and the words that begin statements say
where lines end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple

from lark import Token

from nfc.syntax.language import ITEM_KEYWORDS, STATEMENT_STARTS
from nfc.syntax.source import Source

HEADS = {"when", "otherwise"}  # what follows their condition is a body: in braces, or one statement
OPEN_LISTS = {"with"}  # a list without brackets follows, up to the statement's end
JOINTS = {"and", "or"}  # a comment may stand at the end of the line before one
_CLOSES = {"{": "}", "(": ")", "[": "]"}
COMMENT = re.compile(r"#[^\n]*")


class Atom(NamedTuple):
    """A token or a comment; `newlines` counts the line ends between it and the atom before."""

    text: str
    kind: str  # lark's name for the token, or COMMENT
    newlines: int = 0
    name: bool = False  # a name, or a word that is one because it stands behind a dot

    @property
    def is_comment(self) -> bool:
        """Whether this is a comment."""
        return self.kind == "COMMENT"


class Kind(Enum):
    """What stands within brackets."""

    BLOCK = "rules or statements"
    LIST = "parts with commas between, one a line where they do not stay on one"
    OPEN = "the same without brackets, behind a word"
    PAREN = "an operand, arguments or an index: broken only if too long"


@dataclass(frozen=True)
class Group:
    """Brackets and what they hold. An OPEN group's `open` is its word, its `close` is empty."""

    kind: Kind
    open: Atom
    children: tuple[Node, ...]
    close: Atom

    @property
    def newlines(self) -> int:
        """Line ends before the bracket."""
        return self.open.newlines


Node = Atom | Group


@dataclass(frozen=True)
class Entry:
    """What gets a line, or lines, of its own: a comment, or a unit with the comment behind it."""

    nodes: tuple[Node, ...]
    blank: bool  # whether the author left an empty line before it
    comment: str | None = None

    @property
    def is_comment(self) -> bool:
        """Whether this is a comment alone."""
        return is_comment(self.nodes[0])


def is_comment(node: Node) -> bool:
    """Whether a node is a comment."""
    return isinstance(node, Atom) and node.is_comment


def is_word(node: Node, words: Iterable[str]) -> bool:
    """Whether a node is one of these words or signs, and not a field of that name."""
    return isinstance(node, Atom) and node.text in words and not node.name and not node.is_comment


def atoms(source: Source, tokens: Iterable[tuple[int, Token]]) -> list[Atom]:
    """The tokens and comments of a text that parses, given its tokens and where each begins."""
    out: list[Atom] = []
    text, place, dot = source.text, 0, False
    for start, token in tokens:
        newlines = text.count("\n", place, start)
        if text.find("#", place, start) >= 0:
            newlines = _comments(text, place, start, out)
        word, kind = token.value, token.type
        out.append(Atom(word, kind, newlines, dot or kind == "NAME"))
        place, dot = start + len(word), word == "."
    _comments(text, place, len(text), out)
    return out


def _comments(text: str, place: int, end: int, out: list[Atom]) -> int:
    """Note the comments between two places; the line ends behind the last one."""
    for found in COMMENT.finditer(text, place, end):
        out.append(Atom(found[0].rstrip(), "COMMENT", text.count("\n", place, found.start())))
        place = found.end()
    return text.count("\n", place, end)


def nest(stream: Iterable[Atom]) -> tuple[Node, ...]:
    """The atoms with their brackets paired, which those of a text that parses are."""
    levels: list[list[Node]] = [[]]
    opened: list[tuple[Atom, bool]] = []
    before: Atom | None = None
    for atom in stream:
        if atom.is_comment:
            levels[-1].append(atom)
            continue
        if atom.text in _CLOSES:
            opened.append((atom, before is not None and before.name))
            levels.append([])
        elif opened and atom.text == _CLOSES[opened[-1][0].text]:
            start, behind_name = opened.pop()
            children = tuple(levels.pop())
            levels[-1].append(Group(_kind(start, children, behind_name), start, children, atom))
        else:
            levels[-1].append(atom)
        before = atom
    return tuple(levels[0])


def _kind(start: Atom, children: tuple[Node, ...], behind_name: bool) -> Kind:
    if start.text == "(" or (start.text == "[" and behind_name):
        return Kind.PAREN
    first = [c for c in children if not is_comment(c)][:2]
    # { count seen … } holds statements, { count = 1 } and { count: u8 } hold fields.
    begins = start.text == "{" and bool(first) and is_word(first[0], STATEMENT_STARTS)
    return Kind.BLOCK if begins and not is_word(first[-1], (":", "=", ",")) else Kind.LIST


def items(nodes: Iterable[Node]) -> list[Entry]:
    """The declarations and functions of a file, and the comments between them."""
    return _entries(nodes, lambda unit, node: is_word(node, ITEM_KEYWORDS))


def inside(group: Group) -> tuple[str | None, list[Entry]]:
    """The comment on the line of the opening bracket, and the entries within."""
    children = group.children
    comment = None
    if children and is_comment(children[0]) and children[0].newlines == 0:
        assert isinstance(children[0], Atom)
        comment, children = children[0].text, children[1:]
    return comment, _entries(children, _new_statement if group.kind is Kind.BLOCK else None)


def body_at(unit: Sequence[Node]) -> int | None:
    """Where the body of a rule begins; None if the unit is no rule, or has none yet."""
    if not unit or not is_word(unit[0], HEADS):
        return None
    for i, node in enumerate(unit[1:], 1):
        if is_word(node, STATEMENT_STARTS) or (isinstance(node, Group) and _may_be_body(node)):
            return i
    return None


def _may_be_body(group: Group) -> bool:
    empty = group.open.text == "{" and all(map(is_comment, group.children))
    return empty or group.kind is Kind.BLOCK


def _new_statement(unit: list[Node], node: Node) -> bool:
    if not is_word(node, STATEMENT_STARTS):
        return False
    return not is_word(unit[0], HEADS) or body_at(unit) is not None


def _entries(
    nodes: Iterable[Node], begins: Callable[[list[Node], Node], bool] | None
) -> list[Entry]:
    """Cut nodes into entries: where `begins` says that one begins, or at commas (dropped)."""
    out: list[Entry] = []
    unit: list[Node] = []
    early: list[Atom] = []  # comments between the unit and its comma
    late: list[Atom] = []  # comments since the unit, or since its comma
    closed = False
    for node in nodes:
        if isinstance(node, Atom) and node.is_comment:
            late.append(node)
        elif begins is None and is_word(node, (",",)):
            early, late, closed = late, [], True
        else:
            if closed or not unit or (begins is not None and begins(unit, node)):
                out += _entry(unit, early, late)
                unit, early, closed = [], [], False
            else:
                unit += late
            late = []
            unit.append(node)
    return [*out, *_entry(unit, early, late)]


def _entry(unit: list[Node], early: list[Atom], late: list[Atom]) -> Iterator[Entry]:
    """A unit, with the comments before and behind it."""
    if unit:
        comment = None
        if late and late[0].newlines == 0:
            comment, late = late[0].text, late[1:]
        elif early and early[0].newlines == 0:
            comment, early = early[0].text, early[1:]
        above, kept = _settle(unit)
        blank = unit[0].newlines > 1
        for atom in [*above, *early]:
            yield Entry((atom,), blank)
            blank = False
        yield Entry(kept, blank, comment)
    for atom in late:
        yield Entry((atom,), atom.newlines > 1)


def _settle(unit: list[Node]) -> tuple[list[Atom], tuple[Node, ...]]:
    """Comments in the middle of a unit that have to go above it, and the unit without them.

    Those that end a line of a condition stay, and so do those within lists and blocks. One
    before an opening brace goes behind it.
    """
    word = next((i for i, node in enumerate(unit) if is_word(node, OPEN_LISTS)), None)
    if word is not None:
        first = unit[word]
        assert isinstance(first, Atom)
        rest = tuple(unit[word + 1 :])
        unit = [*unit[:word], Group(Kind.OPEN, first, rest, Atom("", "END"))]
    above: list[Atom] = []
    kept: list[Node] = []
    for node, follows in zip(unit, _following(unit), strict=True):
        if isinstance(node, Atom) and node.is_comment:
            if is_word(follows, JOINTS) or _takes(follows, node):
                kept.append(node)
            else:
                above.append(node)
        elif isinstance(node, Group) and node.kind is Kind.PAREN:
            kept.append(_bare(node, above))
        elif kept and isinstance(node, Group) and is_comment(kept[-1]):
            comment = kept.pop()
            kept.append(replace(node, children=(comment, *node.children)))
        else:
            kept.append(node)
    return above, tuple(kept)


def _following(unit: list[Node]) -> list[Node]:
    """For each node the next that is no comment; a unit's last node is none."""
    out: list[Node] = []
    follows = unit[-1]
    for node in reversed(unit):
        out.append(follows)
        follows = follows if is_comment(node) else node
    return out[::-1]


def _takes(node: Node, comment: Atom) -> bool:
    """Whether a comment can move behind the bracket that follows it."""
    if not isinstance(node, Group) or node.kind not in (Kind.BLOCK, Kind.LIST):
        return False
    first = node.children[0] if node.children else None
    taken = first is not None and is_comment(first) and first.newlines == 0
    return comment.newlines == 0 and not taken


def _bare(group: Group, comments: list[Atom]) -> Group:
    """A group without the comments in it, which go to `comments`."""
    kept: list[Node] = []
    for node in group.children:
        if isinstance(node, Group):
            kept.append(_bare(node, comments))
        elif node.is_comment:
            comments.append(node)
        else:
            kept.append(node)
    return replace(group, children=tuple(kept))
