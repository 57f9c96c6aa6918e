"""Where an expression stands, and what names mean there."""

from __future__ import annotations

from dataclasses import dataclass, field

from nfc.sema import typed
from nfc.sema.hooks import Hook
from nfc.sema.inplace import MAX_VALUES
from nfc.sema.scope import Scope
from nfc.syntax.source import Span


@dataclass
class Place:
    """A place in one rule: `bound` holds the TLVs that its guard has bound so far.

    `hook` None means a place where only constants may stand.
    """

    scope: Scope
    hook: Hook | None
    bound: dict[str, typed.Tlv] = field(default_factory=dict)
    elsewhere: dict[str, int] = field(default_factory=dict)  # alias -> line of the rule binding it
    local: dict[str, typed.Expr] = field(default_factory=dict)  # arguments of a definition
    within: tuple[str, ...] = ()  # definitions that are being put in place
    budget: list[int] = field(default_factory=lambda: [MAX_VALUES])  # for definitions
    entries: dict[str, typed.Entry] = field(default_factory=dict)  # that the guard has bound
    lookups: list[int] = field(default_factory=lambda: [0])  # in tables, of one rule
    measured: bool = False  # within a definition that has its room already

    def error(self, span: Span, message: str, hint: str | None = None) -> None:
        """Note an error at that place."""
        self.scope.diagnostics.error(span, message, hint)
