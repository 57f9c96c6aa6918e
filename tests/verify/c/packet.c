/* Reading packets: bounds checks of all shapes, offsets that vary, invalidation by helpers. */
#include "bpf.h"

SEC("lwt_in") int fixed(struct __sk_buff *skb)
{
	u8 *p = DATA(skb), *end = END(skb);

	if (p + 40 > end)
		return DROP;
	if (p[6] != 43)
		return OK;
	if (end >= p + 48 && p[42] == 4)
		return *(u16 *)(p + 46) & 1 ? DROP : OK;
	return OK;
}

SEC("lwt_out") int variable(struct __sk_buff *skb)
{
	u8 *p = DATA(skb), *end = END(skb), *q;
	u32 len;

	if (p + 48 > end)
		return DROP;
	len = p[41] * 8 + 8;
	q = p + 40 + len;
	if (q + 4 > end)
		return OK;
	return q[3] == 7 ? DROP : OK;
}

SEC("lwt_xmit") int writes(struct __sk_buff *skb)
{
	u8 *p = DATA(skb), *end = END(skb);
	u32 i;

	if (p + 64 > end)
		return DROP;
	p[7]--;
	for (i = 8; i < 24; i++)
		p[i] ^= p[i + 16];
	*(u32 *)(p + 40) = skb->mark;
	return OK;
}

SEC("lwt_xmit") int moves(struct __sk_buff *skb)
{
	u8 *p = DATA(skb), *end = END(skb);
	u8 first;

	if (p + 1 > end)
		return DROP;
	first = p[0];
	if (pull_data(skb, 60))
		return DROP;
	p = DATA(skb);
	end = END(skb);
	if (p + 60 > end)
		return DROP;
	p[59] = first;
	if (skb->len > 1000 && change_head(skb, 14, 0))
		return DROP;
	return OK;
}

SEC("lwt_seg6local") int walk(struct __sk_buff *skb)
{
	u8 *p = DATA(skb), *end = END(skb);
	u32 i, at = 48, sum = 0;

	for (i = 0; i < 10; i++) {
		u8 *tlv = p + at;

		if (tlv + 2 > end)
			break;
		if (tlv[0] == 0)
			at += 1;
		else
			at += tlv[1] + 2;
		if (at > 1000)
			return DROP;
		sum += tlv[0];
	}
	return sum == 77 ? DROP : OK;
}

SEC("lwt_in") int masked(struct __sk_buff *skb)
{
	u8 *p = DATA(skb), *end = END(skb);
	u32 at = skb->mark & 0x3f;
	s32 back;

	if (p + 64 > end)
		return DROP;
	back = p[at];
	if (back > 63)
		return OK;
	back -= at & 3;
	if (back < 0)
		return DROP;
	return p[back] == 3 ? DROP : OK;
}

SEC("lwt_out") int loaded(struct __sk_buff *skb)
{
	u8 buffer[64];
	u32 n = skb->len;

	if (n < 1 || n > sizeof(buffer))
		return OK;
	if (load_bytes(skb, 0, buffer, n))
		return DROP;
	return buffer[0] >> 4 == 6 ? OK : DROP;
}

char _license[] SEC("license") = "GPL";
