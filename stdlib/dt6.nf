# End.DT6 (RFC 8986, section 4.6): the outer headers end here; the inner packet is looked up.

endpoint dt6 {
    otherwise decap to table main
}
