"""From a written packet to bytes, or to a pattern with fields that may be anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address

from nfc.errors import UsageError
from nfc.nft import tree
from nfc.nft.changes import change
from nfc.nft.draft import (
    ECHO,
    EXTENSIONS,
    FAR,
    FAR4,
    HOST,
    HOST4,
    KINDS,
    PORTS,
    SRH_FIELDS,
    Draft,
    padded,
)
from nfc.nft.fields import assign, make_tlv
from nfc.nft.pattern import Free, Pattern, settled
from nfc.nft.values import Values, Wanted
from nfc.packet import SRH, UDP, Extension, Fragment, Header, ICMPv6, IPv4, IPv6, Packet
from nfc.packet.base import AUTO
from nfc.packet.tlvs import AnyTLV
from nfc.packet.transport import TCP
from nfc.sema.types import Ipv6
from nfc.syntax.diagnostics import nearest
from nfc.syntax.source import Span
from nfc.syntax.tree import Ident

BASES = ("sent", "arrived", "forwarded", "decapsulated")  # that each step makes
OTHERWISE = ("drop", "refused", "lost")  # what can be expected but a packet
MAX_HEADERS = 200
MAX_BYTES = 9000  # of a packet: what a link of the lab takes


@dataclass
class Packets:
    """Builds packets; `named` are those declared, `bases` those that the last step has made."""

    values: Values
    named: Mapping[str, tree.LetPacket]
    bases: Mapping[str, bytes] = field(default_factory=dict)
    broken: bool = False  # what was sent has an error: the bases are not known
    _within: tuple[str, ...] = ()

    def error(self, span: Span, message: str, hint: str | None = None) -> None:
        """Note an error."""
        self.values.error(span, message, hint)

    def pattern(self, chain: tree.Chain) -> Pattern | None:
        """The packet that is written; None after an error."""
        first = chain.parts[0]
        if isinstance(first, tree.Payload) and len(chain.parts) == 1:
            return Pattern(raw=first.data)
        if isinstance(first, tree.Rest) and len(chain.parts) == 1:
            return Pattern(rest=True)
        draft = self._draft(chain)
        if draft is None:
            return None
        try:
            whole = Packet(tuple(draft.headers), draft.payload, draft.trailer)
        except UsageError as error:
            self.error(chain.span, error.message, error.hint)
            return None
        if len(whole.encode()) > MAX_BYTES:
            self.error(chain.span, f"a packet has at most {MAX_BYTES} bytes")
            return None
        return Pattern(
            tuple(draft.headers),
            draft.payload,
            draft.trailer,
            tuple(draft.free),
            tuple(draft.more.items()),
            draft.rest,
        )

    def sent(self, chain: tree.Chain) -> bytes | None:
        """The bytes of a packet that is to be sent; None after an error."""
        found = self.pattern(chain)
        if found is None:
            return None
        if not found.exact:
            self.error(chain.span, "a packet that is sent has to be whole")
            return None
        return found.encode()

    def _draft(self, chain: tree.Chain) -> Draft | None:
        draft = Draft()
        good = True
        for place, part in enumerate(chain.parts):
            last = place == len(chain.parts) - 1
            if not draft.headers and not isinstance(part, tree.Named):
                starts = isinstance(part, tree.Header) and part.kind == "ip"
                if not starts:
                    self.error(part.span, "a packet begins with ip", "ip / srh […] / udp")
                    return None
            if not last and isinstance(part, tree.Payload | tree.Rest):
                said = "the payload" if isinstance(part, tree.Payload) else "'*'"
                self.error(part.span, f"{said} comes last")
                good = False
                continue
            good = self._part(part, draft, chain.parts[place + 1 :]) and good
            if not draft.headers:
                return None
        return draft if good else None

    def _part(self, part: tree.Part, draft: Draft, behind: Sequence[tree.Part]) -> bool:
        match part:
            case tree.Header():
                return self._header(part, draft, behind)
            case tree.Srh():
                return self._srh(part, draft)
            case tree.Options(kind=kind, body=body, span=span):
                number = EXTENSIONS[kind]
                try:
                    made = Extension(number, body) if body else Extension(number)
                except UsageError as error:
                    self.error(span, error.message, "6 bytes, 14, 22 …: what follows the length")
                    return False
                draft.headers.append(made)
                return True
            case tree.Named():
                return self._named(part, draft, bool(behind))
            case tree.Payload(data=data):
                draft.payload += data
                return True
        draft.rest = True
        return True

    # ---- headers ----------------------------------------------------------------------------

    def _header(self, part: tree.Header, draft: Draft, behind: Sequence[tree.Part]) -> bool:
        class_, known, ends = KINDS[part.kind]
        given = list(part.fields)
        for name, value in zip(ends or (), (part.first, part.second), strict=False):
            if value is not None:
                given.append(tree.Assign(Ident(value.span, name), value))
        if ends is None and (part.first or part.second):
            self.error(part.span, f"{part.kind} goes from nowhere to nowhere: it has no '->'")
            return False
        found = self.values.fields(given, known, part.kind)
        made = self._default(class_, found or {}, behind)
        draft.headers.append(made)
        if isinstance(made, ICMPv6) and (
            made.type in ECHO or {"identifier", "sequence"} & (found or {}).keys()
        ):
            draft.payload += bytes(4)
        if found is None:
            return False
        return assign(self.values, draft, len(draft.headers) - 1, found, part.span)

    def _default(
        self, class_: type, found: Mapping[str, Wanted], behind: Sequence[tree.Part]
    ) -> Header:
        """A header with nothing said of it."""
        if class_ is IPv6:
            return IPv6(HOST, self._destination(behind))
        if class_ is IPv4:
            return IPv4(HOST4, FAR4)
        if class_ is UDP:
            return UDP(*PORTS)
        if class_ is TCP:
            return TCP(*PORTS)
        if class_ is Fragment:
            return Fragment()
        return ICMPv6(found["type"].low if "type" in found else ECHO[0])

    def _destination(self, behind: Sequence[tree.Part]) -> IPv6Address:
        """Where a packet goes by itself: to the current segment of its SRH, if it has one."""
        for part in behind:
            if isinstance(part, tree.Srh):
                return self._current(part) or FAR
            if isinstance(part, tree.Header | tree.Named) and not (
                isinstance(part, tree.Header) and part.kind == "fragment"
            ):
                break
        return FAR

    def _current(self, srh: tree.Srh) -> IPv6Address | None:
        marked = [i for i, s in enumerate(srh.segments) if s.current]
        left = [a.value for a in srh.fields if a.name.text == "segments_left"]
        at = marked[0] if marked else 0
        if left and not marked and isinstance(left[0], tree.Number):
            at = len(srh.segments) - 1 - left[0].value
        if not 0 <= at < len(srh.segments):
            return None
        quiet = replace(self.values, diagnostics=type(self.values.diagnostics)())
        value = quiet.wanted(srh.segments[at].value, Ipv6(), "a segment")
        return IPv6Address(value.low) if value is not None and value.exact else None

    def _srh(self, part: tree.Srh, draft: Draft) -> bool:
        good = True
        at = len(draft.headers)
        segments: list[IPv6Address] = []
        for place, segment in enumerate(part.segments):
            value = self.values.wanted(segment.value, Ipv6(), "a segment")
            good = good and value is not None
            if value is not None and not value.exact:
                draft.free.append(Free(at, f"segments[{place}]", 128, value.low, value.high))
            segments.append(IPv6Address(value.low if value and value.exact else 0))
        marked = [i for i, s in enumerate(part.segments) if s.current]
        left = len(segments) - 1 - marked[0] if marked else AUTO
        tlvs: list[AnyTLV] = []
        for tlv_ in part.tlvs:
            if tlv_.more:
                draft.more[at] = len(tlvs)
                continue
            made = make_tlv(self.values, tlv_, draft, at, len(tlvs))
            good = good and made is not None
            if made is not None:
                tlvs.append(made)
        found = self.values.fields(part.fields, SRH_FIELDS, "srh")
        if found is None or not good:
            draft.headers.append(SRH((HOST,)))
            return False
        try:
            made_srh = SRH(tuple(segments), left, padded(tlvs))
        except UsageError as error:
            self.error(part.span, error.message.removeprefix("SRH: "), error.hint)
            draft.headers.append(SRH((HOST,)))
            return False
        draft.headers.append(made_srh)
        return assign(self.values, draft, at, found, part.span)

    # ---- packets with changes ---------------------------------------------------------------

    def _named(self, part: tree.Named, draft: Draft, more: bool) -> bool:
        """A named packet, changed, behind what is there."""
        name = part.name.text
        inner: Draft | None
        if name in self.bases:
            data = self.bases[name]
            loose = settled(data)
            if loose is None:
                self.error(part.name.span, f"{name} is no IPv6 packet here")
                return False
            inner = Draft(*loose)
        elif name in self.named:
            if name in self._within:
                self.error(part.name.span, f"{name} is made of itself")
                return False
            within, self._within = self._within, (*self._within, name)
            inner = self._draft(self.named[name].chain)
            self._within = within
            if inner is None:
                return False
        else:
            if name in BASES and self.broken:
                return False
            if name in BASES:
                why = "what was sent has no packet inside" if self.bases else "nothing is sent yet"
                self.error(part.name.span, f"there is no '{name}' here: {why}")
            else:
                other = OTHERWISE if self.values.expecting else ()
                hint = nearest(name, [*self.named, *BASES, *other])
                self.error(part.name.span, f"there is no packet '{name}'", hint)
            return False
        made = [change(self.values, one, inner) for one in part.changes]
        if not all(made):
            return False
        if more and (inner.payload or inner.rest):
            self.error(part.span, f"{name} has a payload: nothing can follow it")
            return False
        shift = len(draft.headers)
        if shift + len(inner.headers) > MAX_HEADERS:
            self.error(part.span, f"a packet has at most {MAX_HEADERS} headers")
            return False
        draft.headers += inner.headers
        draft.payload, draft.trailer, draft.rest = inner.payload, inner.trailer, inner.rest
        draft.free += [replace(f, header=f.header + shift) for f in inner.free]
        draft.more |= {at + shift: count for at, count in inner.more.items()}
        return True
