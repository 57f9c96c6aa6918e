/* What nfc's own objects do not have: several programs in a section, subprograms in .text, a
 * callback, static and global data, every way to declare a map. Needs no kernel headers. */

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long long u64;

#define SEC(name) __attribute__((section(name), used))
#define __noinline __attribute__((noinline))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name

struct __sk_buff {
	u32 len;
	u32 pkt_type;
	u32 mark;
};

struct pair {
	u32 left;
	u64 right;
};

struct {
	__uint(type, 1); /* hash */
	__uint(max_entries, 64);
	__uint(map_flags, 1); /* BPF_F_NO_PREALLOC */
	__type(key, u32);
	__type(value, struct pair);
} pairs SEC(".maps");

struct {
	__uint(type, 6); /* percpu_array */
	__uint(key_size, 4);
	__uint(value_size, 16);
	__uint(max_entries, 1);
	__uint(pinning, 1); /* LIBBPF_PIN_BY_NAME */
} stats SEC(".maps");

struct {
	__uint(type, 27); /* ringbuf */
	__uint(max_entries, 4096);
} events SEC(".maps");

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*ringbuf_output)(void *map, void *data, u64 size, u64 flags) = (void *)130;
static long (*loop)(u32 n, void *callback, void *ctx, u64 flags) = (void *)181;

u64 first = 11;
u64 second = 22;
static volatile u32 hidden = 33;
static volatile u32 hidden_too = 44;
const volatile u32 limit = 55;
u64 zeroed[4];
u32 apart SEC(".data.apart") = 66;

static __noinline u32 inner(u32 x)
{
	u32 key = x;
	struct pair *p = map_lookup(&pairs, &key);

	return p ? p->left : hidden;
}

static __noinline u32 outer(struct __sk_buff *skb)
{
	return inner(skb->mark) + inner(skb->len + hidden_too) + limit;
}

__noinline u32 visible(u32 x)
{
	return x * 3 + inner(x);
}

static int step(u32 index, void *ctx)
{
	zeroed[index & 3] += second;
	return 0;
}

SEC("lwt_in") int one(struct __sk_buff *skb)
{
	u32 key = 0;
	u64 *p = map_lookup(&stats, &key);

	if (p)
		__sync_fetch_and_add(p, first);
	apart++;
	return outer(skb) & 1 ? 2 : 0;
}

SEC("lwt_in") int two(struct __sk_buff *skb)
{
	loop(4, step, 0, 0);
	return visible(skb->len) == 7 ? 2 : 0;
}

SEC("lwt_xmit") int three(struct __sk_buff *skb)
{
	u64 value = second;

	ringbuf_output(&events, &value, sizeof(value), 0);
	return 0;
}

char _license[] SEC("license") = "GPL";
