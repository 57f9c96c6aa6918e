/* The little that the programs here need of kernel and libbpf headers. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef int s32;
typedef long long s64;

#define SEC(name) __attribute__((section(name), used))
#define NOINLINE __attribute__((noinline))
#define INLINE static __attribute__((always_inline)) inline
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name

struct __sk_buff {
	u32 len, pkt_type, mark, queue_mapping, protocol, vlan_present, vlan_tci, vlan_proto;
	u32 priority, ingress_ifindex, ifindex, tc_index, cb[5], hash, tc_classid;
	u32 data, data_end, napi_id;
};

static void *(*map_lookup)(void *map, const void *key) = (void *)1;
static long (*map_update)(void *map, const void *key, const void *value, u64 flags) = (void *)2;
static long (*map_delete)(void *map, const void *key) = (void *)3;
static u64 (*ktime)(void) = (void *)5;
static u32 (*prandom)(void) = (void *)7;
static u32 (*cpu)(void) = (void *)8;
static long (*store_bytes)(void *skb, u32 at, const void *from, u32 len, u64 flags) = (void *)9;
static long (*tail_call)(void *skb, void *map, u32 index) = (void *)12;
static long (*load_bytes)(const void *skb, u32 at, void *to, u32 len) = (void *)26;
static s64 (*csum_diff)(void *from, u32 n, void *to, u32 m, u32 seed) = (void *)28;
static long (*pull_data)(void *skb, u32 len) = (void *)39;
static long (*change_head)(void *skb, u32 len, u64 flags) = (void *)43;
static long (*push_encap)(void *skb, u32 type, void *hdr, u32 len) = (void *)73;
static long (*seg6_store)(void *skb, u32 at, const void *from, u32 len) = (void *)74;
static long (*seg6_adjust)(void *skb, u32 at, s32 delta) = (void *)75;
static long (*seg6_action)(void *skb, u32 action, void *param, u32 len) = (void *)76;
static long (*perf_output)(void *skb, void *map, u64 flags, void *data, u64 size) = (void *)25;
static long (*map_push)(void *map, const void *value, u64 flags) = (void *)87;
static long (*map_pop)(void *map, void *value) = (void *)88;
static long (*ring_output)(void *map, void *data, u64 size, u64 flags) = (void *)130;
static void *(*ring_reserve)(void *map, u64 size, u64 flags) = (void *)131;
static void (*ring_submit)(void *data, u64 flags) = (void *)132;
static void (*ring_discard)(void *data, u64 flags) = (void *)133;
static long (*for_each)(void *map, void *callback, void *ctx, u64 flags) = (void *)164;
static long (*loop)(u32 n, void *callback, void *ctx, u64 flags) = (void *)181;

#define DATA(skb) ((u8 *)(long)(skb)->data)
#define END(skb) ((u8 *)(long)(skb)->data_end)
#define OK 0
#define DROP 2
