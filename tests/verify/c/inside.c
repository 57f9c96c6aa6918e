/* Maps within maps, tail calls out of functions, sockets, text, numbers with copies. */
#include "bpf.h"

static s64 (*perf_read)(void *map, u64 flags) = (void *)22;
static long (*compare)(const char *text, u32 size, const char *with) = (void *)182;

struct inner {
	__uint(type, 2);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, u64);
} first SEC(".maps"), second SEC(".maps");

struct {
	__uint(type, 12);
	__uint(max_entries, 2);
	__type(key, u32);
	struct inner *values[];
} by_number SEC(".maps") = {.values = {&first, &second}};

struct {
	__uint(type, 13);
	__uint(max_entries, 8);
	__type(key, u64);
	struct inner *values[];
} by_name SEC(".maps");

struct {
	__uint(type, 3);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} next SEC(".maps");

struct {
	__uint(type, 4);
	__uint(max_entries, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
} counters SEC(".maps");

SEC("lwt_in") int in_a_map(struct __sk_buff *skb)
{
	u32 key = skb->mark & 1, at = skb->priority & 3;
	u64 name = skb->ifindex, *count;
	void *inner = map_lookup(&by_number, &key);

	if (inner) {
		count = map_lookup(inner, &at);
		if (count)
			__sync_fetch_and_add(count, 1);
	}
	inner = map_lookup(&by_name, &name);
	if (!inner)
		return DROP;
	count = map_lookup(inner, &key);
	return count && *count > 5 ? DROP : OK;
}

static NOINLINE int leaves(struct __sk_buff *skb, u32 which)
{
	if (which < 4)
		tail_call(skb, &next, which);
	return which * 2;
}

SEC("lwt_xmit") int from_a_function(struct __sk_buff *skb)
{
	u8 *data, *end;
	int found = leaves(skb, skb->mark);

	data = DATA(skb);
	end = END(skb);
	if (data + 40 > end)
		return DROP;
	data[7] = found;
	return found > 9 ? DROP : OK;
}

SEC("lwt_out") int of_a_socket(struct __sk_buff *skb)
{
	u64 *sk = *(u64 **)((u8 *)skb + 168);
	char text[8] = {};

	if (!sk)
		return OK;
	if (((u32 *)sk)[1] == 10 && ((u32 *)sk)[18] == 1)
		return DROP;
	if (load_bytes(skb, 0, text, 7))
		return DROP;
	return compare(text, 8, "abcdefg") ? OK : DROP;
}

SEC("lwt_in") int copies(struct __sk_buff *skb)
{
	u64 many[4] = {1, 2, 3, 4};
	volatile u32 kept = prandom();
	u32 n = prandom();
	s64 read = perf_read(&counters, 0);

	if (n > 3)
		return DROP;
	many[n] += read;
	if (kept > 3)
		return DROP;
	return many[kept & 3] > many[n] ? OK : DROP;
}

char _license[] SEC("license") = "GPL";
