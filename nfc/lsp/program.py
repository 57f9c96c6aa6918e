"""What the names of a program stand for: a document with all that it uses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from nfc.lsp.document import Document
from nfc.lsp.mentions import Item, Mention
from nfc.sema import typed, types
from nfc.sema.declare import declare
from nfc.sema.headers import HEADERS, META, META_NAME, SEGMENT_LIST
from nfc.sema.hooks import HOOKS
from nfc.sema.scope import Scope
from nfc.sema.tables import KINDS
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.source import Source

CALLS = ("now", "every")
_INNER = ("field", "key", "argument", "member")


@dataclass(frozen=True)
class Symbol:
    """What a name stands for: `kind` is the keyword that declares it (function for both kinds),
    member, field, key, argument, alias, module; header, header field, call, type, kind, hook where
    the language has it. `owner` is what it belongs to: for an alias its rule."""

    kind: str
    name: str
    owner: str = ""

    @property
    def built_in(self) -> bool:
        """Whether no program declares it."""
        return self.kind in ("header", "header field", "call", "type", "kind", "hook", "routes")


@dataclass(frozen=True)
class Place:
    """Characters of a document."""

    document: Document
    start: int
    end: int


@dataclass(frozen=True)
class Declaration:
    """Where a symbol is declared, and the item that does it, whose part begins at `base`."""

    symbol: Symbol
    place: Place
    item: Item
    base: int

    @property
    def text(self) -> str:
        """The whole item as written."""
        text = self.place.document.text.text
        return text[self.base + self.item.start : self.base + self.item.end]


@dataclass
class Program:
    """The documents of a program, the first of which is looked at; `last` is the program as it was
    when its scope was asked for last: what is declared there serves where it has errors now."""

    documents: tuple[Document, ...]
    last: Program | None = None
    _names: dict[str, Declaration] = field(default_factory=dict, init=False)
    _members: dict[str, list[Declaration]] = field(default_factory=dict, init=False)
    _inner: dict[tuple[str, str], Declaration] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Find all declarations."""
        for document in self.documents:
            main = document is self.documents[0]
            for start, item in document.items():
                if item.keyword in ("endpoint", "transit") and not main:
                    continue
                for mention in item.mentions:
                    self._note(document, start, item, mention)
        while self.last is not None and "scope" not in vars(self.last):
            self.last = self.last.last

    def _note(self, document: Document, start: int, item: Item, mention: Mention) -> None:
        if mention.role not in ("declared", *_INNER):
            return
        place = Place(document, start + mention.start, start + mention.end)
        if mention.role == "declared":
            symbol = Symbol(mention.owner, mention.text)
            self._names.setdefault(mention.text, Declaration(symbol, place, item, start))
            return
        declaration = Declaration(Symbol(mention.role, mention.text, item.name), place, item, start)
        if mention.role == "member":
            self._members.setdefault(mention.text, []).append(declaration)
        else:
            self._inner.setdefault((item.name, mention.text), declaration)

    @cached_property
    def fingerprint(self) -> tuple[object, ...]:
        """The texts of all declarations: the scope is the same while this is."""
        return tuple(document.declarations for document in self.documents)

    @cached_property
    def scope(self) -> Scope:
        """All declarations with types and layout; what has errors as it was before, if it was."""
        last, self.last = self.last, None  # programs of the past are not kept
        if last is not None and last.fingerprint == self.fingerprint:
            return last.scope
        diagnostics = Diagnostics()
        files = []
        for document in self.documents:
            source = Source(document.path.name, document.text.text)
            found = document.tree(source, diagnostics, functions=False)
            kept = [item for item in found.items if not isinstance(item, tree.Function)]
            files.append(tree.File(found.span, tuple(kept), found.broken))
        scope = declare(files, diagnostics)
        if last is not None:
            _fill(scope, last.scope)
        return scope

    # ---- names ------------------------------------------------------------------------------

    @property
    def names(self) -> dict[str, Declaration]:
        """The items that declare something, by name."""
        return self._names

    @property
    def members(self) -> dict[str, list[Declaration]]:
        """The enum members, by name."""
        return self._members

    def inner(self, owner: str, role: str) -> list[Declaration]:
        """The fields, keys or arguments of an item, in order."""
        return [d for (o, _), d in self._inner.items() if o == owner and d.symbol.kind == role]

    def declares(self, owner: str, name: str) -> bool:
        """Whether an item has a field, a key or an argument of that name."""
        return (owner, name) in self._inner

    def symbols(self, start: int, item: Item, mention: Mention) -> list[Symbol]:
        """What a name stands for: several things where enums share a member; nothing where it is
        declared nowhere. `start` is where the item's part begins."""
        text, role = mention.text, mention.role
        match role:
            case "declared":
                return [Symbol(mention.owner, text)]
            case "member" | "field" | "key" | "argument":
                return [Symbol(role, text, mention.owner)]
            case "given":
                return self._field(mention.owner, text)
            case "access":
                base = self._base(start, item, mention.owner, mention.rule)
                if base is None:
                    return []
                if base.kind == "header":
                    return [Symbol("header field", text, base.name)]
                owner = _alias(item, base.name, mention.rule)
                return self._field(owner.owner, text) if owner else []
            case "base" | "bound" | "subject":
                base = self._base(start, item, text, mention.rule)
                return [base] if base else []
            case "alias":
                return [Symbol("alias", text, _rule(start, item, mention.rule))]
            case "module":
                return [Symbol("module", text)]
            case "call" if text in CALLS:
                return [Symbol("call", text)]
            case "hook" if text in HOOKS:
                return [Symbol("hook", text)]
            case "kind" if text in KINDS:
                return [Symbol("kind", text)]
            case "type" if types.builtin(text):
                return [Symbol("type", text)]
            case "value":
                if item.keyword == "define" and (item.name, text) in self._inner:
                    return [Symbol("argument", text, item.name)]
        if text in self._names:
            return [self._names[text].symbol]
        if text in self._members:
            return [declaration.symbol for declaration in self._members[text]]
        base = self._base(start, item, text, mention.rule)
        return [base] if base else []

    def _field(self, owner: str, name: str) -> list[Symbol]:
        found = self._inner.get((owner, name))
        return [found.symbol] if found and found.symbol.kind == "field" else []

    def _base(self, start: int, item: Item, name: str, rule: int) -> Symbol | None:
        if name in HEADERS or name == META_NAME:
            return Symbol("header", name)
        if _alias(item, name, rule) is not None:
            return Symbol("alias", name, _rule(start, item, rule))
        return None

    def aliases(self, item: Item, rule: int) -> list[Mention]:
        """What a rule binds."""
        return [m for m in item.mentions if m.role == "alias" and m.rule == rule]

    def declarations(self, symbol: Symbol) -> list[Declaration]:
        """Where something is declared; nowhere if the language has it."""
        if symbol.kind == "member":
            return [d for d in self._members.get(symbol.name, []) if d.symbol == symbol]
        if symbol.kind in _INNER:
            found = self._inner.get((symbol.owner, symbol.name))
            return [found] if found else []
        if symbol.kind == "alias":
            return [
                Declaration(symbol, Place(d, start + m.start, start + m.end), item, start)
                for d, start, item, m in self._mentions(symbol.name)
                if m.role == "alias" and symbol in self.symbols(start, item, m)
            ]
        named = self._names.get(symbol.name)
        return [named] if named and named.symbol == symbol else []

    def references(self, symbol: Symbol, document: Document | None = None) -> list[Place]:
        """Every place of a document (the first, if left out) where something is named, its
        declaration among them."""
        wanted = document or self.documents[0]
        return [
            Place(d, start + m.start, start + m.end)
            for d, start, item, m in self._mentions(symbol.name)
            if d is wanted and symbol in self.symbols(start, item, m)
        ]

    def bound_in(self, rule: str) -> list[str]:
        """The names that a rule binds; an alias has its rule as its owner."""
        return [
            m.text
            for start, item in self.documents[0].items()
            for m in item.mentions
            if m.role == "alias" and _rule(start, item, m.rule) == rule
        ]

    @property
    def arguments(self) -> list[str]:
        """The arguments of all definitions."""
        return [d.symbol.name for d in self._inner.values() if d.symbol.kind == "argument"]

    def bound_to(self, symbol: Symbol) -> Symbol | None:
        """The TLV or table that an alias stands for."""
        for _, start, item, mention in self._mentions(symbol.name):
            if mention.role == "alias" and _rule(start, item, mention.rule) == symbol.owner:
                declared = self._names.get(mention.owner)
                return declared.symbol if declared else None
        return None

    def type_of(self, symbol: Symbol) -> types.Type | None:
        """The type of what has one."""
        scope, name = self.scope, symbol.name
        match symbol.kind:
            case "const":
                return scope.consts[name].type if name in scope.consts else None
            case "param":
                return scope.params[name].type if name in scope.params else None
            case "state":
                return scope.states[name].member.type if name in scope.states else None
            case "member":
                return scope.enums.get(symbol.owner)
            case "define" if name in scope.definitions:
                return self._type(scope.definitions[name].type.text)
            case "argument" if symbol.owner in scope.definitions:
                arguments = scope.definitions[symbol.owner].arguments
                return next(
                    (self._type(a.type.text) for a in arguments if a.name.text == name), None
                )
            case "header field" if symbol.owner == META_NAME:
                return META[name].type if name in META else None
            case "header field" if name == SEGMENT_LIST:
                return types.Ipv6()
            case "header field":
                header = HEADERS[symbol.owner].get(name)
                return header.type if header else None
            case "field" | "key":
                return self._member_type(symbol)
        return None

    def _type(self, name: str) -> types.Type | None:
        return types.builtin(name) or self.scope.enums.get(name)

    def _member_type(self, symbol: Symbol) -> types.Type | None:
        scope, owner = self.scope, symbol.owner
        if owner in scope.tlvs:
            field_ = scope.tlvs[owner].field(symbol.name)
            return field_.type if field_ else None
        members: tuple[typed.Member, ...] = ()
        if owner in scope.events:
            members = scope.events[owner].fields
        elif table := scope.tables.get(owner) or scope.keyed.get(owner):
            members = table.keys if symbol.kind == "key" else table.fields
        return next((m.type for m in members if m.name == symbol.name), None)

    def _mentions(self, name: str) -> Iterator[tuple[Document, int, Item, Mention]]:
        for document in self.documents:
            for start, item in document.items():
                for mention in item.mentions:
                    if mention.text == name:
                        yield document, start, item, mention


def _alias(item: Item, name: str, rule: int) -> Mention | None:
    """The `… as name` of a rule."""
    found = (m for m in item.mentions if m.role == "alias" and m.text == name and m.rule == rule)
    return next(found, None)


def _rule(start: int, item: Item, rule: int) -> str:
    return f"{start + item.start}:{rule}"


def _fill(scope: Scope, last: Scope) -> None:
    """Put what has errors now in as it was."""
    kinds = ("consts", "params", "enums", "tlvs", "events", "tables", "keyed", "states")
    for kind in kinds:
        now, then = getattr(scope, kind), getattr(last, kind)
        for name in scope.broken:
            if name in then:
                now.setdefault(name, then[name])
