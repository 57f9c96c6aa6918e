# A router of one link; and the lab of eight, whose agents have looked at the routes.
ip netns add router
ip link add eth0 netns router type veth peer name other netns router
ip -n router addr add fd00:1::1/64 dev eth0 nodad
ip -n router link set eth0 up
ip -n router link set other up
cp examples/discovery/all.toml .
export NFC_STATE_DIR=/run/eight  # not the router's, whose functions those of the lab are not
nfc lab up examples/discovery/topology.toml
for n in 1 2 3 4 5 6 7 8; do
    until grep -q entries /run/eight/labs/discovery/agent$n.log; do sleep 0.1; done
done
