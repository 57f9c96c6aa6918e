"""Probes of the helpers on maps, rings and perf buffers, of loops and tail calls."""

from __future__ import annotations

from probing import (
    LOG,
    Code,
    Probe,
    add,
    assembled,
    call,
    context,
    copy,
    keep,
    load,
    mov,
    onto_stack,
    store,
    to_function,
    to_map,
    to_stack,
    unless,
    wide,
)  # fmt: skip

from nfc.bpf.isa import Instruction as I
from nfc.bpf.object import Program

LOOKUP, UPDATE, DELETE, TAIL, PERF, PUSH, POP, PEEK = 1, 2, 3, 12, 25, 87, 88, 89
OUTPUT, RESERVE, SUBMIT, DISCARD, QUERY, EACH, LOOP, PERCPU = 130, 131, 132, 133, 134, 164, 181, 195
NOEXIST, EXIST, LOCK = 1, 2, 4
EXIT = I(0x95)


def number(value: int, size: int = 4) -> bytes:
    return value.to_bytes(size, "little")


def prefix(length: int, *data: int) -> bytes:
    return number(length) + bytes(data).ljust(4, b"\0")


def lookup(name: str, key: bytes) -> Code:
    """Whether there is a value, and what it is, in slot 1."""
    return [
        onto_stack(-16, key), to_stack(2, -16), to_map(1, name), call(LOOKUP),
        unless(0, 0, 3), load(8, 1, 0, 0), keep(1, 1), mov(0, 1), keep(0),
    ]  # fmt: skip


def update(name: str, key: bytes, value: int, flags: int = 0, slot: int = 0) -> Code:
    return [
        onto_stack(-16, key), onto_stack(-24, number(value, 8)), to_stack(2, -16),
        to_stack(3, -24), wide(4, flags), to_map(1, name), call(UPDATE), keep(slot),
    ]  # fmt: skip


def delete(name: str, key: bytes) -> Code:
    return [onto_stack(-16, key), to_stack(2, -16), to_map(1, name), call(DELETE), keep(0)]


def _lookups() -> list[Probe]:
    found = []
    for name in ("hash", "percpu_hash", "lru", "percpu_lru"):
        found += [
            Probe(LOOKUP, f"{name}, there", lookup(name, number(1))),
            Probe(LOOKUP, f"{name}, not there", lookup(name, number(9))),
        ]
    for name in ("array", "percpu_array"):
        found += [
            Probe(LOOKUP, f"{name}, there", lookup(name, number(1))),
            Probe(LOOKUP, f"{name}, behind the end", lookup(name, number(4))),
        ]
    return [
        *found,
        Probe(LOOKUP, "trie, there", lookup("trie", prefix(32, 10, 1, 2, 3))),
        Probe(LOOKUP, "trie, shorter than any", lookup("trie", prefix(4, 10))),
        Probe(LOOKUP, "trie, other", lookup("trie", prefix(32, 11))),
        Probe(LOOKUP, "trie, too long", lookup("trie", prefix(33, 10))),
    ]


def _updates() -> list[Probe]:
    found = []
    for name in ("hash", "percpu_hash", "lru", "percpu_lru"):
        found += [
            Probe(UPDATE, f"{name}, new", update(name, number(2), 5)),
            Probe(UPDATE, f"{name}, another value", update(name, number(1), 5)),
            Probe(UPDATE, f"{name}, EXIST", update(name, number(1), 5, EXIST)),
            Probe(UPDATE, f"{name}, EXIST, not there", update(name, number(9), 5, EXIST)),
            Probe(UPDATE, f"{name}, NOEXIST", update(name, number(9), 5, NOEXIST)),
            Probe(UPDATE, f"{name}, NOEXIST, there", update(name, number(1), 5, NOEXIST)),
            Probe(UPDATE, f"{name}, flags 3", update(name, number(1), 5, 3)),
            Probe(UPDATE, f"{name}, LOCK", update(name, number(1), 5, LOCK)),
            Probe(UPDATE, f"{name}, LOCK and EXIST", update(name, number(1), 5, LOCK | EXIST)),
            Probe(UPDATE, f"{name}, flags 8", update(name, number(1), 5, 8)),
            Probe(UPDATE, f"{name}, high flags", update(name, number(1), 5, 1 << 40)),
        ]
    for name in ("hash", "percpu_hash", "trie"):
        keys = [prefix(32, i) if name == "trie" else number(i) for i in (2, 3)]
        code = [update(name, keys[0], 5), update(name, keys[1], 6, 0, 1)]
        found.append(Probe(UPDATE, f"{name}, full", code, results=(0, 1)))
    for name in ("array", "percpu_array"):
        found += [
            Probe(UPDATE, f"{name}, there", update(name, number(1), 5)),
            Probe(UPDATE, f"{name}, EXIST", update(name, number(1), 5, EXIST)),
            Probe(UPDATE, f"{name}, NOEXIST", update(name, number(1), 5, NOEXIST)),
            Probe(UPDATE, f"{name}, behind the end", update(name, number(4), 5)),
            Probe(UPDATE, f"{name}, behind, NOEXIST", update(name, number(4), 5, NOEXIST)),
            Probe(UPDATE, f"{name}, flags 3", update(name, number(1), 5, 3)),
            Probe(UPDATE, f"{name}, LOCK", update(name, number(1), 5, LOCK)),
            Probe(UPDATE, f"{name}, LOCK, NOEXIST", update(name, number(1), 5, LOCK | NOEXIST)),
            Probe(UPDATE, f"{name}, LOCK, behind the end", update(name, number(4), 5, LOCK)),
        ]
    there = prefix(8, 10)
    return [
        *found,
        Probe(UPDATE, "trie, new", update("trie", prefix(16, 10, 1), 5)),
        Probe(UPDATE, "trie, the same, written otherwise", update("trie", prefix(8, 10, 9), 5)),
        Probe(UPDATE, "trie, EXIST", update("trie", there, 5, EXIST)),
        Probe(UPDATE, "trie, EXIST, not there", update("trie", prefix(9, 10), 5, EXIST)),
        Probe(UPDATE, "trie, NOEXIST", update("trie", prefix(9, 10), 5, NOEXIST)),
        Probe(UPDATE, "trie, NOEXIST, there", update("trie", there, 5, NOEXIST)),
        Probe(UPDATE, "trie, too long", update("trie", prefix(33, 10), 5)),
        Probe(UPDATE, "trie, flags 3", update("trie", there, 5, 3)),
        Probe(UPDATE, "trie, LOCK", update("trie", there, 5, LOCK)),
    ]


def _deletes() -> list[Probe]:
    found = []
    for name in ("hash", "percpu_hash", "lru", "percpu_lru"):
        found += [
            Probe(DELETE, f"{name}, there", delete(name, number(1))),
            Probe(DELETE, f"{name}, not there", delete(name, number(9))),
        ]
    for name in ("array", "percpu_array"):
        found += [
            Probe(DELETE, f"{name}", delete(name, number(1))),
            Probe(DELETE, f"{name}, behind the end", delete(name, number(9))),
        ]
    return [
        *found,
        Probe(DELETE, "trie, there", delete("trie", prefix(8, 10, 77))),
        Probe(DELETE, "trie, not there", delete("trie", prefix(9, 10))),
        Probe(DELETE, "trie, too long", delete("trie", prefix(33, 10))),
    ]


def percpu(name: str, key: int, cpu: int) -> Code:
    return [
        update(name, number(1), 99, slot=2), onto_stack(-16, number(key)), to_stack(2, -16),
        to_map(1, name), wide(3, cpu), call(PERCPU),
        unless(0, 0, 3), load(8, 1, 0, 0), keep(1, 1), mov(0, 1), keep(0),
    ]  # fmt: skip


def _percpus() -> list[Probe]:
    found = []
    for name in ("percpu_array", "percpu_hash", "percpu_lru"):
        found += [
            Probe(PERCPU, f"{name}, CPU 0", percpu(name, 1, 0)),
            Probe(PERCPU, f"{name}, CPU 1", percpu(name, 1, 1)),
            Probe(PERCPU, f"{name}, no such CPU", percpu(name, 1, 5000)),
            Probe(PERCPU, f"{name}, CPU -1", percpu(name, 1, (1 << 64) - 1)),
            Probe(PERCPU, f"{name}, CPU with high bits", percpu(name, 1, 1 << 32)),
            Probe(PERCPU, f"{name}, no such key", percpu(name, 77, 0)),
        ]
    return found


def push(name: str, value: int, flags: int = 0, slot: int = 0) -> Code:
    return [
        onto_stack(-16, number(value, 8)), to_stack(2, -16), wide(3, flags), to_map(1, name),
        call(PUSH), keep(slot),
    ]  # fmt: skip


def take(name: str, helper: int, slot: int = 0) -> Code:
    """What it gives, and in the next slot the value."""
    return [
        onto_stack(-16, b"\xee" * 8), to_stack(2, -16), to_map(1, name), call(helper), keep(slot),
        load(8, 1, 10, -16), keep(slot + 1, 1),
    ]  # fmt: skip


def _queues() -> list[Probe]:
    found = []
    for name in ("queue", "stack"):
        two = [push(name, 1, 0, 8), push(name, 2, 0, 9)]
        found += [
            Probe(PUSH, f"{name}", push(name, 1)),
            Probe(PUSH, f"{name}, full", [two, push(name, 3)]),
            Probe(PUSH, f"{name}, full, EXIST", [two, push(name, 3, EXIST)]),
            Probe(PUSH, f"{name}, NOEXIST", push(name, 1, NOEXIST)),
            Probe(PUSH, f"{name}, flags 3", push(name, 1, 3)),
            Probe(PUSH, f"{name}, high flags", push(name, 1, 1 << 33)),
            Probe(POP, f"{name}", [two, take(name, POP)]),
            Probe(POP, f"{name}, until it is empty",
                  [two, take(name, POP), take(name, POP, 2), take(name, POP, 4)],
                  results=(0, 2, 4)),
            Probe(PEEK, f"{name}", [two, take(name, PEEK), take(name, PEEK, 2)], results=(0, 2)),
            Probe(PEEK, f"{name}, empty", take(name, PEEK)),
        ]  # fmt: skip
    return found


def inside(outer: str, key: int, code: Code) -> Code:
    """Code with r9 as the map at a key of a map of maps; where there is none, 0 in the log."""
    return [
        onto_stack(-16, number(key)), to_stack(2, -16), to_map(1, outer), call(LOOKUP),
        I(0x55, 0, 0, 3), keep(0), mov(0, 0), EXIT, copy(9, 0), code,
    ]  # fmt: skip


def of_inner(helper: int, key: int, value: int = 5, flags: int = 0, slot: int = 0) -> Code:
    return [
        onto_stack(-16, number(key)), onto_stack(-24, number(value, 8)), to_stack(2, -16),
        to_stack(3, -24), wide(4, flags), copy(1, 9), call(helper),
        [unless(0, 0, 3), load(8, 1, 0, 0), keep(slot + 1, 1), mov(0, 1)]
        if helper == LOOKUP else [], keep(slot),
    ]  # fmt: skip


def _nested() -> list[Probe]:
    found = []
    for outer in ("outer", "outer_hash"):
        full = [of_inner(UPDATE, key, slot=8) for key in (1, 2)]
        found += [
            Probe(LOOKUP, f"{outer}, its map", inside(outer, 1, [mov(0, 1), keep(0)])),
            Probe(LOOKUP, f"{outer}, no map there", inside(outer, 0, [mov(0, 1), keep(0)])),
            Probe(LOOKUP, f"{outer}, behind the end", inside(outer, 2, [mov(0, 1), keep(0)])),
            Probe(LOOKUP, f"{outer}, a value", inside(outer, 1, of_inner(LOOKUP, 1))),
            Probe(LOOKUP, f"{outer}, no value", inside(outer, 1, of_inner(LOOKUP, 7))),
            Probe(UPDATE, f"{outer}, inside", inside(outer, 1, of_inner(UPDATE, 1))),
            Probe(UPDATE, f"{outer}, inside, NOEXIST",
                  inside(outer, 1, of_inner(UPDATE, 1, flags=NOEXIST))),
            Probe(UPDATE, f"{outer}, inside, full",
                  inside(outer, 1, [full, of_inner(UPDATE, 3)])),
            Probe(DELETE, f"{outer}, inside", inside(outer, 1, of_inner(DELETE, 1))),
            Probe(DELETE, f"{outer}, inside, not there", inside(outer, 1, of_inner(DELETE, 9))),
        ]  # fmt: skip
    return found


def ask(value: int, slot: int = 0) -> Code:
    return [
        onto_stack(-16, number(value, 8)), to_stack(2, -16), to_map(1, "bloom"), call(PEEK),
        keep(slot), load(8, 1, 10, -16), keep(slot + 1, 1),
    ]  # fmt: skip


def _blooms() -> list[Probe]:
    return [
        Probe(PUSH, "bloom", push("bloom", 1)),
        Probe(PUSH, "bloom, twice", [push("bloom", 2), push("bloom", 2, slot=1)], results=(0, 1)),
        Probe(PUSH, "bloom, NOEXIST", push("bloom", 3, NOEXIST)),
        Probe(PUSH, "bloom, EXIST", push("bloom", 3, EXIST)),
        Probe(PEEK, "bloom, there", [push("bloom", 4, slot=8), ask(4)]),
        Probe(PEEK, "bloom, not there", ask(5)),
        Probe(PEEK, "bloom, refused", [push("bloom", 6, EXIST, slot=8), ask(6)]),
    ]


def _leaves() -> list[Probe]:
    """may_goto, which is no helper: a loop that ends by itself, and one that does not."""
    may_goto = 0xE5
    return [
        Probe(8, "may_goto in a loop of 100", [
            mov(9, 0), I(may_goto, 0, 0, 2), add(9, 1), I(0x55, 9, 0, -3, 100), keep(0, 9),
        ]),
        Probe(8, "may_goto over itself", [mov(0, 5), I(may_goto, 0, 0, 0), keep(0)]),
        Probe(8, "may_goto in a loop without an end", [
            mov(9, 0), I(may_goto, 0, 0, 1), I(0x05, 0, 0, -2), mov(0, 5), keep(0),
        ], ("endpoint",)),
    ]  # fmt: skip


# ---- ring and perf buffers ----------------------------------------------------------------------


def output(size: int, flags: int = 0) -> Code:
    return [
        onto_stack(-64, b"what is sent to those who listen"), to_map(1, "ring"), to_stack(2, -64),
        mov(3, size), wide(4, flags), call(OUTPUT), keep(0),
    ]  # fmt: skip


def reserve(size: int, flags: int = 0, slot: int = 0, end: int = SUBMIT, wake: int = 0) -> Code:
    """Reserve, write a word, submit or discard."""
    # All of it: what is not written holds what was there before.
    words = [I(0x7A, 0, 0, at, 0x77) for at in range(0, size // 8 * 8, 8)] if size < 64 else []
    write = [*words, *(I(0x72, 0, 0, at, 0x5A) for at in range(len(words) * 8, min(size, 64)))]
    after = [copy(1, 0), mov(2, wake), call(end), mov(0, 1)]
    return [
        to_map(1, "ring"), mov(2, size), wide(3, flags), call(RESERVE),
        unless(0, 0, len(write) + len(after)), write, after, keep(slot),
    ]  # fmt: skip


def query(what: int, slot: int) -> Code:
    return [to_map(1, "ring"), wide(2, what), call(QUERY), keep(slot)]


def _rings() -> list[Probe]:
    full = [  # 4,008 bytes are held while the rest of the probe runs
        to_map(1, "ring"), mov(2, 4000), mov(3, 0), call(RESERVE), I(0x55, 0, 0, 2), mov(0, 2),
        EXIT, copy(9, 0),
    ]  # fmt: skip
    free = [copy(1, 9), mov(2, 0), call(DISCARD)]
    lost = [
        to_map(1, "ring"), mov(2, 200), mov(3, 0), call(RESERVE),
        unless(0, 0, 4), copy(1, 0), mov(2, 0), call(DISCARD), mov(0, 1), keep(0),
    ]  # fmt: skip
    return [
        Probe(OUTPUT, "good", output(32)),
        Probe(OUTPUT, "odd size", output(13)),
        Probe(OUTPUT, "nothing", output(0)),
        Probe(OUTPUT, "no wakeup", output(32, 1)),
        Probe(OUTPUT, "forced wakeup", output(32, 2)),
        Probe(OUTPUT, "both", output(32, 3)),
        Probe(OUTPUT, "flag 4", output(32, 4)),
        Probe(OUTPUT, "high flag", output(32, 1 << 32)),
        Probe(OUTPUT, "full", [
            full, onto_stack(-64, bytes(64)), to_map(1, "ring"), to_stack(2, -128), mov(3, 128),
            mov(4, 0), call(OUTPUT), keep(0), free,
        ]),
        Probe(RESERVE, "good", reserve(40)),
        Probe(RESERVE, "one byte", reserve(1)),
        Probe(RESERVE, "all but a word", reserve(4080, end=DISCARD)),
        Probe(RESERVE, "all of it", reserve(4088, end=DISCARD)),
        Probe(RESERVE, "more than it is", reserve(5000, end=DISCARD)),
        Probe(RESERVE, "flags", reserve(40, 1)),
        Probe(RESERVE, "full", [full, lost, free]),
        Probe(SUBMIT, "no wakeup", reserve(16, wake=1)),
        Probe(SUBMIT, "forced wakeup", reserve(16, wake=2)),
        Probe(SUBMIT, "unknown flags", reserve(16, wake=64)),
        Probe(DISCARD, "good", reserve(16, end=DISCARD)),
        Probe(DISCARD, "and another", [reserve(16, end=DISCARD), reserve(16, slot=1)]),
        Probe(QUERY, "unknown", query(4, 0)),
        Probe(QUERY, "empty", [query(i, i) for i in range(4)], results=(0, 1, 2, 3)),
        Probe(QUERY, "after a record", [output(32), [query(i, i) for i in range(4)]],
              results=(0, 1, 2, 3)),
        Probe(QUERY, "while one is reserved", [full, [query(i, i) for i in range(4)], free],
              results=(0, 1, 2, 3)),
        Probe(QUERY, "huge", query(1 << 32, 0)),
    ]  # fmt: skip


CURRENT = 0xFFFFFFFF


def perf(flags: int, size: int = 16) -> Code:
    return [
        onto_stack(-64, b"what is sent to those who listen"), context(), to_map(2, "perf"),
        wide(3, flags), to_stack(4, -64), mov(5, size), call(PERF), keep(0),
    ]  # fmt: skip


def _perfs() -> list[Probe]:
    return [
        Probe(PERF, "this CPU", perf(CURRENT)),
        Probe(PERF, "odd size", perf(CURRENT, 13)),
        Probe(PERF, "nothing", perf(CURRENT, 0)),
        Probe(PERF, "with 40 bytes of the packet", perf(CURRENT | 40 << 32)),
        Probe(PERF, "with all of the packet", perf(CURRENT | 112 << 32)),
        Probe(PERF, "with more than the packet", perf(CURRENT | 113 << 32)),
        Probe(PERF, "unknown flags", perf(CURRENT | 1 << 60)),
        Probe(PERF, "behind the end", perf(16)),
        Probe(PERF, "no event there", perf(15)),
        Probe(PERF, "another kind of event", perf(14)),
        Probe(PERF, "another CPU's", perf(13)),
    ]


# ---- loops, tail calls --------------------------------------------------------------------------


def loop(count: int, flags: int = 0) -> Code:
    return [
        onto_stack(-16, bytes(8)), mov(1, count), to_function(2, "add_index"), to_stack(3, -16),
        wide(4, flags), call(LOOP), keep(0), load(8, 1, 10, -16), keep(1, 1),
    ]  # fmt: skip


def each(name: str, function: str = "add_key", flags: int = 0) -> Code:
    return [
        onto_stack(-16, bytes(8)), to_map(1, name), to_function(2, function), to_stack(3, -16),
        wide(4, flags), call(EACH), keep(0), load(8, 1, 10, -16), keep(1, 1),
    ]  # fmt: skip


def _calls() -> list[Probe]:
    kinds = ("array", "percpu_array", "hash", "percpu_hash", "lru", "percpu_lru")
    return [
        Probe(LOOP, "three times", loop(3)),
        Probe(LOOP, "not at all", loop(0)),
        Probe(LOOP, "until told to stop", loop(100)),
        Probe(LOOP, "flags", loop(3, 1)),
        Probe(LOOP, "more than the most", loop((8 << 20) + 1)),
        Probe(LOOP, "negative", loop(-1)),
        *(Probe(EACH, name, each(name)) for name in kinds),
        Probe(EACH, "hash of two", [update("hash", number(2), 5, slot=8), each("hash")]),
        Probe(EACH, "stops", each("array", "stop")),
        Probe(EACH, "empty", [delete("hash", number(1)), each("hash")]),
        *(Probe(EACH, f"{name}, flags", each(name, flags=1)) for name in kinds),
        *(
            Probe(
                UPDATE,
                f"{name}, more than it holds",
                [
                    onto_stack(-16, bytes(8)),
                    mov(1, 200),
                    to_function(2, f"fill_{name}"),
                    to_stack(3, -16),
                    mov(4, 0),
                    call(LOOP),
                    load(8, 1, 10, -16),
                    keep(0, 1),
                ],
            )
            for name in ("lru", "percpu_lru")
        ),
        Probe(TAIL, "there", tail(0), results=()),
        Probe(TAIL, "nobody there", tail(3), results=()),
        Probe(TAIL, "behind the end", tail(4), results=()),
        Probe(TAIL, "far behind", tail(-1), results=()),
        Probe(TAIL, "until it does not", tail(1), results=()),
    ]


def fill(name: str) -> Code:
    """A function that puts an entry for its index; whatever does not work is added up."""
    return [
        copy(6, 2), store(4, 10, -8, 1), onto_stack(-16, bytes(8)), to_map(1, name),
        to_stack(2, -8), to_stack(3, -16), mov(4, 0), call(UPDATE), load(8, 1, 6, 0),
        I(0x0F, 1, 0), store(8, 6, 0, 1), mov(0, 0), EXIT,
    ]  # fmt: skip


def tail(index: int) -> Code:
    return [context(), to_map(2, "programs"), mov(3, index), call(TAIL), mov(0, 55), keep(0)]


def others() -> list[Program]:
    """What probes call: functions, and programs behind tail calls."""
    log = [copy(6, 1), LOG, I(0x55, 0, 0, 2), mov(0, 2), EXIT, copy(7, 0)]
    return [
        assembled("add_index", [
            load(8, 3, 2, 0), I(0x0F, 3, 1), store(8, 2, 0, 3), mov(0, 1), I(0x15, 1, 0, 1, 5),
            mov(0, 0), EXIT,
        ]),
        assembled("add_key", [
            load(4, 2, 2, 0), load(8, 3, 3, 0), I(0x0F, 2, 3), load(8, 3, 4, 0), I(0x0F, 2, 3),
            add(2, 100), store(8, 4, 0, 2), mov(0, 0), EXIT,
        ]),
        *(assembled(f"fill_{name}", fill(name)) for name in ("lru", "percpu_lru")),
        assembled("stop", [mov(0, 1), EXIT]),
        assembled("tail", [log, mov(1, 77), keep(2, 1), mov(0, 0), EXIT], 4, "lwt"),
        assembled("spin", [
            log, load(8, 1, 7, 16), add(1, 1), keep(2, 1), copy(1, 6), to_map(2, "programs"),
            mov(3, 1), call(TAIL), mov(1, 99), keep(3, 1), mov(0, 0), EXIT,
        ], 4, "lwt"),
    ]  # fmt: skip


def table() -> list[Probe]:
    """All of these."""
    return [
        *_lookups(), *_updates(), *_deletes(), *_percpus(), *_queues(), *_nested(), *_blooms(),
        *_leaves(), *_rings(), *_perfs(),
        *_calls(),
    ]  # fmt: skip
