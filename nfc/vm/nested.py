"""Maps of maps (kernel/bpf/map_in_map.c, arraymap.c, hashtab.c): by key, another map."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from nfc.bpf.maptypes import MAP_TYPES
from nfc.bpf.object import MapDef
from nfc.errors import ObjectError, UsageError
from nfc.kernel.maps import ARRAY
from nfc.vm.maps import MapError, VmMap


class OuterMap(VmMap):
    """array_of_maps, hash_of_maps. Programs only look maps up in it; a user puts them there."""

    has_values = False

    def __init__(self, definition: MapDef, number: int, region: int, cpus: int) -> None:
        """An empty one. Raises ObjectError if the object does not say what the maps in it are."""
        super().__init__(definition, number, region, cpus)
        if definition.inner is None:
            raise ObjectError("does not say what its maps look like", where=f"map {self.info.name}")
        self.template = definition.inner
        self.indexed = MAP_TYPES[definition.type].name == "array_of_maps"
        self.inner: dict[bytes, VmMap] = {}

    def put(self, key: bytes, one: VmMap) -> None:
        """Put a map there, in the place of another. Raises KernelError (EINVAL: it does not look
        as the maps in it are to; E2BIG: there is no place for it), UsageError."""
        self.info.check("key", key, self.info.key_size)
        like, has = self.template, one.info
        same = (like.type, like.key_size, like.value_size, like.flags) == (
            has.type,
            has.key_size,
            has.value_size,
            has.flags,
        )
        if not same or (like.type == ARRAY and like.max_entries != has.max_entries):
            raise self._refused("update", errno.EINVAL)
        behind = self.indexed and int.from_bytes(key, "little") >= self.info.max_entries
        if behind or (key not in self.inner and len(self.inner) >= self.info.max_entries):
            raise self._refused("update", errno.E2BIG)
        self.inner[key] = one

    def update(self, key: bytes, value: bytes, flags: int = 0) -> None:
        """The simulator has no file descriptors. Raises UsageError."""
        raise UsageError(f"map {self.info.name}: maps are put there with Simulator.nest")

    def remove(self, key: bytes) -> None:
        """Take a map out; ENOENT."""
        if self.inner.pop(key, None) is None:
            raise MapError(errno.ENOENT)

    def keys(self) -> Iterator[bytes]:
        """The keys that have a map."""
        return iter(list(self.inner))
