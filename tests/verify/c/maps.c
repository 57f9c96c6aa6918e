/* Maps of all kinds that the hooks meet, values with offsets that vary, ring buffers, data. */
#include "bpf.h"

struct entry {
	u64 packets, bytes;
	u32 table[8];
	u8 name[16];
};

struct {
	__uint(type, 1);
	__uint(max_entries, 128);
	__type(key, u32);
	__type(value, struct entry);
} hash SEC(".maps");

struct {
	__uint(type, 2);
	__uint(max_entries, 4);
	__type(key, u32);
	__type(value, struct entry);
} array SEC(".maps");

struct {
	__uint(type, 6);
	__uint(max_entries, 2);
	__type(key, u32);
	__type(value, u64);
} percpu SEC(".maps");

struct prefix {
	u32 bits;
	u8 address[16];
};

struct {
	__uint(type, 11);
	__uint(max_entries, 16);
	__uint(map_flags, 1);
	__type(key, struct prefix);
	__type(value, u32);
} trie SEC(".maps");

struct {
	__uint(type, 22);
	__uint(max_entries, 16);
	__uint(key_size, 0);
	__type(value, u64);
} queue SEC(".maps");

struct {
	__uint(type, 27);
	__uint(max_entries, 4096);
} events SEC(".maps");

struct {
	__uint(type, 4);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 4);
} perf SEC(".maps");

struct {
	__uint(type, 3);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 4);
} programs SEC(".maps");

u64 total;
u32 settings[4] = {1, 2, 3, 4};
const volatile u32 limit = 55;
static const u8 table[18] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3, 2, 3};

SEC("lwt_in") int count(struct __sk_buff *skb)
{
	u32 key = skb->mark;
	struct entry *e = map_lookup(&hash, &key), fresh = {};

	if (!e) {
		fresh.packets = 1;
		fresh.bytes = skb->len;
		map_update(&hash, &key, &fresh, 1);
		return OK;
	}
	__sync_fetch_and_add(&e->packets, 1);
	e->bytes += skb->len;
	e->table[skb->hash & 7]++;
	return e->packets > limit ? DROP : OK;
}

SEC("lwt_out") int indexed(struct __sk_buff *skb)
{
	u32 key = 1, i = skb->protocol;
	struct entry *e = map_lookup(&array, &key);
	u64 *n;

	if (!e)
		return DROP;
	if (i < 16)
		e->name[i] = table[i];
	key = 0;
	n = map_lookup(&percpu, &key);
	if (n)
		*n += e->name[15];
	total += settings[skb->priority & 3];
	return OK;
}

SEC("lwt_xmit") int longest(struct __sk_buff *skb)
{
	struct prefix key = {128};
	u32 *found;

	if (load_bytes(skb, 24, key.address, 16))
		return DROP;
	found = map_lookup(&trie, &key);
	if (found)
		return *found == 1 ? DROP : OK;
	map_delete(&trie, &key);
	return OK;
}

SEC("lwt_seg6local") int events_out(struct __sk_buff *skb)
{
	struct entry *e = ring_reserve(&events, sizeof(*e), 0);
	u64 value = skb->len;

	if (!e)
		return DROP;
	e->packets = ktime();
	e->bytes = value;
	if (value > 100) {
		ring_discard(e, 0);
		ring_output(&events, &value, sizeof(value), 0);
		return OK;
	}
	e->table[value & 7] = 1;
	ring_submit(e, 0);
	return OK;
}

SEC("lwt_in") int others(struct __sk_buff *skb)
{
	u64 value = prandom();
	u32 words[3] = {cpu(), skb->len, 7};

	map_push(&queue, &value, 2);
	if (!map_pop(&queue, &value) && value == 3)
		return DROP;
	perf_output(skb, &perf, 0xffffffffULL, words, sizeof(words));
	tail_call(skb, &programs, skb->mark & 3);
	return OK;
}

struct {
	__uint(type, 9);
	__uint(max_entries, 16);
	__type(key, u32);
	__type(value, u64);
} recent SEC(".maps");

SEC("lwt_xmit") int remembered(struct __sk_buff *skb)
{
	u32 key = skb->hash;
	u64 one = 1, *seen = map_lookup(&recent, &key);

	if (!seen)
		return map_update(&recent, &key, &one, 0) ? DROP : OK;
	*seen += 1;
	one = *seen;
	return store_bytes(skb, 4, &one, 2, 0) ? DROP : OK;
}

char _license[] SEC("license") = "GPL";
