# The policy of a provider's edge, on packets that come in from customers: who may send what, what
# is measured, and which path it takes. Twenty rules, first match wins.

use dm

param far_end:   ipv6 = fd00:b::d   # the SID at the path's end that measures delay
param scrubber:  ipv6 = fd00:5c::1  # the SID that cleans traffic under attack
param low_delay: ipv6 = fd00:10::1  # a SID on the short path
param bulk:      ipv6 = fd00:20::1  # a SID on the wide path
param one_in:    u32  = 1000
param attack:    bool = false
param burst:     u64  = 1_000_000

table customers: prefix[4096] { source: ipv6 } to { blocked: bool, used: u64 }
table sources: lru[8192] { source: ipv6 } to { packets: u64 }
counter spoofed
counter by_class[256] { class: u8 }
state total: u64

event seen { source: ipv6, destination: ipv6, class: u8 }
event odd { source: ipv6, packet[128] }

transit edge at in {
    when ip.src in fe80::/10 or ip.src in ::/8 {
        count spoofed
        drop
    }
    when customers has [ip.src] as c and c.blocked { drop }
    when customers has [ip.src] as c and c.used > burst { drop }
    when not customers has [ip.src] {
        emit odd { source = ip.src }
        count spoofed
        drop
    }
    when ip.hop_limit < 2 { drop }
    when srh.segments_left > 0 and not ip.dst in fd00::/16 { drop }
    when srh.hmac == 1 forward
    when icmp6.type >= 133 and icmp6.type <= 137 { drop }
    when icmp6.type == 128 and every(10) { insert segments [low_delay] }
    when icmp6.type == 128 { drop }
    when attack and not sources has [ip.src] {
        put sources[ip.src] { packets = 1 }
        encap segments [scrubber, ip.dst]
    }
    when attack and tcp.syn == 1 and tcp.ack == 0 { encap segments [scrubber, ip.dst] }
    when udp.src_port == 0 or udp.dst_port == 0 { drop }
    when udp.dst_port == 53 and ip.payload_length > 512 {
        emit odd { source = ip.src }
        drop
    }
    when sample(1 in one_in) {
        emit seen { source = ip.src, destination = ip.dst, class = ip.traffic_class }
        count by_class[ip.traffic_class]
        encap segments [far_end, ip.dst] with DM { control = OUT_OF_BAND, sent = now() }
    }
    when ip.traffic_class >> 2 == 46 {
        set packet.priority = 7
        encap segments [low_delay, ip.dst]
    }
    when udp.dst_port >= 3478 and udp.dst_port <= 3481 { encap segments [low_delay, ip.dst] }
    when tcp.dst_port == 443 and ip.payload_length > 1200 { encap segments [bulk, ip.dst] }
    when ip.dst in fd20::/16 {
        set total = total + packet.length
        encap segments [bulk, ip.dst]
    }
    otherwise forward
}
