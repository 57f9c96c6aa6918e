/* Loops, switches, functions of the program, callbacks, spilled values, atomic operations. */
#include "bpf.h"

struct {
	__uint(type, 2);
	__uint(max_entries, 16);
	__type(key, u32);
	__type(value, u64);
} numbers SEC(".maps");

static NOINLINE u32 mix(u32 a, u32 b)
{
	return (a ^ b) * 2654435761u >> 7;
}

static NOINLINE u32 sum(u8 *from, u8 *end, u32 n)
{
	u32 i, s = 0;

	for (i = 0; i < 16; i++) {
		if (i >= n || from + i + 1 > end)
			break;
		s += from[i];
	}
	return s;
}

static NOINLINE void set(u64 *to, u32 value)
{
	*to = value;
}

SEC("lwt_in") int calls(struct __sk_buff *skb)
{
	u64 local = 1;

	set(&local, skb->mark);
	return mix(local, sum(DATA(skb), END(skb), skb->len)) & 1 ? DROP : OK;
}

SEC("lwt_out") int choose(struct __sk_buff *skb)
{
	u32 bytes[8] = {};
	u32 i, n = 0;

	switch (skb->protocol) {
	case 1: n = skb->len; break;
	case 2: n = skb->mark * 3; break;
	case 7: n = skb->hash >> 3; break;
	case 9: n = skb->ifindex - 4; break;
	default: return OK;
	}
	for (i = 0; i < 8; i++)
		bytes[i] = n >> (i * 4) & 15;
	if (n < 8)
		bytes[n] = 99;
	for (i = 1; i < 8; i++)
		if (bytes[i] < bytes[i - 1])
			return DROP;
	return OK;
}

static int step(u32 index, u64 *sum)
{
	u32 key = index & 15;
	u64 *n = map_lookup(&numbers, &key);

	if (!n)
		return 1;
	*sum += *n;
	return 0;
}

SEC("lwt_in") int looped(struct __sk_buff *skb)
{
	u64 sum = 0;

	loop(12, step, &sum, 0);
	return sum > 100 ? DROP : OK;
}

static long each(void *map, u32 *key, u64 *value, u64 *most)
{
	if (*value > *most)
		*most = *value;
	return 0;
}

SEC("lwt_xmit") int greatest(struct __sk_buff *skb)
{
	u64 most = 0;

	for_each(&numbers, each, &most, 0);
	return most == 5 ? DROP : OK;
}

SEC("lwt_seg6local") int segments(struct __sk_buff *skb)
{
	u8 *p = DATA(skb), *end = END(skb);
	u8 tlv[8] = {6, 6, 1, 2, 3, 4, 5, 6};
	u32 at;

	if (p + 48 > end || p[6] != 43)
		return DROP;
	at = 40 + (p[41] + 1) * 8;
	if (seg6_adjust(skb, at, 8))
		return DROP;
	if (seg6_store(skb, at, tlv, sizeof(tlv)))
		return DROP;
	p = DATA(skb);
	end = END(skb);
	if (p + 48 > end)
		return DROP;
	if (p[43] == 3) {
		u32 table = 254;

		if (seg6_action(skb, 7, &table, 4))
			return DROP;
		return 7;
	}
	return OK;
}

SEC("lwt_xmit") int signs(struct __sk_buff *skb)
{
	s32 a = skb->mark, b = skb->hash;
	s64 c = (s64)a * b;
	u8 buffer[32];
	u32 i;

	for (i = 0; i < sizeof(buffer); i++)
		buffer[i] = c >> (i & 7);
	if (a < 0 || a > 24)
		return OK;
	if (b > -8 && b < 0)
		a -= b;
	return buffer[a] + (u32)a / 3 % 5 > 7 ? DROP : OK;
}

SEC("lwt_in") int context(struct __sk_buff *skb)
{
	skb->mark = skb->priority + 1;
	skb->priority = skb->len;
	skb->cb[0] = skb->ifindex;
	skb->cb[4] = skb->cb[0] + skb->protocol;
	return skb->cb[4] == 3 ? DROP : OK;
}

SEC("lwt_in") int encap(struct __sk_buff *skb)
{
	u8 srh[40] = {59, 4, 4, 1, 1};
	u32 i;

	for (i = 8; i < 40; i++)
		srh[i] = i * skb->mark;
	return push_encap(skb, 0, srh, sizeof(srh)) ? DROP : 7;
}

char _license[] SEC("license") = "GPL";
