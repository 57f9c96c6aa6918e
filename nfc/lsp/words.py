"""What the words of the language mean, in a sentence or two each; docs/language.md has it all.

Every keyword of the grammar is here (tests/lsp/test_hover.py).
"""

from __future__ import annotations

KEYWORDS = {
    "use": "`use NAME`: takes the constants, enums, TLVs and events of `NAME.nf` beside this file, "
    "else of the standard library.",
    "const": "`const NAME: type = value`: a value known at compile time. The type may be left out "
    "for addresses, durations, bools.",
    "param": "`param NAME: type = value`: a value that `nfc set` changes while the function runs. "
    "A packet sees all values of one `nfc set`, or none.",
    "enum": "`enum NAME: uN { A = 0 }`: names for values. A member is written without its enum.",
    "tlv": "`tlv NAME = TYPE { field: type = default, reserved: uN }`: a TLV of the SRH "
    "(RFC 8754, section 2.1). Fields follow the type and length bytes, most significant bit "
    "first.",
    "reserved": "Bits that are sent as zero and never looked at.",
    "event": "`event NAME { field: type, packet[n] }`: what `emit` sends to user space; with "
    "`packet[n]` also the first n bytes of the packet as it arrived.",
    "counter": "`counter NAME`: a 64-bit count that `nfc status` shows. `counter NAME[n] "
    "{ key: type }`: one for each key, of up to n.",
    "table": "`table NAME: KIND[n] { key: type } to { field: type }`: a table of up to n entries, "
    "which `nfc table` shows and changes. In a verdict: a routing table.",
    "state": "`state NAME: type`: a value that lasts from packet to packet, zero at first.",
    "per": "`per cpu`: each CPU has its own.",
    "cpu": "`per cpu`: each CPU has its own.",
    "define": "`define NAME(a: type): type = value`: a name for a value computed from others, put "
    "in the place of each call.",
    "endpoint": "`endpoint NAME { … }`: runs at a seg6local route with action End.BPF (RFC 8986), "
    "on packets with an SRH that the kernel has advanced.",
    "transit": "`transit NAME at in|out|xmit { … }`: runs at a route's input, output or transmit.",
    "at": "`at in|out|xmit`: where in a route's path a transit function runs.",
    "when": "`when CONDITION { … }`: the first rule whose condition holds is taken, and no other.",
    "otherwise": "Takes every packet that is left; required, and last.",
    "set": "`set field = value`: the right side reads the packet as it arrived.",
    "add": "`add TLV { field = value }`, then `first`, `last`, `before x` or `after x`: a TLV in "
    "that place, behind the last one if none is said. Fields left out have their defaults.",
    "first": "`add … first`: before all other TLVs.",
    "last": "`add … last`: behind all other TLVs.",
    "before": "`add … before x`: before the bound TLV x.",
    "after": "`add … after x`: behind the bound TLV x.",
    "remove": "`remove x`: takes a bound TLV out. `remove all TLV`: all of a type. `remove hmac`: "
    "every HMAC TLV and the flag H. `remove TABLE[key]`: an entry.",
    "all": "`remove all TLV`: takes all TLVs of that type out, however long they are.",
    "replace": "`replace x with TLV { … }`: puts a TLV in the place of a bound one.",
    "with": "Behind `encap` and `insert`: the TLVs of the new SRH. In `replace x with`: the new "
    "TLV.",
    "emit": "`emit EVENT { field = value }`: an event to user space with all its fields, once the "
    "packet's fate is settled.",
    "count": "`count NAME by VALUE`: adds 1, or that much, to a counter.",
    "by": "`count NAME by VALUE`: how much is added.",
    "put": "`put TABLE[key] { field = value }`: a new entry, or all of the one that is there; "
    "fields left out are zero.",
    "forward": "`forward`: End, a route lookup by the destination. `forward via ADDRESS`: End.X. "
    "`forward to table T`: End.T (RFC 8986, section 4). At `xmit`, `forward to LINK via MAC from "
    "MAC`: out of that interface, in a frame with these addresses.",
    "via": "`forward via ADDRESS`: to that neighbour (End.X; RFC 8986, section 4.2). In `forward "
    "to LINK via MAC from MAC`: whom the frame is to.",
    "to": "Before `table`: in that routing table. In a table's declaration: what its entries hold. "
    "`forward to LINK via MAC from MAC`: out of the interface with that index.",
    "decap": "`decap to table T`: takes the outer headers off and looks the inner packet up "
    "(End.DT6; RFC 8986, section 4.6).",
    "encap": "`encap segments [A, B] with TLV { … }`: an outer header with an SRH, segments in the "
    "order of travel (End.B6.Encaps, in transit H.Encaps; RFC 8986, sections 4.13, 5.1).",
    "insert": "`insert segments [A, B] with TLV { … }`: an SRH in the packet itself, before any "
    "that is there.",
    "segments": "The segments of the new SRH, in the order of travel.",
    "from": "`from ADDRESS`: the outer source address, which an encap at `xmit` has to say. In "
    "`forward to LINK via MAC from MAC`: whom the frame is from.",
    "drop": "Discards the packet.",
    "has": "`srh has TLV[n] as x`: whether the SRH has a TLV of that type; binds it as x. `TABLE "
    "has [key] as x`: the same of a table's entry.",
    "as": "`has … as x`: binds a TLV or an entry, whose fields are then `x.field` in this rule.",
    "in": "`address in prefix`; `sample(1 in n)`; `at in`: a route's input.",
    "and": "Both conditions hold.",
    "or": "One of the conditions holds.",
    "not": "The condition does not hold. One that reads what the packet does not have holds "
    "neither way.",
    "true": "A bool.",
    "false": "A bool.",
    "sample": "`sample(1 in n)`: holds for one packet in n at random; never if n is 0.",
}
CALLS = {
    "now": ("now(): timestamp", "When the packet reached the function: one reading of TAI, in "
            "nanoseconds since 1970. Needs kernel 6.1 (bpf_ktime_get_tai_ns)."),
    "every": ("every(n: u32): bool", "Holds for each n-th packet that comes to it, on each CPU by "
              "itself; never if n is 0."),
    "sample": ("sample(1 in n: u32): bool", "Holds for one packet in n at random; never if n is "
               "0."),
}  # fmt: skip
HEADERS = {
    "ip": "The outer IPv6 header (RFC 8200, section 3).",
    "srh": "The segment routing header (RFC 8754, section 2).",
    "inner": "The IPv6 packet inside (RFC 8200, section 3).",
    "ipv4": "The IPv4 packet inside (RFC 791, section 3.1).",
    "udp": "The UDP header of the packet inside, or of the packet itself (RFC 768).",
    "tcp": "The TCP header of the packet inside, or of the packet itself (RFC 9293, section 3.1).",
    "icmp6": "The ICMPv6 header of the packet inside, or of the packet itself (RFC 4443, "
    "section 2.1).",
    "packet": "What the kernel knows of the packet besides its bytes (struct __sk_buff).",
}
FIELDS = {
    ("srh", "oam"): "The O-flag (RFC 9259, section 2.1).",
    ("srh", "hmac"): "The flag H: the SRH has an HMAC TLV (RFC 8754, section 2.1.2; Linux, "
    "SR6_FLAG1_HMAC).",
    ("srh", "protected"): "The flag P of the drafts before RFC 8754.",
    ("srh", "alert"): "The flag A of the drafts before RFC 8754.",
    ("srh", "segment_list"): "`srh.segment_list[n]`: 0 is the last segment of the path (RFC 8754, "
    "section 2).",
    ("packet", "length"): "Bytes of the packet.",
    ("packet", "mark"): "The packet's mark in this router.",
    ("packet", "priority"): "The packet's priority in this router.",
    ("packet", "ingress"): "The index of the interface that it came in at.",
    ("packet", "hash"): "A hash of the packet's flow.",
    ("packet", "cpu"): "The CPU that the function runs on.",
}
KINDS = {
    "hash": "An entry is found by exactly its key. When it is full, `put` drops the packet.",
    "lru": "An entry is found by exactly its key. When it is full, the entry goes that was not "
    "used for longest, about.",
    "prefix": "An entry is found by the longest prefix that holds the key, an ipv6 or u32.",
    "array": "An entry is found by its index, from 0; all are there from the start, zero.",
}
TYPES = {
    "timestamp": "A point in time: nanoseconds of TAI since 1970. In a TLV: 32 bits of seconds, 32 "
    "of nanoseconds (RFC 6374, section 3.4).",
    "duration": "A length of time in nanoseconds: `5ns`, `10us`, `10ms`, `2s`.",
    "ipv6": "An IPv6 address, 16 bytes.",
    "bool": "A condition: `true` or `false`.",
}
TABLES = {
    "main": "The routing table that `ip route` shows (254).",
    "local": "The routing table of the router's own addresses (255).",
    "default": "Routing table 253.",
}


def of_type(name: str) -> str:
    """What a built-in type is, with its unit and its size in memory."""
    if name in TYPES:
        return TYPES[name]
    if name.startswith("bytes"):
        return f"{name[5:]} bytes as on the wire, to be compared and copied."
    bits = int(name[1:])
    size = next(n for n in (1, 2, 4, 8) if bits <= 8 * n)
    top = (1 << bits) - 1
    return f"An unsigned integer of {bits} bits (0 to {top}), {size} bytes in memory."
