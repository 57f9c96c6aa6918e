"""What helpers want of their arguments, and what they give back.

From the struct bpf_func_proto of each: kernel/bpf/helpers.c, kernel/bpf/ringbuf.c,
net/core/filter.c, kernel/trace/bpf_trace.c (6.12). A helper that is not here is one that the
check does not follow: it refuses programs that call it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# What an argument is; each table row below spells them out.
CTX = "ctx"  # the context, as it was given
ANY = "any"  # any value that has been written
MAP = "map"
KEY, VALUE = "key", "value"  # as many bytes as the map's key or value has, readable
VALUE_OUT = "value-out"  # the same, to be written; it need not have been
MEM, MEM_NULL = "mem", "mem?"  # readable memory (or null); its size is the next argument
MEM_OUT = "mem-out"  # memory to be written
LONG_OUT = "long-out"  # 8 bytes to be written, aligned
SIZE, SIZE_ZERO = "size", "size0"  # of the argument before it; size0 may be 0
BYTES = "bytes"  # how many to reserve: must be known
RESERVED = "reserved"  # what bpf_ringbuf_reserve gave
FUNC = "func"  # a function of the program, which the helper calls
TEXT = "text"  # a string that ends, in read-only data
STACK_NULL = "stack?"  # a pointer to the stack, or null

NUMBER, NOTHING, VALUE_NULL, MEM_OR_NULL = "number", "nothing", "value?", "mem?"


@dataclass(frozen=True, slots=True)
class Prototype:
    """A helper's arguments and result.

    `packet`: memory arguments may be in the packet. `moves`: the packet may move, so that
    pointers into it are void afterwards (bpf_helper_changes_pkt_data, net/core/filter.c).
    `maps`: map types that it works on (empty: see MAP_HELPERS).
    """

    arguments: tuple[str, ...]
    result: str = NUMBER
    packet: bool = False
    moves: bool = False
    gpl: bool = False


def _p(text: str, result: str = NUMBER, *flags: str) -> Prototype:
    return Prototype(
        tuple(text.split()), result, "packet" in flags, "moves" in flags, "gpl" in flags
    )


PROTOTYPES: Final = {
    1: _p("map key", VALUE_NULL, "packet"),
    2: _p("map key value any", NUMBER, "packet"),
    3: _p("map key", NUMBER, "packet"),
    5: _p(""),
    6: _p("mem size", NUMBER, "gpl"),
    7: _p(""),
    8: _p(""),
    9: _p("ctx any mem size any", NUMBER, "moves"),
    10: _p("ctx any any any any", NUMBER, "moves"),
    11: _p("ctx any any any any", NUMBER, "moves"),
    12: _p("ctx map any", NOTHING, "moves"),
    13: _p("ctx any any", NUMBER, "moves"),
    14: _p(""),
    15: _p(""),
    16: _p("mem-out size"),
    17: _p("ctx"),
    20: _p("ctx mem-out size any"),
    21: _p("ctx mem size any"),
    22: _p("map any"),
    23: _p("any any"),
    24: _p("ctx"),
    25: _p("ctx map any mem size0", NUMBER, "gpl"),
    26: _p("ctx any mem-out size"),
    28: _p("mem? size0 mem? size0 any", NUMBER, "packet"),
    29: _p("ctx mem-out size"),
    30: _p("ctx mem size"),
    33: _p("ctx map any"),
    34: _p("ctx"),
    35: _p("", NUMBER, "gpl"),
    37: _p("map any"),
    38: _p("ctx any any", NUMBER, "moves"),
    39: _p("ctx any", NUMBER, "moves"),
    40: _p("ctx any"),
    41: _p("ctx"),
    42: _p(""),
    43: _p("ctx any any", NUMBER, "moves"),
    55: _p("map any mem-out size"),
    73: _p("ctx any mem size", NUMBER, "moves"),
    74: _p("ctx any mem size", NUMBER, "moves"),
    75: _p("ctx any any", NUMBER, "moves"),
    76: _p("ctx any mem size", NUMBER, "moves"),
    80: _p(""),
    87: _p("map value any", NUMBER, "packet"),
    88: _p("map value-out"),
    89: _p("map value-out"),
    105: _p("mem size any long-out"),
    106: _p("mem size any long-out"),
    112: _p("mem-out size0 any", NUMBER, "gpl"),
    113: _p("mem-out size0 any", NUMBER, "gpl"),
    114: _p("mem-out size0 any", NUMBER, "gpl"),
    115: _p("mem-out size0 any", NUMBER, "gpl"),
    109: _p("any"),
    117: _p("any"),
    118: _p(""),
    120: _p("any any mem-out size"),
    123: _p("any"),
    125: _p(""),
    130: _p("map mem size0 any"),
    131: _p("map bytes any", MEM_OR_NULL),
    132: _p("reserved any", NOTHING),
    133: _p("reserved any", NOTHING),
    134: _p("map any"),
    135: _p("ctx any"),
    160: _p(""),
    164: _p("map func stack? any"),
    177: _p("mem size mem? size0", NUMBER, "gpl"),
    182: _p("mem size text"),
    181: _p("any func stack? any"),
    195: _p("map key any", VALUE_NULL, "packet"),
    208: _p(""),
}

# Which map types a helper takes, and which helpers a map type takes
# (check_map_func_compatibility, kernel/bpf/verifier.c). What is in neither goes together.
HELPER_MAPS: Final = {
    12: (3,), 25: (4,), 22: (4,), 55: (4,), 130: (27,), 131: (27,), 134: (27,),
    33: (8,), 37: (8,), 88: (22, 23), 87: (22, 23, 30), 89: (22, 23, 30), 195: (5, 6, 10),
    164: (1, 2, 5, 6, 9, 10),
}  # fmt: skip
MAP_HELPERS: Final = {
    3: (12,), 4: (22, 25, 55), 7: (), 8: (33, 37), 12: (1,), 13: (1,), 14: (1,), 15: (), 16: (),
    17: (1,), 18: (), 19: (), 20: (), 21: (), 22: (87, 88, 89), 23: (87, 88, 89), 24: (), 25: (1,),
    26: (), 27: (130, 131, 134), 28: (), 29: (), 30: (87, 89), 31: (), 32: (), 33: (),
}  # fmt: skip
