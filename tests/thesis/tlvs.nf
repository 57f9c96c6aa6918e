# What the functions of seg6-bpf-tests/tlv_bpf.c do (Mathieu Xhonneux's thesis), in nf. TLVs are
# named by type, not by their place in bytes; docs/thesis.md compares.

tlv INGRESS = 1 { reserved: u16, node: ipv6 }
tlv EGRESS = 2 { reserved: u16, node: ipv6 }
tlv OPAQUE = 3 { reserved: u16, value: u64, low: u64 }
tlv NSH = 6 { flags: u8, value: u40 }
tlv NSH_SHORT = 6 { flags: u8, value: u24 }
tlv NSH_ANY = 6 { flags: u8 }

endpoint add_8 {
    otherwise {
        add NSH { value = 0x0102030405 }
        forward
    }
}

endpoint add_6 {
    otherwise {
        add NSH_SHORT { value = 0x010203 }
        forward
    }
}

endpoint add_ingr {  # add_ingr_no_offset is the same
    otherwise {
        add INGRESS { node = fc00::1 }
        forward
    }
}

endpoint add_ingr_mid {
    when srh has OPAQUE as opaque {
        add INGRESS { node = fc00::beef } after opaque
        forward
    }
    otherwise drop
}

endpoint add_opaq_begin {
    otherwise {
        add OPAQUE { low = 0x42 } first
        forward
    }
}

endpoint del_first {
    when srh has INGRESS as ingress {
        remove ingress
        forward
    }
    when srh has NSH_ANY as nsh {
        remove nsh
        forward
    }
    otherwise drop
}

endpoint del_20 {
    when srh has INGRESS and srh has EGRESS as egress {
        remove egress
        forward
    }
    when srh has INGRESS and srh has NSH as nsh {
        remove nsh
        forward
    }
    otherwise drop
}

endpoint del_24 {
    when srh has INGRESS and srh has NSH as nsh {
        remove nsh
        forward
    }
    otherwise drop
}

endpoint del_24_hmac {
    otherwise {
        remove hmac
        forward
    }
}
