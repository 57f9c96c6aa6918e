# h1 - r1 - r2 - h2, and packets on the way from one host to the other.
for node in h1 r1 r2 h2; do
    ip netns add $node
    ip -n $node link set lo up
done
link() {
    ip link add "$2" netns "$1" type veth peer name "$5" netns "$4"
    ip -n "$1" addr add "$3/64" dev "$2" nodad
    ip -n "$4" addr add "$6/64" dev "$5" nodad
    ip -n "$1" link set "$2" up
    ip -n "$4" link set "$5" up
}
link h1 eth0 fd00:1::1 r1 eth0 fd00:1::2
link r1 eth1 fd00:2::1 r2 eth0 fd00:2::2
link r2 eth1 fd00:3::1 h2 eth0 fd00:3::2
for node in r1 r2; do
    ip netns exec $node sysctl -qw net.ipv6.conf.all.forwarding=1
done
ip netns exec h2 sysctl -qw net.ipv6.conf.all.seg6_enabled=1 net.ipv6.conf.eth0.seg6_enabled=1
ip -n h2 addr add fd00:c::1/128 dev lo nodad
ip -n h1 -6 route add default via fd00:1::2
ip -n r1 -6 route add default via fd00:2::2
ip -n r1 -6 route add fd00:3::/64 via fd00:2::2
ip -n r2 -6 route add fd00:1::/64 via fd00:2::1
ip -n r2 -6 route add fd00:c::/64 via fd00:3::2
ip -n h2 -6 route add default via fd00:3::1
mkdir -p /var/lib/nfc-delay /run/nfc-delay-clock
cat > /tmp/packets.py <<'END'
import socket, time
out = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
while True:
    for _ in range(20):
        out.sendto(b"hello", ("fd00:3::2", 9))
    time.sleep(0.01)
END
ip netns exec h1 python3 /tmp/packets.py > /dev/null 2>&1 &
