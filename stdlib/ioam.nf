# IOAM edge to edge (RFC 9197, section 4.6): packets are numbered and stamped where they enter the
# domain, and what is lost, and how long it took, is seen where they leave it. The option is in a
# TLV of the SRH as draft-ali-spring-ioam-srv6 has it; IANA has assigned no type, so this one is
# for experiments (RFC 8754, section 8.2).

tlv IOAM = 252 {
    option: u8 = 3,            # edge to edge (RFC 9197, section 7.2)
    reserved: u8,
    namespace: u16,
    present: bytes2 = 0xb000,  # 64-bit numbers, seconds, fractions (section 4.6)
    sequence: u64,
    sent: timestamp,
}

param namespace:  u16  = 1
param domain_end: ipv6 = fd00:b::d  # the SID that runs ioam_end

state next: per cpu u64  # numbers count on each CPU by itself
state expected: u64
state lost: u64

event ioam_sample { sequence: u64, delay: duration }

transit ioam_begin at in {
    otherwise {
        set next = next + 1
        encap segments [domain_end, ip.dst] with
            IOAM { namespace = namespace, sequence = next, sent = now() }
    }
}

endpoint ioam_end {
    when srh has IOAM as ioam and ioam.namespace == namespace and ioam.sequence > expected {
        set lost = lost + (ioam.sequence - expected)
        set expected = ioam.sequence + 1
        emit ioam_sample { sequence = ioam.sequence, delay = now() - ioam.sent }
        decap to table main
    }
    when srh has IOAM as ioam and ioam.namespace == namespace {
        set expected = ioam.sequence + 1
        emit ioam_sample { sequence = ioam.sequence, delay = now() - ioam.sent }
        decap to table main
    }
    otherwise forward
}
