"""What the expression at a place is: its type, also where it has no name of its own."""

from __future__ import annotations

from dataclasses import replace

from nfc.lsp.document import Document, moved
from nfc.lsp.program import Program
from nfc.sema import typed
from nfc.sema.declare import check_definition, evaluate
from nfc.sema.functions import check_function
from nfc.syntax import tree
from nfc.syntax.diagnostics import Diagnostics
from nfc.syntax.source import Source, Span


def value_at(program: Program, document: Document, offset: int) -> tuple[Span, typed.Expr] | None:
    """The smallest expression that an offset stands in, with its place in the document; None where
    there is none, where its item does not parse, or where it is wrong."""
    start, part = document.at(offset)
    source = Source(document.path.name, document.text.text)
    for parsed in part.parsed or ():
        item = moved(parsed, source, start)
        if item.span.start <= offset < item.span.end:
            break
    else:
        return None
    scope = replace(program.scope, diagnostics=Diagnostics(), values=[])
    scope.broken = set(scope.broken)
    if isinstance(item, tree.Function):
        # Other rules have no part in what this one's expressions are.
        rules = tuple(r for r in item.rules if r.span.start <= offset < r.span.end)
        check_function(replace(item, rules=rules), scope)
    elif isinstance(item, tree.Define):
        check_definition(item, scope)
    elif isinstance(item, tree.Const | tree.Param) and item.type is not None:
        type_ = scope.type_of(item.type)
        if type_ is not None:
            evaluate(item.value if isinstance(item, tree.Const) else item.default, type_, scope)
    found: tuple[Span, typed.Expr] | None = None
    for span, value in scope.values or ():
        if span.source is source and span.start <= offset < span.end:
            size = span.end - span.start
            if found is None or size <= found[0].end - found[0].start:
                found = span, value
    return found
