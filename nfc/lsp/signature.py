"""What a call takes, while its arguments are typed."""

from __future__ import annotations

from lsprotocol import types as lsp

from nfc.lsp import words
from nfc.lsp.document import Document
from nfc.lsp.program import Program

_OPEN, _CLOSE = ("(", "[", "{"), (")", "]", "}")


def signature(program: Program, document: Document, offset: int) -> lsp.SignatureHelp | None:
    """The signature of the innermost call that an offset stands in, with its argument."""
    start, part = document.at(offset)
    tokens = [t for t in part.tokens if start + (t.end_pos or 0) <= offset]
    depth = commas = 0
    for index in range(len(tokens) - 1, 0, -1):
        value = tokens[index].value
        if value in _CLOSE:
            depth += 1
        elif value in _OPEN and depth:
            depth -= 1
        elif value == "(":
            shown = _shown(program, document, str(tokens[index - 1]))
            if shown is not None:
                return lsp.SignatureHelp([shown], 0, commas)
            commas = 0
        elif value in _OPEN:
            return None
        elif value == "," and not depth:
            commas += 1
    return None


def _shown(program: Program, document: Document, name: str) -> lsp.SignatureInformation | None:
    if name in words.CALLS:
        label, text = words.CALLS[name]
        arguments = [label[label.index("(") + 1 : label.index(")")]]
        parameters = [lsp.ParameterInformation(a) for a in arguments if a]
        return lsp.SignatureInformation(label, _markdown(text), parameters)
    definition = program.scope.definitions.get(name)
    if definition is None:
        return None
    arguments = [f"{a.name.text}: {a.type.text}" for a in definition.arguments]
    label = f"{name}({', '.join(arguments)}): {definition.type.text}"
    place = program.names[name].place if name in program.names else None
    comment = place.document.comment_above(place.start) if place else ""
    parameters = [lsp.ParameterInformation(a) for a in arguments]
    return lsp.SignatureInformation(label, _markdown(comment), parameters)


def _markdown(text: str) -> lsp.MarkupContent | None:
    return lsp.MarkupContent(lsp.MarkupKind.Markdown, text) if text else None
