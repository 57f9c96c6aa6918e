# What the functions of seg6-bpf-tests/tests_bpf.c do (Mathieu Xhonneux's thesis), in nf. Names and
# addresses are the thesis's; docs/thesis.md compares.

endpoint pass {
    otherwise forward
}

endpoint discard {  # the thesis's `drop`
    otherwise drop
}

endpoint inc_tag {
    otherwise {
        set srh.tag = srh.tag + 1
        forward
    }
}

endpoint alert {
    otherwise {
        set srh.alert = 1
        forward
    }
}

endpoint end_x {
    otherwise forward via fc42::1
}

endpoint end_t {
    otherwise forward to table 42
}

endpoint end_b6 {
    otherwise insert segments [fc00::2]
}

endpoint b6_encap {
    otherwise encap segments [fc00::2, fc00::1]
}

endpoint long_b6_encap {
    otherwise encap segments [fc00::5, fc00::4, fc00::3, fc00::2, fc00::1]
}

endpoint long_b6 {
    otherwise insert segments [fc00::5, fc00::4, fc00::3, fc00::2]
}

transit push_encap at in {
    otherwise encap segments [fc00::2, fc00::1]
}

transit long_encap_push at in {
    otherwise encap segments [fc00::5, fc00::4, fc00::3, fc00::2, fc00::1]
}

transit long_encap_inline at in {
    otherwise insert segments [fc00::5, fc00::4, fc00::3, fc00::2]
}

transit encap_inline_3seg at in {
    otherwise insert segments [fc00::3, fc00::2]
}

transit push_encap_udp at xmit {
    when ip.next_header == 17 { encap segments [fc00::2, fc00::1] from fd00::41 }
    otherwise forward
}

endpoint end_dt6 {
    otherwise decap to table main
}
