/* What the functions of stdlib/ do, by hand in C, with the fewest helper calls that can do it.
 *
 * These do less than the compiled functions: they count nothing, take it that the SRH follows
 * the IPv6 header, and that nothing but the segments is in it. One program a section, so that
 * bench/functions.py can load them one by one.
 */
typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

/* The parts of struct __sk_buff that are used (uapi/linux/bpf.h). */
struct __sk_buff {
	u32 before[19];
	u32 data;
	u32 data_end;
};

static long (*lwt_seg6_store_bytes)(void *, u32, const void *, u32) = (void *)74;
static long (*lwt_seg6_adjust_srh)(void *, u32, int) = (void *)75;
static long (*lwt_seg6_action)(void *, u32, void *, u32) = (void *)76;

#define SEC(name) __attribute__((section(name), used))
#define OK 0
#define DROP 2
#define REDIRECT 7
#define SRH 40

/* The SRH's length in bytes, or 0. */
static __attribute__((always_inline)) inline u32 srh_length(struct __sk_buff *skb)
{
	u8 *data = (void *)(u64)skb->data;
	u8 *end = (void *)(u64)skb->data_end;

	if (data + SRH + 8 > end || data[6] != 43 || data[SRH + 2] != 4)
		return 0;
	return (data[SRH + 1] + 1) * 8;
}

SEC("lwt_seg6local")
int end(struct __sk_buff *skb)
{
	return OK;
}

SEC("lwt_seg6local")
int tag(struct __sk_buff *skb)
{
	u8 *data = (void *)(u64)skb->data;
	u8 *stop = (void *)(u64)skb->data_end;
	u16 value;

	if (data + SRH + 8 > stop || data[6] != 43 || data[SRH + 2] != 4)
		return DROP;
	value = __builtin_bswap16(*(u16 *)(data + SRH + 6)) + 1;
	value = __builtin_bswap16(value);
	if (lwt_seg6_store_bytes(skb, SRH + 6, &value, 2))
		return DROP;
	return OK;
}

SEC("lwt_seg6local")
int nsh(struct __sk_buff *skb)
{
	u32 at = srh_length(skb);
	u8 tlv[8] = { 6, 6, 0, 1, 2, 3, 4, 5 };

	if (!at)
		return DROP;
	at += SRH;
	if (lwt_seg6_adjust_srh(skb, at, 8) || lwt_seg6_store_bytes(skb, at, tlv, 8))
		return DROP;
	return OK;
}

SEC("lwt_seg6local")
int ingress(struct __sk_buff *skb)
{
	u32 at = srh_length(skb);
	u8 tlv[24] = { 1, 18, 0, 0, 0xfd, 0, 0, 0xa, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 4, 2 };

	if (!at)
		return DROP;
	at += SRH;
	if (lwt_seg6_adjust_srh(skb, at, 24) || lwt_seg6_store_bytes(skb, at, tlv, 24))
		return DROP;
	return OK;
}

SEC("lwt_seg6local")
int dt6(struct __sk_buff *skb)
{
	u32 table = 254;

	if (lwt_seg6_action(skb, 7, &table, 4))
		return DROP;
	return REDIRECT;
}

char _license[] SEC("license") = "GPL";
