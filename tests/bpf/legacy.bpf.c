/* A map the way objects had it before BTF: a struct of five numbers in section "maps". */

#define SEC(name) __attribute__((section(name), used))

struct old_map {
	unsigned int type, key_size, value_size, max_entries, map_flags;
};

struct old_map first SEC("maps") = {1, 4, 8, 16, 1};
struct old_map second SEC("maps") = {2, 4, 24, 3, 0};

static void *(*map_lookup)(void *map, const void *key) = (void *)1;

SEC("lwt_out") int only(void *skb)
{
	unsigned int key = 0;

	return map_lookup(&second, &key) ? 0 : 2;
}

char _license[] SEC("license") = "Dual BSD/GPL";
