# Records where the packet came in: the 20-byte ingress node TLV; the compiler pads it to 24.

use tlvs

param node: ipv6 = fd00:a::1

endpoint ingress {
    otherwise {
        add INGRESS { node = node }
        forward
    }
}
