/* Functions with external linkage: the kernel verifies each by itself. */
#include "bpf.h"

NOINLINE u32 scramble(u32 a, u64 b)
{
	u32 i;

	for (i = 0; i < 4; i++)
		a = a * 31 + (u32)(b >> (i * 16));
	return a;
}

NOINLINE u32 first(struct __sk_buff *skb)
{
	u8 *p = DATA(skb), *end = END(skb);

	if (p + 4 > end)
		return 0;
	return p[0] << 8 | p[3];
}

NOINLINE u32 both(struct __sk_buff *skb, u32 salt)
{
	return scramble(first(skb), salt) >> 3;
}

NOINLINE int grow(struct __sk_buff *skb, u32 by)
{
	return change_head(skb, by & 63, 0);
}

SEC("lwt_in") int one(struct __sk_buff *skb)
{
	return scramble(skb->len, skb->mark) & 1 ? DROP : OK;
}

SEC("lwt_out") int two(struct __sk_buff *skb)
{
	u8 *p = DATA(skb), *end = END(skb);

	if (p + 1 > end)
		return OK;
	if (both(skb, 7) > 100)
		return DROP;
	return p[0] == 0x60 ? OK : DROP;
}

SEC("lwt_xmit") int three(struct __sk_buff *skb)
{
	u8 *p, *end;

	if (grow(skb, skb->mark) < 0)
		return DROP;
	p = DATA(skb);
	end = END(skb);
	if (p + 1 > end)
		return OK;
	return p[0] == 0x60 ? OK : DROP;
}

char _license[] SEC("license") = "GPL";
