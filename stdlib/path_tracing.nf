# Path tracing (draft-filsfils-spring-path-tracing): a probe records the interfaces that it passes.
# The source's own record is a TLV of the SRH; IANA has assigned no type, so this one is for
# experiments (RFC 8754, section 8.2).

tlv PT = 253 {
    interface: u12,   # IF_ID: the outgoing interface, by the operator's numbering
    load: u4,         # IF_LD
    sent: timestamp,  # T64
    session: u16,
    sequence: u16,
}

param session:   u16  = 1
param interface: u12  = 1
param sink:      ipv6 = fd00:b::d

state probes: per cpu u16

event path { session: u16, sequence: u16, sent: timestamp, received: timestamp, packet[256] }

# Probes go over this route; each gets the next number.
transit path_source at in {
    otherwise {
        set probes = probes + 1
        encap segments [sink, ip.dst] with
            PT { interface = interface, session = session, sequence = probes, sent = now() }
    }
}

# The collector gets the probe's first 256 bytes, in which its records are.
endpoint path_sink {
    when srh has PT as pt {
        emit path {
            session = pt.session,
            sequence = pt.sequence,
            sent = pt.sent,
            received = now(),
        }
        drop
    }
    otherwise forward
}
