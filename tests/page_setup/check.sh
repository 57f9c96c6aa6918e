# Somebody's object, whose section names no hook, and what a verifier said of it.
command -v clang > /dev/null || { echo "no clang"; exit 77; }
command -v bpftool > /dev/null || { echo "no bpftool"; exit 77; }
cat > theirs.c <<'END'
#include "bpf.h"
char _license[] SEC("license") = "GPL";
SEC("prog") int theirs(struct __sk_buff *skb)
{
	return skb->mark & 1 ? DROP : OK;
}
END
clang -O2 -g -target bpf -I tests/verify/c -c theirs.c -o theirs.o
bpftool -d prog load theirs.o /sys/fs/bpf/theirs type lwt_xmit > verifier.log 2>&1
