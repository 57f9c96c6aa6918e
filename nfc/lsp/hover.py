"""What stands behind a name or a word: its declaration, type, unit, place in a header or TLV."""

from __future__ import annotations

from collections.abc import Iterator

from lsprotocol import types as lsp

from nfc.compiler import value_text
from nfc.lsp import words
from nfc.lsp.document import Document
from nfc.lsp.expressions import value_at
from nfc.lsp.mentions import Item
from nfc.lsp.program import Declaration, Program, Symbol
from nfc.lsp.saved import Saved
from nfc.sema import typed, types
from nfc.sema.headers import HEADERS, META, META_NAME, SEGMENT_LIST
from nfc.sema.hooks import HOOKS, VERDICTS
from nfc.syntax.source import Span

MAX_SHOWN = 24  # lines of a declaration


def hover(
    program: Program, document: Document, offset: int, saved: Saved | None = None
) -> lsp.Hover | None:
    """What to show of what stands at an offset; `saved` says what functions and rules cost."""
    found = document.mention_at(offset)
    if found is not None:
        start, item, mention = found
        symbols = program.symbols(start, item, mention)
        shown = [describe(program, s) for s in symbols]
        if saved is not None and mention.role == "declared":
            shown.append(saved.of_function(item.name, _text(document, start, item)))
        text = "\n\n---\n\n".join(s for s in shown if s)
        range_ = document.text.range(start + mention.start, start + mention.end)
        return _hover(text, range_) if text else None
    token = document.token_at(offset)
    value = None if token is None else value_at(program, document, offset)
    if token is not None and str(token[1]) in words.KEYWORDS:
        start, word = token
        begin = start + (word.start_pos or 0)
        text = words.KEYWORDS[str(word)]
        if value is not None:
            text = f"{_value(*value)}\n\n---\n\n{text}"
        found_item = document.item_at(begin)
        if saved is not None and found_item and (word.start_pos or 0) in found_item[1].rules:
            within = found_item[1]
            number = within.rules.index(word.start_pos or 0)
            rule = saved.of_rule(within.name, _text(document, start, within), number)
            text = f"{rule}\n\n---\n\n{text}" if rule else text
        return _hover(text, document.text.range(begin, begin + len(word)))
    if value is not None:
        return _hover(_value(*value), document.text.range(value[0].start, value[0].end))
    return None


def _value(span: Span, value: typed.Expr) -> str:
    """An expression with its type, and what it is where that is known."""
    text = " ".join(span.source.text[span.start : span.end].split())
    if isinstance(value, typed.Const) and isinstance(value.type, types.Int) and value.exact:
        known = "A known number, which takes the type that its place asks for"
        bits = value.value.bit_length()
        return f"{_code(f'{text} = {value.value}')}\n\n{known}: at least {bits} bits."
    shown = f"{_code(f'{text}: {value.type}')}\n\n{_of_type(value.type)}"
    if isinstance(value, typed.Const) and not isinstance(value.type, types.Enum):
        shown += f" Value: {value_text(value.type, value.value)}."
    return shown


def _text(document: Document, start: int, item: Item) -> str:
    return document.text.text[start + item.start : start + item.end]


def _hover(text: str, range_: lsp.Range) -> lsp.Hover:
    return lsp.Hover(lsp.MarkupContent(lsp.MarkupKind.Markdown, text), range_)


def describe(program: Program, symbol: Symbol) -> str:
    """A symbol in Markdown; nothing if there is nothing to say."""
    if symbol.kind == "alias":
        return _alias(program, symbol)
    if symbol.built_in:
        return _built_in(symbol)
    parts = []
    for declaration in program.declarations(symbol)[:1]:
        parts.append(_code(_declared(program, declaration)))
        if notes := list(_notes(program, symbol)):
            parts.append("  \n".join(notes))
        if layout := _layout(program, symbol):
            parts.append(f"```text\n{layout}\n```")
        at = declaration.place.start if symbol.kind in ("member", "field", "key") else (
            declaration.base + declaration.item.start
        )  # fmt: skip
        if comment := declaration.place.document.comment_above(at):
            parts.append(comment)
    return "\n\n".join(parts)


def _code(text: str) -> str:
    return f"```nf\n{text}\n```"


def _declared(program: Program, declaration: Declaration) -> str:
    """A declaration as it is shown."""
    symbol = declaration.symbol
    type_ = program.type_of(symbol)
    match symbol.kind:
        case "field" | "key" | "argument":
            return f"{symbol.owner}.{symbol.name}: {type_ or '?'}"
        case "member":
            value = dict(type_.members).get(symbol.name) if isinstance(type_, types.Enum) else None
            return f"{symbol.owner}.{symbol.name}" + ("" if value is None else f" = {value}")
        case "function":
            item = declaration.item
            at = f" at {item.hook}" if item.keyword == "transit" else ""
            return f"{item.keyword} {symbol.name}{at}"
        case "tlv" if symbol.name in program.scope.tlvs:
            return f"tlv {symbol.name} = {program.scope.tlvs[symbol.name].number}"
    lines = declaration.text.splitlines()
    shown = lines[:MAX_SHOWN]
    return "\n".join([*shown, "…"] if len(lines) > len(shown) else shown)


def _notes(program: Program, symbol: Symbol) -> Iterator[str]:
    """Sentences about a declared symbol."""
    type_ = program.type_of(symbol)
    scope, name = program.scope, symbol.name
    if type_ is not None and symbol.kind != "member":
        yield _of_type(type_)
    if symbol.kind == "const" and name in scope.consts:
        const = scope.consts[name]
        yield f"Value: {value_text(const.type, const.value)}."
    if symbol.kind == "param":
        yield "May change while the function runs: `nfc set`."
    if symbol.kind == "field" and symbol.owner in scope.tlvs:
        field = scope.tlvs[symbol.owner].field(name)
        if field is not None:
            byte, bit = divmod(field.bit_offset, 8)
            place = f"Byte {byte}, bit {bit} of the TLV, {field.type.bits} bits"
            yield f"{place}; default {field.default}."
    if symbol.kind == "tlv" and name in scope.tlvs:
        size = scope.tlvs[name].size
        yield f"A TLV of the SRH (RFC 8754, section 2.1): {size} bytes with its type and length."
    if symbol.kind == "event" and name in scope.events:
        event = scope.events[name]
        more = f", and up to {event.packet_bytes} of the packet" if event.packet_bytes else ""
        yield f"A record of {event.size} bytes{more}."
    table = scope.tables.get(name) or scope.keyed.get(name)
    if symbol.kind in ("table", "counter") and table is not None:
        per = ", on each CPU apart" if table.per_cpu else ""
        yield f"Up to {table.entries} entries: {table.key_size} bytes of key, "\
            f"{table.value_size} of entry{per}."  # fmt: skip
        if symbol.kind == "table":
            yield words.KINDS[table.kind]
    if symbol.kind == "function":
        hooks = {d.item.hook for d in program.declarations(symbol)}
        yield from (_hook(hook) for hook in sorted(hooks & set(HOOKS)))


def _of_type(type_: types.Type) -> str:
    if isinstance(type_, types.Enum):
        return f"Type {type_}: an enum of {type_.bits} bits."
    return f"Type {type_}. {words.of_type(str(type_))}"


def _hook(name: str) -> str:
    hook = HOOKS[name]
    verdicts = ", ".join(
        f"`{written}`" + (f" ({rfc})" if rfc and name == "endpoint" else "")
        for key, (written, rfc) in VERDICTS.items()
        if key in hook.verdicts
    )
    edits = (
        "It can change the SRH and its TLVs."
        if hook.rebuilds
        else "It can set fields of the SRH, its TLVs and the IPv6 header."
        if hook.writes
        else "It cannot change the packet's headers."
    )
    return f"Runs at {hook.where}. {edits} Verdicts: {verdicts}."


def _alias(program: Program, symbol: Symbol) -> str:
    bound = program.bound_to(symbol)
    if bound is None:
        return ""
    what = "TLV" if bound.kind == "tlv" else "an entry of"
    return f"`{symbol.name}`: {what} `{bound.name}`, bound in this rule.\n\n" + describe(
        program, bound
    )


def _built_in(symbol: Symbol) -> str:
    name = symbol.name
    match symbol.kind:
        case "call":
            shown, text = words.CALLS[name]
            return f"{_code(shown)}\n\n{text}"
        case "type":
            return f"{_code(name)}\n\n{words.of_type(name)}"
        case "kind":
            return f"`{name}`: {words.KINDS[name]}"
        case "hook":
            return _hook(name)
        case "routes":
            return words.TABLES[name]
        case "header":
            fields = META if name == META_NAME else HEADERS[name]
            listed = ", ".join(f"`{field}`" for field in fields)
            return f"`{name}`: {words.HEADERS[name]}\n\nFields: {listed}."
        case "header field":
            return _header_field(symbol)
    return ""


def _header_field(symbol: Symbol) -> str:
    owner, name = symbol.owner, symbol.name
    said = words.FIELDS.get((owner, name))
    if owner == META_NAME:
        meta = META.get(name)
        if meta is None:
            return ""
        can = " Can be set." if meta.writable else ""
        return f"{_code(f'{owner}.{name}: {meta.type}')}\n\n{said}{can}"
    if owner == "srh" and name == SEGMENT_LIST:
        return f"{_code(f'{owner}.{name}[n]: ipv6')}\n\n{said}"
    field = HEADERS[owner].get(name)
    if field is None:
        return ""
    byte, bit = divmod(field.bit_offset, 8)
    can = f" Can be set at: {', '.join(field.writable)}." if field.writable else ""
    return (
        f"{_code(f'{owner}.{name}: {field.type}')}\n\n{said or words.HEADERS[owner]}{can}\n\n"
        f"Byte {byte}, bit {bit} of the header, {field.bits} bits."
    )


def _layout(program: Program, symbol: Symbol) -> str:
    """The fields of a TLV, an event or a table, one a line."""
    scope, name = program.scope, symbol.name
    if symbol.kind == "tlv" and name in scope.tlvs:
        return "\n".join(_tlv_lines(scope.tlvs[name]))
    rows: list[tuple[str, typed.Member]] = []
    if symbol.kind == "event" and name in scope.events:
        rows = [("", member) for member in scope.events[name].fields]
    table = scope.tables.get(name) or scope.keyed.get(name)
    if symbol.kind in ("table", "counter") and table is not None:
        rows = [*(("key", m) for m in table.keys), *(("", m) for m in table.fields)]
    lines = [f"{m.offset:>5}  {m.name:<20} {m.type!s:<10} {what}".rstrip() for what, m in rows]
    return "\n".join([" byte  field                type", *lines]) if lines else ""


def _tlv_lines(tlv: typed.Tlv) -> Iterator[str]:
    yield " byte  bits  field                type       default"
    for field in tlv.fields:
        byte, bit = divmod(field.bit_offset, 8)
        place = f"{byte}.{bit}" if bit else f"{byte}"
        default = value_text(field.type, field.default) if field.default else ""
        yield (
            f"{place:>5}  {field.type.bits:>4}  {field.name or 'reserved':<20} "
            f"{field.type!s:<10} {default}"
        ).rstrip()
