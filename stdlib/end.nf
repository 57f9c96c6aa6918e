# End (RFC 8986, section 4.1): the kernel has advanced the segment; look the new destination up.

endpoint end {
    otherwise forward
}
