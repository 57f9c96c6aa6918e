"""How many records of each kind are in blocks of them, in native code.

A program may send one for every packet: to look at each in Python takes longer than to run it.
"""

from __future__ import annotations

import ctypes
from collections import Counter
from collections.abc import Iterable, Mapping

from nfc.vm import ir
from nfc.vm.emit import Code, Var
from nfc.vm.lookups import negative
from nfc.vm.native import RECORD, U64


def build(module: ir.Module) -> None:
    """nfc_count(block, its size, counters, kinds): add 1 for each record to the counter in the row
    of its map, in the column of the number that it begins with; in the last, `kinds`, where there
    is none below that."""
    k = Code(module, "nfc_count", 4, internal=False)
    block, size, counters, kinds = k.arguments
    at = Var(k, 0)
    with k.loop() as out:
        k.leave(out, at.get() >= size)
        record = block + at.get()
        number, length = k.load(record, 4), k.load(record + 4, 4)
        kind = Var(k, kinds)
        with k.if_(length >= 8):
            first = k.load(record + RECORD.size, 8)
            kind.set(k.select(first < kinds, first, kinds))
        counter = counters + ((number * (kinds + 1) + kind.get()) << 3)
        k.store(counter, 8, k.load(counter, 8) + 1)
        at.set(at.get() + RECORD.size + ((length + 7) & negative(8)))
    k.give(0)


def count(
    counts: int, blocks: Iterable[bytes], maps: Mapping[int, str], kinds: int
) -> Counter[tuple[str, int]]:
    """How many records of these blocks (`nfc.vm.native.unpacked`) went to each map, by the number
    that they begin with (8 bytes, little-endian); `kinds` where it is not below that, or is cut
    off. `counts` is where nfc_count is; `maps` has the names of all maps that are in the blocks."""
    columns = kinds + 1
    counters = (U64 * ((1 + max(maps, default=-1)) * columns))()
    native = ctypes.CFUNCTYPE(U64, ctypes.c_char_p, U64, U64, U64)(counts)
    for block in blocks:
        native(block, len(block), ctypes.addressof(counters), kinds)
    found: Counter[tuple[str, int]] = Counter()
    for number, name in maps.items():
        for kind in range(columns):
            if times := counters[number * columns + kind]:
                found[name, kind] += times
    return found
