# The lab without its daemons, as the page starts that of the CPE; and the function as one puts it
# onto a CPE, in the namespace where the daemon runs.
sed '/^\[\[service\]\]/,/^$/d' examples/bond/bond.toml > examples/bond/without.toml
nfc lab up examples/bond/without.toml --as house
nfc undeploy bond --netns lab-house.cpe
nsenter --net=/run/netns/lab-house.cpe nfc deploy examples/bond/bond.nf --function dwrr --name bond \
    --route fd00:20::/64 --dev a --via fd00:1a::2 --set link_a=fd00:ba::6 --set link_b=fd00:bb::6
mkdir -p /var/lib/nfc-bond  # the unit has it as its StateDirectory
