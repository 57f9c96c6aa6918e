# End.X (RFC 8986, section 4.2): to one neighbour, whatever the routing table says.

param nexthop: ipv6 = fe80::1

endpoint x {
    otherwise forward via nexthop
}
