# Adds one to the SRH's tag (RFC 8754, section 2), wrapping at 2^16.

endpoint tag {
    otherwise {
        set srh.tag = srh.tag + 1
        forward
    }
}
