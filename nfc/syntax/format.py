"""The one layout of a program: `nfc fmt`. docs/style-of-nf.md says what it looks like and why.

A unit (an item, a rule, a statement, a part of a list) is one line where it fits, and is broken
from the outside in where it does not: behind `=`, before the loosest operator, into the parts of
its last list, into the operands in its last parentheses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from lark import Token

from nfc.errors import NfcError
from nfc.syntax import pieces
from nfc.syntax.align import WIDTH, Row, arrange
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.language import words
from nfc.syntax.parser import lex, parse, parse_tokens, parts
from nfc.syntax.pieces import HEADS, Atom, Entry, Group, Kind, Node, is_comment, is_word
from nfc.syntax.source import MAX_SOURCE_BYTES, Source

STEP = 4
_HEAD_STEP = 8  # a condition's further lines stand deeper than the body under them

# Before which words a long expression is broken, loosest first.
_LEVELS = (
    {"or"},
    {"and"},
    {"==", "!=", "<", "<=", ">", ">="},
    {"&", "|", "^", "<<", ">>"},
    {"+", "-"},
    {"*", "/", "%"},
)
_CALLS = {"sample"}  # words of the language that are written like a function
_TIGHT_AFTER = {"(", "[", "."}
_TIGHT_BEFORE = {")", "]", ",", ":", "."}


Tokens = list[tuple[int, Token]]  # of a text, with where each begins


def read(source: Source) -> Tokens:
    """The tokens of a text. Raises SourceErrors when it does not parse."""
    diagnostics = Diagnostics()
    tokens = lex(source.text)
    parse_tokens(tokens, source, diagnostics)
    diagnostics.check()
    return [(token.start_pos or 0, token) for token in tokens]


def format_source(source: Source, tokens: Tokens | None = None) -> str:
    """The text of a file in its canonical layout; formatting that again changes nothing.

    Only spaces, line ends and the commas behind last parts change, and comments within a line
    move above it. `tokens` are those of the text, where it is known that it parses. Raises
    SourceErrors when it does not.
    """
    stream = pieces.atoms(source, read(source) if tokens is None else tokens)
    lines = _rows(pieces.items(pieces.nest(stream)), 0, top=True)
    text = "".join(f"{line}\n" for line in lines)
    if len(text.encode()) > MAX_SOURCE_BYTES:
        raise NfcError(f"{source.name} formatted would be larger than {MAX_SOURCE_BYTES} bytes")
    if not _same(source.text, text):
        raise NfcError(f"{source.name} formatted would mean something else, a mistake of nfc's")
    return text


def _same(before: str, after: str) -> bool:
    """Whether a text that parses means the same as another one, and has the same comments.

    Where the tokens of an item are the same it is the same item, whatever stands between them. So
    only what has got other commas is parsed, and all of it where items are cut elsewhere.
    """
    old, new = (
        [text[a:b] for a, b in pairwise([*parts(text), len(text)])] for text in (before, after)
    )
    if _comments(before) != _comments(after):
        return False
    changed = [(was, now) for was, now in zip(old, new, strict=False) if was != now]
    if len(old) != len(new) or any(_meaning(was) != _meaning(now) for was, now in changed):
        return _meaning(before) == _meaning(after) and _parses(after)
    return all(_tokens_of(was) == _tokens_of(now) or _parses(now) for was, now in changed)


def _parses(text: str) -> bool:
    diagnostics = Diagnostics()
    parse(Source("", text), diagnostics)
    return not diagnostics.has_errors


def _comments(text: str) -> list[str]:
    """The comments of a text, in any order; no other token has that character in it."""
    return sorted(found.rstrip() for found in pieces.COMMENT.findall(text))


def _tokens_of(text: str) -> list[str]:
    return [word for word in words(text) if word[0] != "#"]


def _meaning(text: str) -> list[str]:
    """Tokens without the commas that may be left out."""
    tokens = _tokens_of(text)
    return [t for t, after in pairwise([*tokens, ""]) if t != "," or after not in ("]", "}")]


# ---- one line -------------------------------------------------------------------------------


def _tokens(nodes: Sequence[Node]) -> Iterator[Atom]:
    """The tokens of nodes on one line: without commas behind last parts."""
    for node in nodes:
        if isinstance(node, Atom):
            yield node
            continue
        yield node.open
        children = node.children
        if node.kind is Kind.LIST and children and is_word(children[-1], (",",)):
            children = children[:-1]
        yield from _tokens(children)
        if node.kind is not Kind.OPEN:
            yield node.close


def _space(before: Atom, after: Atom) -> str:
    """What stands between two tokens of a line."""
    if before.text in _TIGHT_AFTER or after.text in _TIGHT_BEFORE:
        return ""
    if before.text == "{" and after.text == "}":
        return ""
    if after.text == "(":
        return "" if before.name or before.text in _CALLS else " "
    if after.text == "[":
        return "" if before.name else " "
    return " "


def _flat(nodes: Sequence[Node]) -> str:
    """Nodes as one line."""
    out: list[str] = []
    before: Atom | None = None
    for atom in _tokens(nodes):
        out += (_space(before, atom) if before else "", atom.text)
        before = atom
    return "".join(out)


def _wide(node: Node) -> bool:
    """Whether a node takes several lines whatever its width: the author broke it, or comments."""
    if isinstance(node, Atom):
        return node.is_comment
    if node.kind is Kind.PAREN:
        return any(map(_wide, node.children))
    if node.kind is Kind.OPEN:
        return any(map(_wide, node.children)) or _listed(node)
    if not node.children:
        return False
    return node.close.newlines > 0 or any(map(_several_lines, node.children))


def _several_lines(node: Node) -> bool:
    """Whether there is a line end, or a comment, before a node or in it."""
    if isinstance(node, Atom):
        return node.newlines > 0 or node.is_comment
    return node.newlines > 0 or node.close.newlines > 0 or any(map(_several_lines, node.children))


def _listed(group: Group) -> bool:
    """Whether the author began a part of a list without brackets on a line of its own."""
    starts = (None, *group.children)
    return any(
        node.newlines > 0
        for before, node in zip(starts, group.children, strict=False)
        if before is None or is_comment(before) or is_word(before, (",",))
    )


# ---- several lines --------------------------------------------------------------------------


def _rows(
    entries: Sequence[Entry], indent: int, comma: str = "", *, last: bool = True, top: bool = False
) -> list[str]:
    """The lines of entries, each indented; `comma` behind each unit, if `last` the last one too."""
    rows: list[Row] = []
    pad = " " * indent
    final = max((i for i, e in enumerate(entries) if not e.is_comment), default=-1)
    for i, entry in enumerate(entries):
        if entry.is_comment:
            rows.append(Row([pad + _flat(entry.nodes)], entry.blank))
            continue
        end = comma if last or i < final else ""
        lines = _unit(entry.nodes, indent, indent, len(end))
        lines = [pad + lines[0], *lines[1:]]
        lines[-1] += end
        rows.append(Row(lines, entry.blank, entry.comment, _columns(entry.nodes) if top else ()))
    return arrange(rows, top=top)


def _columns(nodes: Sequence[Node]) -> tuple[str, ...]:
    """The parts of a declaration that stand under those of the one above; none for others."""
    if not is_word(nodes[0], ("param", "const")):
        return ()
    colon = next((i for i, n in enumerate(nodes) if is_word(n, (":",))), None)
    equal = next(i for i, n in enumerate(nodes) if is_word(n, ("=",)))
    middle = equal if colon is None else colon + 1
    return _flat(nodes[:middle]), _flat(nodes[middle:equal]), _flat(nodes[equal:])


def _unit(nodes: Sequence[Node], indent: int, column: int, tail: int) -> list[str]:
    """The lines of a unit. The first begins at `column`; the others are indented already.

    `tail` columns behind the last line are kept free.
    """
    for i, node in enumerate(nodes):
        if isinstance(node, Group) and node.kind is Kind.BLOCK:
            lines = _block(nodes[:i], node, indent, column, tail)
            if i + 1 < len(nodes):
                more = _unit(nodes[i + 1 :], indent, len(lines[-1]) + 1, tail)
                lines = [*lines[:-1], f"{lines[-1]} {more[0]}", *more[1:]]
            return lines
    body = pieces.body_at(nodes)
    if body is not None:
        return _bare_body(nodes[:body], nodes[body:], indent, column, tail)
    return _flow(nodes, indent, column, tail)


def _block(head: Sequence[Node], block: Group, indent: int, column: int, tail: int) -> list[str]:
    """A head and its block, which is one line if the author wrote one, and it is one statement."""
    lines = _flow(head, indent, column, len(" {"), _HEAD_STEP)
    comment, entries = pieces.inside(block)
    if not _wide(block) and len(entries) == len(lines) == 1:
        line = f"{lines[0]} {{ {_flat(entries[0].nodes)} }}"
        if not is_word(entries[0].nodes[0], HEADS) and column + len(line) + tail <= WIDTH:
            return [line]
    return [*_opened(lines, "{", comment), *_rows(entries, indent + STEP), " " * indent + "}"]


def _opened(lines: list[str], bracket: str, comment: str | None) -> list[str]:
    behind = f"  {comment}" if comment else ""
    return [*lines[:-1], f"{lines[-1]} {bracket}{behind}"]


def _bare_body(
    head: Sequence[Node], body: Sequence[Node], indent: int, column: int, tail: int
) -> list[str]:
    """A rule whose body is a statement: behind the head if it can begin there, else under it."""
    lines = _flow(head, indent, column, 0, _HEAD_STEP)
    if len(lines) == 1:
        place = column + len(lines[0]) + 1
        behind = _flow(body, indent, place, tail)
        if place + len(behind[0]) + (tail if len(behind) == 1 else 0) <= WIDTH:
            return [f"{lines[0]} {behind[0]}", *behind[1:]]
    under = _flow(body, indent + STEP, indent + STEP, tail)
    return [*lines, " " * (indent + STEP) + under[0], *under[1:]]


def _flow(
    nodes: Sequence[Node], indent: int, column: int, tail: int, step: int = STEP
) -> list[str]:
    """The lines of a unit, or of a part of one, without a body; further lines `step` deeper."""
    wide = any(map(_wide, nodes))
    if not wide:
        line = _flat(nodes)
        if column + len(line) + tail <= WIDTH:
            return [line]
    last = nodes[-1]
    if isinstance(last, Group) and last.kind is Kind.OPEN:
        return _open_list(nodes[:-1], last, indent, column, tail, step)
    lists = [i for i, n in enumerate(nodes) if isinstance(n, Group) and n.kind is Kind.LIST]
    equal = next((i for i, n in enumerate(nodes) if is_word(n, ("=",))), len(nodes))
    if equal + 1 < len(nodes) and not any(i > equal for i in lists):
        inner = indent + step
        first = _flow(nodes[: equal + 1], indent, column, 0, step)
        value = _flow(nodes[equal + 1 :], inner, inner, tail, 0)
        return [*first, " " * inner + value[0], *value[1:]]
    for level in _LEVELS:
        cuts = [i for i, n in enumerate(nodes) if i and is_word(n, level)]
        if cuts:
            return _clauses(nodes, cuts, indent, column, tail, step)
    return _compose(nodes, indent, column, tail)


def _clauses(
    nodes: Sequence[Node], cuts: list[int], indent: int, column: int, tail: int, step: int
) -> list[str]:
    """One line, at least, for each part of an expression; `cuts` are its operators."""
    deeper = indent + step
    rows: list[Row] = []
    for start, end in zip([0, *cuts], [*cuts, len(nodes)], strict=True):
        part = nodes[start:end]
        size = len(part)
        while is_comment(part[size - 1]):
            size -= 1
        comments, part = list(part[size:]), part[:size]
        place = deeper if start else column
        lines = _flow(part, deeper, place, tail if end == len(nodes) else 0)
        lines[0] = " " * place + lines[0]
        behind = None
        if comments and comments[0].newlines == 0:
            behind = _flat([comments.pop(0)])
        rows.append(Row(lines, False, behind))
        rows += [Row([" " * deeper + _flat([c])], False) for c in comments]
    first, *others = arrange(rows)
    return [first[column:], *others]


def _open_list(
    prefix: Sequence[Node], group: Group, indent: int, column: int, tail: int, step: int
) -> list[str]:
    """A statement that ends in a list without brackets, behind `group.open`."""
    head = [*prefix, group.open]
    comment, entries = pieces.inside(group)
    inner = indent + STEP
    behind = [*head, *group.children]
    if comment is None and len(entries) == 1:
        only = entries[0].nodes
        if any(map(_wide, only)) or inner + len(_flat(only)) + tail > WIDTH:
            return _flow([*head, *only], indent, column, tail, step)
    if comment is None and not _listed(group) and not any(map(_wide, group.children)):
        lines = _compose(behind, indent, column, tail, only_wide=True)
        if _fits(lines, column, tail):
            return lines
    lines = _flow(head, indent, column, 0, step)
    if comment:
        lines[-1] += f"  {comment}"
    return [*lines, *_rows(entries, inner, ",", last=False)]


def _fits(lines: list[str], column: int, tail: int) -> bool:
    ends = [*([0] * (len(lines) - 1)), tail]
    starts = [column, *([0] * (len(lines) - 1))]
    return all(
        start + len(line) + end <= WIDTH
        for start, line, end in zip(starts, lines, ends, strict=True)
    )


def _compose(
    nodes: Sequence[Node], indent: int, column: int, tail: int, *, only_wide: bool = False
) -> list[str]:
    """The lines of nodes with those brackets broken that must be, the last ones first.

    With `only_wide` those alone that the author broke.
    """
    groups = [(i, n) for i, n in enumerate(nodes) if isinstance(n, Group) and n.children]
    broken = {i for i, group in groups if _wide(group)}
    order = [
        *(i for i, group in groups if group.kind is Kind.PAREN),
        *(i for i, group in groups if group.kind is not Kind.PAREN),
    ]
    left = [] if only_wide else [i for i in order if i not in broken]
    while left and not _fits(_spine(nodes, broken), column, tail):
        broken.add(left.pop())
    spine = _spine(nodes, broken)
    lines = [spine[0]]
    for i, rest in zip(sorted(broken), spine[1:], strict=True):
        group = nodes[i]
        assert isinstance(group, Group)
        comment, entries = pieces.inside(group)
        if comment:
            lines[-1] += f"  {comment}"
        comma, last = (",", group.kind is not Kind.PAREN)
        lines += [*_rows(entries, indent + STEP, comma, last=last), " " * indent + rest]
    return lines


def _spine(nodes: Sequence[Node], broken: set[int]) -> list[str]:
    """The lines between the contents of broken brackets."""
    lines: list[list[Node]] = [[]]
    for i, node in enumerate(nodes):
        if i in broken and isinstance(node, Group):
            lines[-1].append(node.open)
            lines.append([node.close])
        else:
            lines[-1].append(node)
    return [_flat(line) for line in lines]
