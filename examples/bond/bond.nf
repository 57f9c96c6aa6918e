# Hybrid access: each packet goes to the far end over one of two links, as their weights say.
# The same functions run on both sides, with the far side's SIDs (End.DT6, one for each link).

param link_a:   ipv6 = fd00:ba::6
param link_b:   ipv6 = fd00:bb::6
param weight_a: u32  = 1  # up to 65,535; 0: the link is out
param weight_b: u32  = 1

# Weighted round robin. A packet on link a costs weight_b, one on link b earns weight_a; who can
# pay goes over a. So 0 <= purse < weight_a + weight_b, and of n packets of one CPU link a gets
# n * weight_a / (weight_a + weight_b), to within one packet, spread as evenly as can be.
state purse: per cpu u32

transit wrr at in {
    when weight_a == 0 and weight_b == 0 { drop }
    # The weights were larger a moment ago: begin anew.
    when weight_a != 0 and purse >= weight_a + weight_b {
        set purse = 0
        encap segments [link_a]
    }
    when weight_a != 0 and purse >= weight_b {
        set purse = purse - weight_b
        encap segments [link_a]
    }
    otherwise {
        set purse = purse + weight_a
        encap segments [link_b]
    }
}

# Deficit weighted round robin: the same by bytes. `lead` is how far link a is ahead, in bytes
# times weight; more than half of 2^64 means that it is behind. A packet goes to the link that is
# behind, so the lead stays within one packet times the larger weight.
const HALF: u64 = 0x8000000000000000

state lead: per cpu u64
counter bytes_a
counter bytes_b

define far(x: u64, weights: u64): bool = x > weights * 65536 and x < 0 - weights * 65536

transit dwrr at in {
    when weight_a == 0 and weight_b == 0 { drop }
    when weight_a != 0 and far(lead, weight_a + weight_b) {
        set lead = 0
        count bytes_a by packet.length
        encap segments [link_a]
    }
    when weight_b == 0 or weight_a != 0 and (lead == 0 or lead >= HALF) {
        set lead = lead + packet.length * weight_b
        count bytes_a by packet.length
        encap segments [link_a]
    }
    otherwise {
        set lead = lead - packet.length * weight_a
        count bytes_b by packet.length
        encap segments [link_b]
    }
}
