# Says where the packet is expected to leave: the 20-byte egress node TLV, in place of any that is
# there. The HMAC, which covers the TLVs, goes.

use tlvs

param node: ipv6 = fd00:a::1

endpoint egress {
    otherwise {
        remove hmac
        remove all EGRESS
        add EGRESS { node = node }
        forward
    }
}
