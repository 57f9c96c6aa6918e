"""The names in an item and the part that each plays there, found from its tokens alone.

The parser says nothing of an item that does not parse, which is the one being typed. This reads
tokens from left to right and passes over what does not fit. For every item that parses it finds
the names of the tree (tests/lsp/test_mentions.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lark import Token

from nfc.syntax.language import ITEM_KEYWORDS, STATEMENT_STARTS
from nfc.syntax.parser import MAX_DEPTH
from nfc.syntax.unexpected import SOFT_WORDS

Role = Literal[
    "declared",  # the name of an item; `owner` is its keyword (function for both kinds)
    "member", "field", "key", "argument",  # declared within an item, `owner`
    "module", "type", "kind", "hook",
    "value", "call",  # in an expression
    "base", "access",  # base.access; `owner` of the latter is the base
    "subject",  # srh in `srh has`
    "alias", "bound",  # bound by `has … as`, `owner` is the TLV or table; where it is used whole
    "tlv", "table", "event", "counter", "routes",
    "given",  # the name in `{ name = value }`; `owner` is the TLV, event or table
]  # fmt: skip
_CLOSERS = ("}", ")", "]")
_EXPR_ENDS = {*STATEMENT_STARTS, "{", "}", "with", "from", "by", "first", "last", "before", "after"}


@dataclass(frozen=True)
class Mention:
    """A name at a place, in characters from the beginning of its part.

    `rule` counts a function's rules from 0; -1 is outside of them. `group` tells apart the braces
    in which names are given, and is the token's number where they open.
    """

    start: int
    end: int
    text: str
    role: Role
    owner: str = ""
    rule: int = -1
    group: int = -1


@dataclass(frozen=True)
class Item:
    """An item's keyword, name and hook (of functions), its names, and where its rules begin."""

    keyword: str
    name: str
    hook: str
    start: int
    end: int
    mentions: tuple[Mention, ...]
    rules: tuple[int, ...]


def read_item(tokens: Sequence[Token]) -> Item:
    """The names of an item that has these tokens, at least one."""
    return _Reader(tokens).item()


def _word(token: Token) -> bool:
    return token.type == "NAME" or token.value.isalpha()


class _Reader:
    """Goes through an item's tokens; each method leaves off at what it does not know."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.rule = -1
        self.rules: list[int] = []
        self.found: list[Mention] = []
        self.owner = ""
        self.nested = 0  # keys within keys

    # ---- tokens -----------------------------------------------------------------------------

    def value(self, ahead: int = 0) -> str:
        """The text of a token; nothing at the end."""
        place = self.at + ahead
        return str(self.tokens[place].value) if place < len(self.tokens) else ""

    def kind(self, ahead: int = 0) -> str:
        """The kind of a token."""
        place = self.at + ahead
        return self.tokens[place].type if place < len(self.tokens) else ""

    def take(self, *values: str) -> bool:
        """Pass over one of these."""
        if self.at < len(self.tokens) and self.value() in values:
            self.at += 1
            return True
        return False

    def note(self, role: Role, owner: str = "", group: int = -1) -> str:
        """Take the token as a name that plays this part."""
        token = self.tokens[self.at]
        start = token.start_pos or 0
        self.found.append(
            Mention(start, start + len(token), str(token), role, owner, self.rule, group)
        )
        self.at += 1
        return str(token)

    def name(self, role: Role, owner: str = "") -> str:
        """As `note`, if there is a name; nothing otherwise."""
        return self.note(role, owner) if self.kind() == "NAME" else ""

    # ---- items ------------------------------------------------------------------------------

    def item(self) -> Item:
        """The whole item."""
        first, last = self.tokens[0], self.tokens[-1]
        keyword = str(first.value)
        hook = ""
        if keyword in ITEM_KEYWORDS:
            self.at = 1
            if keyword == "use":
                self.owner = self.name("module")
            else:
                shown = "function" if keyword in ("endpoint", "transit") else keyword
                self.owner = self.name("declared", shown)
            if keyword in ("endpoint", "transit"):
                hook = "endpoint"
                if keyword == "transit":
                    hook = ""
                    if self.take("at") and (self.value() == "in" or self.kind() == "NAME"):
                        hook = self.note("hook")
                self.take("{")
                self.statements()
            else:
                getattr(self, f"_{keyword}", self.declaration)()
        self.rest()
        end = (last.start_pos or 0) + len(last)
        return Item(
            keyword, self.owner, hook, first.start_pos or 0, end, tuple(self.found),
            tuple(self.rules),
        )  # fmt: skip

    def rest(self) -> None:
        """What is left of a broken item: its names may still be looked at."""
        while self.at < len(self.tokens):
            if not self.expression():
                self.at += 1

    def type(self) -> None:
        """`: type`."""
        if self.take(":"):
            self.name("type")

    def declaration(self) -> None:
        """`name: type = value` and less."""
        self.type()
        if self.take("="):
            self.expression()

    def _enum(self) -> None:
        self.type()
        if self.take("{"):
            while self.kind() == "NAME":
                self.note("member", self.owner)
                if self.take("="):
                    self.expression()
                if not self.take(","):
                    break

    def _tlv(self) -> None:
        if self.take("=") and self.kind() == "INT":
            self.at += 1
        self.members("field")

    def _event(self) -> None:
        self.members("field")

    def _counter(self) -> None:
        self.size()
        self.members("key")

    def _table(self) -> None:
        self.take(":")
        self.per_cpu()
        self.name("kind")
        self.size()
        if self.value() == "{":
            self.members("key")
        self.take("to")
        self.members("field")

    def _state(self) -> None:
        if self.take(":"):
            self.per_cpu()
            self.name("type")

    def _define(self) -> None:
        if self.take("("):
            while self.kind() == "NAME":
                self.note("argument", self.owner)
                self.type()
                if not self.take(","):
                    break
            self.take(")")
        self.declaration()

    def per_cpu(self) -> None:
        """`per cpu`."""
        if self.take("per"):
            self.take("cpu")

    def size(self) -> None:
        """`[entries]`."""
        if self.take("["):
            self.expression()
            self.take("]")

    def members(self, role: Role) -> None:
        """`{ name: type = value, … }`."""
        if not self.take("{"):
            return
        while self.at < len(self.tokens) and self.value() != "}":
            if self.value() == "reserved":
                self.at += 1
                self.type()
            elif self.value(1) == "[" and self.kind() == "NAME":
                self.note("base")  # packet[128]
                self.size()
            elif _word(self.tokens[self.at]):
                self.note(role, self.owner)
                self.declaration()
            else:
                break
            if not self.take(","):
                break
        self.take("}")

    # ---- functions --------------------------------------------------------------------------

    def statements(self) -> None:
        """Rules and what is in them, whatever their braces are like."""
        while self.at < len(self.tokens):
            value = self.value()
            if value in ("when", "otherwise"):
                self.rule += 1
                self.rules.append(self.tokens[self.at].start_pos or 0)
                self.at += 1
                if value == "when":
                    self.expression()
            elif value in STATEMENT_STARTS:
                self.at += 1
                self.statement(value)
            elif not self.expression():
                self.at += 1

    def statement(self, word: str) -> None:
        """What stands behind the word that begins a statement."""
        match word:
            case "set":
                self.expression()
                if self.take("="):
                    self.expression()
            case "add":
                self.built("tlv")
                if self.take("before", "after"):
                    self.name("bound")
                else:
                    self.take("first", "last")
            case "remove":
                if self.take("all"):
                    self.name("tlv")
                elif self.value(1) == "[":
                    self.name("table")
                    self.key()
                else:
                    self.name("bound")
            case "replace":
                self.name("bound")
                if self.take("with"):
                    self.built("tlv")
            case "emit":
                self.built("event")
            case "count":
                self.name("counter")
                self.key()
                if self.take("by"):
                    self.expression()
            case "put":
                self.built("table")
            case "forward":
                if self.take("via"):
                    self.expression()
                elif self.take("to"):
                    self.routes()
            case "decap":
                if self.take("to"):
                    self.routes()
            case "encap" | "insert":
                self.take("segments")
                self.key()
                if self.take("from"):
                    self.expression()
                if self.take("with"):
                    self.built("tlv")
                    while self.take(","):
                        self.built("tlv")

    def routes(self) -> None:
        """`table NAME`."""
        if self.take("table") and not self.name("routes") and self.kind() == "INT":
            self.at += 1

    def key(self) -> None:
        """`[value, …]`; one that is nested deeper than the language takes is passed over flat."""
        if self.nested < MAX_DEPTH and self.take("["):
            self.nested += 1
            self.expression()
            while self.take(","):
                self.expression()
            self.take("]")
            self.nested -= 1

    def built(self, role: Role) -> None:
        """`NAME { name = value, … }`, and with a key where it is a table."""
        owner = self.name(role)
        if role == "table":
            self.key()
        if not self.take("{"):
            return
        group = self.at
        while self.at < len(self.tokens) and _word(self.tokens[self.at]):
            if self.kind() != "NAME" and self.value(1) != "=":
                break  # a statement: the brace was not closed
            self.note("given", owner, group)
            if self.take("="):
                self.expression()
            if not self.take(","):
                break
        self.take("}")

    # ---- expressions ------------------------------------------------------------------------

    def expression(self) -> bool:
        """Values up to what cannot be in an expression; whether there was anything."""
        begun = self.at
        depth = 0
        while self.at < len(self.tokens):
            value = self.value()
            if value in _EXPR_ENDS or value in ("=", ":"):
                break
            if value in ("(", "["):
                depth += 1
                self.at += 1
            elif value in _CLOSERS or value == ",":
                if depth == 0:
                    break
                depth -= value != ","
                self.at += 1
            elif self.kind() == "NAME":
                self.operand()
            else:
                self.at += 1
                if value == ".":
                    self.field("")
        return self.at > begun

    def operand(self) -> None:
        """A name and what belongs to it."""
        behind = self.value(1)
        if behind == ".":
            base = self.note("base")
            self.at += 1
            self.field(base)
        elif behind == "(":
            self.note("call")
        elif behind == "has":
            if self.value(2) == "[":
                owner = self.note("table")
                self.at += 1
                self.key()
            else:
                self.note("subject")
                self.at += 1
                owner = self.name("tlv")
                self.size()
            if self.take("as"):
                self.name("alias", owner)
        else:
            self.note("value")

    def field(self, base: str) -> None:
        """What stands behind a dot: any word."""
        word = self.value()
        statement = word in STATEMENT_STARTS and self.kind(1) == "NAME"  # behind a dot alone
        if self.kind() == "NAME" or (word in SOFT_WORDS and not statement):
            self.note("access", base)
