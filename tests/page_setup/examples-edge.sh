# A router with a link to its customers, and one to the rest of the network.
ip netns add edge
for link in eth0 eth1; do
    ip link add $link netns edge type veth peer name far-$link netns edge
    ip -n edge link set $link up
    ip -n edge link set far-$link up
done
