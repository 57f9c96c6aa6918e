# Records where the packet came in: the 20-byte ingress node TLV (type 1 in
# draft-ietf-6man-segment-routing-header-13); the compiler pads it to 24.

param node: ipv6 = fd00:a::1

tlv INGRESS = 1 {
    reserved: u8,
    flags: u8,
    node: ipv6,
}

endpoint ingress {
    otherwise {
        add INGRESS { node = node }
        forward
    }
}
