# End.X (RFC 8986, section 4.2): to one neighbour, whatever the routing table says of the packet.
# A global address: Linux looks for a link-local one on the link that the packet came in by.

param nexthop: ipv6 = fd00:12::2

endpoint x {
    otherwise forward via nexthop
}
