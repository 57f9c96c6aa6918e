# Network discovery, after the CoNEXT 2018 paper: a query asks a router over which next hops it
# would send packets to an address. `nfc discovery agent` keeps the table as the kernel's routes
# are; `nfc segtrace` asks. IANA has assigned no type, so this one is for experiments (RFC 8754,
# section 8.2).

enum Answer: u8 { QUERY = 0, FOUND = 1, NO_ROUTE = 2 }

# The query has room for the answer: 148 bytes with type and length.
tlv OAMP = 254 {
    answer: Answer,
    hops: u8,  # next hops that the route has; at most eight are told
    target: ipv6,
    hop0: ipv6,
    hop1: ipv6,
    hop2: ipv6,
    hop3: ipv6,
    hop4: ipv6,
    hop5: ipv6,
    hop6: ipv6,
    hop7: ipv6,
}

# A route that leads to the router itself, or to a link, has :: as its one next hop.
table routes: prefix[65536] { destination: ipv6 } to {
    hops: u8,
    hop0: ipv6,
    hop1: ipv6,
    hop2: ipv6,
    hop3: ipv6,
    hop4: ipv6,
    hop5: ipv6,
    hop6: ipv6,
    hop7: ipv6,
}

endpoint end_oamp {
    when srh has OAMP as q and q.answer == QUERY and routes has [q.target] as r and r.hops > 0 {
        set q.answer = FOUND
        set q.hops = r.hops
        set q.hop0 = r.hop0
        set q.hop1 = r.hop1
        set q.hop2 = r.hop2
        set q.hop3 = r.hop3
        set q.hop4 = r.hop4
        set q.hop5 = r.hop5
        set q.hop6 = r.hop6
        set q.hop7 = r.hop7
        forward
    }
    when srh has OAMP as q and q.answer == QUERY {
        set q.answer = NO_ROUTE
        forward
    }
    otherwise forward
}
