"""TLVs that statements build: declared ones, with all their fields, and not the HMAC."""

from __future__ import annotations

from nfc.sema import typed
from nfc.sema.expressions import Checker
from nfc.sema.fields import assignments
from nfc.sema.headers import HMAC_TLV
from nfc.sema.scope import Scope
from nfc.syntax import tree
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span


def tlv_value(item: tree.TlvValue, checker: Checker, scope: Scope) -> typed.TlvValue | None:
    """A TLV to be built, with its defaults filled in, or None after an error."""
    tlv = scope.tlvs.get(item.tlv.text)
    if tlv is None:
        no_tlv(item.tlv, scope)
        return None
    if not not_hmac(tlv, item.span, scope):
        return None
    by_name = {f.name: f.type for f in tlv.fields if f.name is not None}
    given = assignments(item.fields, by_name, tlv.name, checker, scope)
    if len(given) < len(item.fields) or any(v is None for v in given.values()):
        return None
    values: list[tuple[typed.TlvField, typed.Expr]] = []
    for field in tlv.fields:
        value = given.get(field.name) if field.name else None
        values.append((field, value or typed.Const(item.span, field.type, field.default)))
    return typed.TlvValue(item.span, tlv, tuple(values))


def no_tlv(name: tree.Ident, scope: Scope) -> None:
    """Say that there is no TLV of that name."""
    if not scope.excused(name.text):
        scope.diagnostics.error(
            name.span,
            f"there is no TLV '{name.text}'",
            nearest(name.text, scope.tlvs) or "declare it with tlv, or use a file that does",
        )


def not_hmac(tlv: typed.Tlv, span: Span, scope: Scope) -> bool:
    """An HMAC can be matched, but a program can neither make one nor change one."""
    if tlv.number != HMAC_TLV:
        return True
    scope.diagnostics.error(
        span,
        f"{tlv.name} is the HMAC TLV (type {HMAC_TLV}), which a program cannot compute",
        "it can be matched, and srh.hmac says whether the packet has one",
    )
    return False
