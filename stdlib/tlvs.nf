# TLVs of the SRH that RFC 8754 or its drafts define. IANA keeps 1, 2, 3 and 6 reserved for those of
# draft-ietf-6man-segment-routing-header-13, section 2.1 (RFC 8754, section 8.2).

tlv INGRESS = 1 {  # where the packet came into the network: 20 bytes
    reserved: u8,
    flags: u8,
    node: ipv6,
}

tlv EGRESS = 2 {  # where it is expected to leave: 20 bytes
    reserved: u8,
    flags: u8,
    node: ipv6,
}

tlv OPAQUE = 3 {  # whatever the ends agree on: 20 bytes
    reserved: u8,
    flags: u8,
    value: bytes16,
}

tlv HMAC = 5 {  # RFC 8754, section 2.1.2, with 32 bytes of HMAC, as Linux has it: 40 bytes
    no_destination: u1,  # D: the destination address is not verified
    reserved: u15,
    key_id: u32,
    first_half: bytes16,
    second_half: bytes16,
}

tlv NSH = 6 {  # an NSH carried in the SRH; the shortest with 5 bytes of it: 8 bytes
    flags: u8,
    value: u40,
}
