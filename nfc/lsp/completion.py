"""What can stand at a place: words that the grammar takes there and the hook allows, and names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from lark import Token, UnexpectedInput
from lsprotocol import types as lsp

from nfc.lsp import words
from nfc.lsp.document import Document
from nfc.lsp.hover import describe
from nfc.lsp.mentions import Item, Mention, read_item
from nfc.lsp.program import Program, Symbol
from nfc.sema import modules, types
from nfc.sema.headers import HEADERS, HMAC_TLV, META, META_NAME, SEGMENT_LIST
from nfc.sema.hooks import HOOKS, VERDICTS, Hook
from nfc.sema.verdicts import TABLES
from nfc.syntax.language import ITEM_KEYWORDS, STATEMENT_STARTS, lark
from nfc.syntax.parser import chunks, lex

Kind = lsp.CompletionItemKind
_HERE = "here_"  # the name that is being typed, to the parser
_VERDICT_WORDS = {VERDICTS[v][0].split()[0] for v in VERDICTS}
_KINDS = {
    "const": Kind.Constant, "param": Kind.Variable, "state": Kind.Variable, "tlv": Kind.Struct,
    "event": Kind.Event, "table": Kind.Class, "counter": Kind.Variable, "define": Kind.Function,
    "enum": Kind.Enum, "member": Kind.EnumMember, "field": Kind.Field, "argument": Kind.Variable,
}  # fmt: skip


@dataclass(frozen=True)
class Offer:
    """Something that can be written; `first` puts it before the others."""

    label: str
    kind: lsp.CompletionItemKind
    detail: str = ""
    text: str = ""  # Markdown
    first: bool = False

    def item(self) -> lsp.CompletionItem:
        """As the protocol has it."""
        return lsp.CompletionItem(
            self.label,
            kind=self.kind,
            detail=self.detail or None,
            documentation=lsp.MarkupContent(lsp.MarkupKind.Markdown, self.text)
            if self.text
            else None,
            sort_text=f"{0 if self.first else 1}{self.label}",
        )


@dataclass(frozen=True)
class _Cursor:
    """The item up to the place where something is typed; `mention` is the part that it plays."""

    start: int
    tokens: list[Token]
    item: Item
    mention: Mention | None

    @property
    def before(self) -> str:
        """The token in front."""
        return str(self.tokens[-1]) if self.tokens else ""

    @property
    def hook(self) -> Hook | None:
        """The hook of the function."""
        return HOOKS.get(self.item.hook)


def complete(program: Program, document: Document, offset: int) -> list[Offer]:
    """All that can be written at an offset."""
    start, part = document.at(offset)
    local = offset - start
    if any(begin < local <= end for begin, end in part.comments):
        return []
    tokens = lex(part.text[:local])
    if tokens and tokens[-1].end_pos == local:
        if tokens[-1].type == "NAME" or tokens[-1].value.isalpha():
            tokens.pop()
        elif tokens[-1].type in ("INT", "IPV6", "IPV4", "PREFIX", "PREFIX4", "DURATION"):
            return []
    line = document.text.text[document.text.text.rfind("\n", 0, offset) + 1 : offset]
    whole = list(chunks(tokens))
    if not whole:
        return list(_keywords(ITEM_KEYWORDS))
    cursor = _cursor(start, whole[-1], local)
    accepted = _accepted(cursor)
    offers: list[Offer] = []
    if "$END" in accepted or (line.isalpha() or not line):
        offers += _keywords(ITEM_KEYWORDS)
    offers += _words(program, cursor, accepted)
    if "NAME" in accepted and cursor.mention is not None and not _only_a_table(cursor):
        offers += _names(program, document, cursor, cursor.mention)
    unique = {offer.label: offer for offer in reversed(offers)}
    return sorted(unique.values(), key=lambda o: (not o.first, o.label))


def _cursor(start: int, tokens: list[Token], local: int) -> _Cursor:
    here = Token("NAME", _HERE, start_pos=local, end_pos=local + len(_HERE))
    item = read_item([*tokens, here])
    mention = next((m for m in item.mentions if m.start == local and m.text == _HERE), None)
    return _Cursor(start, tokens, item, mention)


# ---- words ----------------------------------------------------------------------------------


@cache
def _terminals() -> dict[str, str]:
    """The words of the language by what the grammar calls them."""
    found = {t.name: t.pattern.value for t in lark().terminals if t.pattern.type == "str"}
    return {name: word for name, word in found.items() if word.isalpha()}


def _accepted(cursor: _Cursor) -> set[str]:
    """The kinds of token that the grammar takes at the cursor.

    Of a function only the rule that is being typed matters, and mistakes before it do not.
    """
    tokens = cursor.tokens
    if cursor.item.rules:
        first = cursor.item.rules[-1]
        opened = next((i for i, t in enumerate(tokens) if t.value == "{"), 0)
        tokens = [*tokens[: opened + 1], *(t for t in tokens if (t.start_pos or 0) >= first)]
    parser = lark().parse_interactive(start="item")
    try:
        for token in tokens:
            parser.feed_token(token)
    except UnexpectedInput:
        return {"NAME"}
    return set(parser.accepts())  # type: ignore[no-untyped-call]


def _keywords(names: Sequence[str]) -> Iterator[Offer]:
    for name in names:
        yield Offer(name, Kind.Keyword, text=words.KEYWORDS[name])


def _words(program: Program, cursor: _Cursor, accepted: set[str]) -> Iterator[Offer]:
    """The words that can stand at the cursor."""
    found = {_terminals()[name] for name in accepted if name in _terminals()}
    role = cursor.mention.role if cursor.mention else ""
    if role in ("access", "given", "field", "key"):  # where every word is a name
        found &= {"reserved"} if role == "field" else set()
    if cursor.hook is not None:
        found -= _impossible(program, cursor, cursor.hook)
    yield from _keywords(sorted(found & set(words.KEYWORDS)))


def _impossible(program: Program, cursor: _Cursor, hook: Hook) -> set[str]:
    """Words that the grammar takes, but not this hook, or not this program."""
    scope = program.scope
    verdicts = {VERDICTS[v][0] for v in hook.verdicts}
    gone = {w for w in _VERDICT_WORDS if not any(v.split()[0] == w for v in verdicts)}
    if not hook.rebuilds:
        gone |= {"add", "replace"} | (set() if scope.tables else {"remove"})
    if not scope.tables:
        gone.add("put")
    if not scope.events:
        gone.add("emit")
    if not scope.counters and not scope.keyed:
        gone.add("count")
    if not hook.says_source:
        gone.add("from")
    if cursor.before == "forward":
        gone |= {"via", "to"} - {word for v in verdicts for word in v.split()[1:2]}
    if cursor.before == "to" and "forward to table" not in verdicts:
        gone.add("table")
    if any(_is_verdict(cursor, t) for t in cursor.tokens):
        gone |= STATEMENT_STARTS - {"when", "otherwise"}
    return gone


def _only_a_table(cursor: _Cursor) -> bool:
    """Whether a table must follow: behind `forward to`, an interface can at one hook only."""
    verb = cursor.tokens[-2].value if len(cursor.tokens) > 1 else ""
    links = cursor.hook is not None and "ForwardLink" in cursor.hook.verdicts
    return cursor.before == "to" and verb == "forward" and not links


def _is_verdict(cursor: _Cursor, token: Token) -> bool:
    """Whether a token begins a verdict of the rule at the cursor."""
    begun = bool(cursor.item.rules) and (token.start_pos or 0) >= cursor.item.rules[-1]
    return begun and token.value in _VERDICT_WORDS and token.type != "NAME"


# ---- names ----------------------------------------------------------------------------------


def _names(
    program: Program, document: Document, cursor: _Cursor, mention: Mention
) -> Iterator[Offer]:
    """The names that can stand at the cursor."""
    scope = program.scope
    match mention.role:
        case "module":
            beside = document.path.parent
            for name in modules.known(document.path):
                here = (beside / f"{name}.nf").is_file()
                where = "beside this file" if here else "standard library"
                if name != document.path.stem or not here:
                    yield Offer(name, Kind.Module, where)
        case "type":
            for name in (*types.NAMED, "u8", "u16", "u32", "u64", "bytes6", "bytes16"):
                yield Offer(name, Kind.TypeParameter, text=words.of_type(name))
            yield from _of(program, "enum")
        case "kind":
            for name, text in words.KINDS.items():
                yield Offer(name, Kind.TypeParameter, text=text)
        case "hook":
            for name in ("out", "xmit"):
                yield Offer(name, Kind.Keyword, HOOKS[name].where)
        case "tlv":
            built = cursor.before not in ("has", "all")
            for offer in _of(program, "tlv"):
                tlv = scope.tlvs.get(offer.label)
                if not (built and tlv is not None and tlv.number == HMAC_TLV):
                    yield offer
        case "table" | "event" | "counter":
            yield from _of(program, mention.role)
        case "bound":
            if cursor.hook and cursor.hook.rebuilds:
                yield from _aliases(program, cursor, "tlv")
            if cursor.before == "remove":
                if cursor.hook and cursor.hook.rebuilds:
                    yield Offer("hmac", Kind.Keyword, text="Every HMAC TLV, and the flag H.")
                yield from _of(program, "table")
        case "routes":
            for name in TABLES:
                yield Offer(name, Kind.Constant, text=words.TABLES[name])
            yield from _of(program, "const")
        case "alias":
            if mention.owner:
                yield Offer(mention.owner.lower(), Kind.Variable, f"a name for {mention.owner}")
        case "given":
            yield from _given(program, cursor, mention)
        case "access":
            yield from _fields(program, cursor, mention)
        case "value" | "base" | "call" | "subject":
            yield from _values(program, cursor)


def _of(program: Program, kind: str) -> Iterator[Offer]:
    """All names of a kind."""
    for name, declaration in program.names.items():
        if declaration.symbol.kind == kind:
            yield _offer(program, declaration.symbol, name)


def _offer(program: Program, symbol: Symbol, label: str, *, first: bool = False) -> Offer:
    type_ = program.type_of(symbol)
    kind = _KINDS.get(symbol.kind, Kind.Text)
    detail = f"{symbol.kind}" + (f": {type_}" if type_ else "")
    return Offer(label, kind, detail, describe(program, symbol), first)


def _aliases(program: Program, cursor: _Cursor, kind: str | None) -> Iterator[Offer]:
    """What the rule at the cursor binds; only TLVs or only tables if asked for."""
    for alias in program.aliases(cursor.item, len(cursor.item.rules) - 1):
        declared = program.names.get(alias.owner)
        if alias.text != _HERE and declared and kind in (None, declared.symbol.kind):
            detail = f"{declared.symbol.kind} {alias.owner}"
            yield Offer(alias.text, Kind.Variable, detail, describe(program, declared.symbol), True)


def _given(program: Program, cursor: _Cursor, mention: Mention) -> Iterator[Offer]:
    """The fields that braces do not name yet."""
    there = {m.text for m in cursor.item.mentions if m.group == mention.group}
    for declaration in program.inner(mention.owner, "field"):
        if declaration.symbol.name not in there:
            yield _offer(program, declaration.symbol, declaration.symbol.name)


def _sets(cursor: _Cursor) -> bool:
    """Whether the cursor is on the left side of a `set`."""
    shown = [str(t) for t in cursor.tokens[-3:]]
    return shown[-1:] == ["set"] or (len(shown) == 3 and shown[0] == "set" and shown[2] == ".")


def _fields(program: Program, cursor: _Cursor, mention: Mention) -> Iterator[Offer]:
    """The fields of what stands before the dot; those that can be set, where that is asked."""
    base, sets = mention.owner, _sets(cursor)
    hook = cursor.hook.name if cursor.hook else ""
    if base in HEADERS:
        for header in HEADERS[base].values():
            if not sets or hook in header.writable:
                symbol = Symbol("header field", header.name, base)
                yield Offer(header.name, Kind.Field, str(header.type), describe(program, symbol))
        if base == "srh" and not sets:
            symbol = Symbol("header field", SEGMENT_LIST, base)
            yield Offer(SEGMENT_LIST, Kind.Field, "[n]: ipv6", describe(program, symbol))
        return
    if base == META_NAME:
        for meta in META.values():
            if not sets or meta.writable:
                symbol = Symbol("header field", meta.name, base)
                yield Offer(meta.name, Kind.Field, str(meta.type), describe(program, symbol))
        return
    rule = len(cursor.item.rules) - 1
    for alias in program.aliases(cursor.item, rule):
        if alias.text == base:
            for declaration in program.inner(alias.owner, "field"):
                yield _offer(program, declaration.symbol, declaration.symbol.name)


def _values(program: Program, cursor: _Cursor) -> Iterator[Offer]:
    """What an expression can name at the cursor; after `set`, what can be set."""
    hook = cursor.hook
    if _sets(cursor):
        here = hook.name if hook else ""
        for header, fields in HEADERS.items():
            if any(here in field.writable for field in fields.values()):
                yield Offer(header, Kind.Module, text=words.HEADERS[header])
        yield Offer(META_NAME, Kind.Module, text=words.HEADERS[META_NAME])
        aliases = None if hook is not None and hook.writes else "table"
        yield from _aliases(program, cursor, aliases)
        yield from _of(program, "state")
        return
    wanted = _wanted(program, cursor)
    for name, found in program.members.items():
        for declaration in found:
            first = isinstance(wanted, types.Enum) and declaration.symbol.owner == wanted.name
            yield _offer(program, declaration.symbol, name, first=first)
    yield from _of(program, "const")
    if cursor.item.keyword == "define":
        for declaration in program.inner(cursor.item.name, "argument"):
            yield _offer(program, declaration.symbol, declaration.symbol.name, first=True)
    if hook is None and cursor.item.keyword != "define":
        return
    yield from _of(program, "define")
    yield from _of(program, "param")
    yield from _of(program, "state")
    yield from _aliases(program, cursor, None)
    for header, text in words.HEADERS.items():
        yield Offer(header, Kind.Module, text=text)
    for call, (shown, text) in words.CALLS.items():
        if call != "sample":
            yield Offer(call, Kind.Function, shown, text)
    if cursor.before in ("when", "and", "or", "not"):
        yield from _of(program, "table")


def _wanted(program: Program, cursor: _Cursor) -> types.Type | None:
    """The type of what the value at the cursor is compared with or goes into."""
    if not cursor.tokens or cursor.tokens[-1].type not in ("COMPARE", "EQUAL"):
        return None
    end = cursor.tokens[-1].start_pos or 0
    left = [m for m in cursor.item.mentions if m.end <= end]
    if not left:
        return None
    symbols = program.symbols(cursor.start, cursor.item, left[-1])
    return program.type_of(symbols[0]) if symbols else None
