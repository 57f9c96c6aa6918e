"""Reading and changing a running function's params so that no packet sees half a change.

Layout: `nfc.manifest` (PARAMS_SECTION). The value of the one-entry array is a u64 that names the
copy in force, then two copies of `size` bytes each.
"""

from __future__ import annotations

import struct

from nfc.errors import KernelError, UsageError
from nfc.kernel.anymap import AnyMap
from nfc.kernel.maps import index_key
from nfc.manifest import PARAMS_ACTIVE_SIZE

_KEY = index_key(0)


def read_params(data: AnyMap) -> bytes:
    """The copy in force. Raises KernelError when the map does not have the layout."""
    active, copies = _read(data)
    return copies[active]


def write_params(data: AnyMap, params: bytes) -> None:
    """Put `params` in force: each packet sees all of the old values or all of the new.

    One writer at a time. In four steps: fill the idle copy; wait until every packet that could
    still be reading it, or not yet see it, is done (membarrier); flip the word; wait again, so
    that the next call may fill the copy that is idle now. An array update copies the whole value
    with memcpy-like stores under the readers' eyes (kernel/bpf/arraymap.c,
    array_map_update_elem), which is why what a packet may read is rewritten only with the same
    bytes, except for the word, which is one aligned u64.

    Raises UsageError for a wrong length, KernelError.
    """
    active, copies = _read(data)
    if len(params) != len(copies[0]):
        raise UsageError(f"params have {len(copies[0])} bytes, these have {len(params)}")
    idle = 1 - active
    copies[idle] = params
    _write(data, active, copies)
    data.barrier()
    _write(data, idle, copies)
    data.barrier()


def _read(data: AnyMap) -> tuple[int, list[bytes]]:
    name = data.info.name
    room = data.info.value_size - PARAMS_ACTIVE_SIZE
    if data.info.key_size != 4 or data.info.max_entries != 1 or room < 0 or room % 2:
        raise KernelError(f"map {name} does not have the layout of params")
    value = data.lookup(_KEY)
    if value is None:
        raise KernelError(f"map {name} has no entry 0")
    active = struct.unpack_from("=Q", value)[0]
    if active > 1:
        raise KernelError(f"map {name} does not have the layout of params: copy {active}")
    half = room // 2
    start = PARAMS_ACTIVE_SIZE
    return active, [value[start : start + half], value[start + half :]]


def _write(data: AnyMap, active: int, copies: list[bytes]) -> None:
    data.update(_KEY, struct.pack("=Q", active) + b"".join(copies))
