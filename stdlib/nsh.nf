# Adds an 8-byte NSH carrier TLV (type 6 in draft-ietf-6man-segment-routing-header-13).

tlv NSH = 6 {
    flags: u8,
    value: u40,
}

endpoint nsh {
    otherwise {
        add NSH { value = 0x0102030405 }
        forward
    }
}
