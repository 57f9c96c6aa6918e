// Loops over a packet that need no helper and no context, for bench/ubpf.py. Each is run `passes`
// times in one call, so that the call itself does not count.
typedef unsigned char u8;
typedef unsigned long long u64;

#define PROGRAM __attribute__((section("lwt_seg6local"), used))

// A byte after the other, each taken into a hash: one load a byte.
PROGRAM u64 hash(const u8 *data, u64 size, u64 passes, u64 tlvs)
{
	u64 found = 14695981039346656037ULL;

	for (u64 pass = 0; pass < passes; pass++)
		for (u64 i = 0; i < size; i++)
			found = (found ^ data[i]) * 1099511628211ULL;
	return found;
}

// From TLV to TLV, up to the end of the packet: two loads a TLV, the next depends on them.
PROGRAM u64 walk(const u8 *data, u64 size, u64 passes, u64 tlvs)
{
	u64 found = 0;

	for (u64 pass = 0; pass < passes; pass++) {
		u64 at = tlvs;

		while (at + 2 <= size) {
			found = found * 31 + data[at];
			at += data[at] ? 2 + data[at + 1] : 1;
		}
	}
	return found;
}

// How often each low half of a byte occurs, on the stack: two loads and a store a byte.
PROGRAM u64 count(const u8 *data, u64 size, u64 passes, u64 tlvs)
{
	volatile u64 seen[16];
	u64 found = 0;

	for (int i = 0; i < 16; i++)
		seen[i] = 0;
	for (u64 pass = 0; pass < passes; pass++)
		for (u64 i = 0; i < size; i++)
			seen[data[i] & 15]++;
	for (int i = 0; i < 16; i++)
		found = found * 31 + seen[i];
	return found;
}
