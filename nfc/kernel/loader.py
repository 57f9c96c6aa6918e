"""Loading a program of an object: BTF, maps, data, relocations, BPF_PROG_LOAD, the log.

A dry run ("would this kernel take it?") is `load` and `close`.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from types import MappingProxyType

from nfc.bpf.btf import parse_btf
from nfc.bpf.link import link
from nfc.bpf.object import DataSection, MapDef, Object
from nfc.closing import Closing
from nfc.errors import KernelError, PrivilegeError
from nfc.kernel import maps as bpf_maps
from nfc.kernel import syscall
from nfc.kernel.fill import Filled, fill
from nfc.kernel.maps import Map
from nfc.kernel.programs import PROG_TYPES, ProgInfo, info
from nfc.kernel.syscall import Fd
from nfc.kernel.verifier_log import VerifierLog, parse

_FIRST_LOG = 1 << 16
_LAST_LOG = 1 << 24  # what kernels before 5.2 allow at most; nobody reads more
_NO_MAPS: Mapping[str, Map | Fd] = MappingProxyType({})


@dataclass(frozen=True)
class LoadedProgram(Closing):
    """A program in the kernel. Owns `fd` and `maps` (data sections are maps by section name)."""

    name: str
    prog_type: int
    fd: Fd
    maps: Mapping[str, Map]
    log: str = field(default="", repr=False)

    def info(self) -> ProgInfo:
        """What the kernel knows of it. Raises KernelError."""
        return info(self.fd)

    def close(self) -> None:
        """Close all descriptors; pins and routes keep what they hold."""
        self.fd.close()
        for one in self.maps.values():
            one.close()


def load(
    obj: Object,
    program: str,
    *,
    hook: str | int,
    reuse_maps: Mapping[str, Map | Fd] = _NO_MAPS,
    log: int = 0,
    name: str = "",
    filled: bool = True,
) -> LoadedProgram:
    """Load `program` of `obj` for `hook`: a name in PROG_TYPES or an enum bpf_prog_type.

    Every map and data section of the object is made, unless `reuse_maps` has one of that name
    (of the same type and sizes; the caller keeps its own descriptor). Data is written before the
    program is loaded; read-only data is frozen. With `filled` the maps that were made hold what the
    object lists as their values: other maps, and programs, which are loaded for the same hook.
    `name` (default: the program's) is what bpftool shows, cut to 15 bytes. `log` is the verifier's
    log level for a program that is accepted: 0 none, 1 with statistics, 2 every step. A program
    that is refused always has its log in `KernelError.log`. Raises KernelError, PrivilegeError,
    ObjectError; leaks nothing.
    """
    if isinstance(hook, str) and hook not in PROG_TYPES:
        raise KernelError(f"no hook {hook!r}; there are: {', '.join(PROG_TYPES)}")
    kind = PROG_TYPES[hook] if isinstance(hook, str) else hook
    with ExitStack() as undo:
        btf = _load_btf(obj.btf) if obj.btf else None
        if btf is not None:
            undo.enter_context(btf)
        made: dict[str, Map] = {}
        for definition in obj.maps:
            made[definition.name] = undo.enter_context(_map(definition, reuse_maps, btf))
        for section in obj.data:
            made[section.name] = undo.enter_context(_data_map(section, reuse_maps))
        fds = {key: one.fd.fileno() for key, one in made.items()}

        def load_one(of: str, name: str, level: int) -> tuple[Fd, str]:
            return _prog_load(fill(link(obj, of), fds), kind, name, obj.license, btf, level)

        fd, text = load_one(program, name or program, log)
        undo.enter_context(fd)
        for definition in obj.maps if filled else ():
            if definition.name not in reuse_maps:
                _put_values(definition, made, lambda of: load_one(of, of, 0)[0])
        undo.pop_all()
        if btf is not None:
            btf.close()
    return LoadedProgram(program, kind, fd, MappingProxyType(made), text)


def _map(definition: MapDef, reuse: Mapping[str, Map | Fd], btf: Fd | None) -> Map:
    given = reuse.get(definition.name)
    if given is None:
        return Map.create(definition, btf=btf)
    theirs = given if isinstance(given, Fd) else given.fd
    one = Map.of(theirs.dup())
    wanted = (definition.type, definition.key_size, definition.value_size, definition.max_entries)
    has = (one.info.type, one.info.key_size, one.info.value_size, one.info.max_entries)
    if wanted[:3] != has[:3] or (definition.max_entries and wanted[3] != has[3]):
        one.close()
        raise KernelError(
            f"cannot reuse map {definition.name}: the program wants type {wanted[0]}, key "
            f"{wanted[1]} bytes, value {wanted[2]} bytes, {wanted[3]} entries; the map there has "
            f"type {has[0]}, {has[1]} bytes, {has[2]} bytes, {has[3]} entries",
            errno=errno.EINVAL,
        )
    return one


def _put_values(definition: MapDef, made: Mapping[str, Map], load_one: Callable[[str], Fd]) -> None:
    """Put in what an object says that a map of maps or programs holds from the beginning."""
    for index, of in definition.values:
        with made[of].fd.dup() if of in made else load_one(of) as fd:
            value = struct.pack("=I", fd.fileno())
            made[definition.name].update(bpf_maps.index_key(index), value)


def _data_map(section: DataSection, reuse: Mapping[str, Map | Fd]) -> Map:
    flags = bpf_maps.RDONLY_PROG if section.readonly else 0
    size = len(section.content)
    definition = MapDef(section.name, bpf_maps.ARRAY, 4, size, 1, flags)
    one = _map(definition, reuse, None)
    if section.name in reuse:
        return one
    try:
        one.update(bpf_maps.index_key(0), section.content)
        if section.readonly:
            one.freeze()
    except BaseException:
        one.close()
        raise
    return one


def _load_btf(raw: bytes) -> Fd | None:
    """Type information; None if this kernel does not take it (5.10 knows less than what clang
    writes): the program loads without, as with libbpf, unless it has callbacks. Raises ObjectError
    for what is no BTF to anybody."""
    data = syscall.buffer_of(raw)
    attr = struct.pack("=QQI", syscall.address(data), 0, len(raw))
    try:
        return Fd(syscall.attempt(syscall.BTF_LOAD, attr))
    except PermissionError as error:
        raise syscall.refused(
            "load the object's BTF (type information)", error.errno or 0
        ) from None
    except OSError:
        parse_btf(raw)
        return None


def _prog_load(
    linked: Filled, kind: int, name: str, license: str, btf: Fd | None, level: int
) -> tuple[Fd, str]:
    code = syscall.buffer_of(linked.code)
    gpl = syscall.buffer_of(license.encode() + b"\0")
    funcs = syscall.buffer_of(linked.func_info)
    lines = syscall.buffer_of(linked.line_info)
    func_count = len(linked.func_info) // 8 if btf else 0
    line_count = len(linked.line_info) // 16 if btf else 0

    def ask(log: ctypes.Array[ctypes.c_char] | None, log_level: int) -> Fd:
        attr = struct.pack(
            "=IIQQIIQII16sIIIIQIIQI",
            *(kind, len(linked.code) // 8, syscall.address(code), syscall.address(gpl)),
            *(log_level, len(log) if log else 0, syscall.address(log), 0, 0),
            *(syscall.kernel_name(name), 0, 0, btf.fileno() if btf else 0),
            *(8 if func_count else 0, syscall.address(funcs) if func_count else 0, func_count),
            *(16 if line_count else 0, syscall.address(lines) if line_count else 0, line_count),
        )
        return Fd(syscall.attempt(syscall.PROG_LOAD, attr))

    code_said = 0
    if not level:
        try:
            return ask(None, 0), ""
        except OSError as error:
            code_said = error.errno or 0
    size = _FIRST_LOG
    while True:
        out = ctypes.create_string_buffer(size)
        try:
            return ask(out, level or 1), _text(out)
        except OSError as error:
            full = error.errno == errno.ENOSPC  # the log did not fit; says nothing else
            if not full:
                code_said = error.errno or 0
        if not full or size >= _LAST_LOG:
            break
        size *= 4
    if full:
        # The verdict got lost behind the full buffer: ask once more without a log.
        try:
            return ask(None, 0), _text(out)
        except OSError as error:
            code_said = error.errno or 0
    raise _rejected(name, kind, code_said, _text(out), len(linked.code) // 8)


def _rejected(name: str, kind: int, code: int, text: str, count: int) -> KernelError:
    parsed: VerifierLog = parse(text)
    if not parsed.message:
        refusal = syscall.refused(f"load program {name}", code)
        if not isinstance(refusal, PrivilegeError) and code == errno.EINVAL:
            refusal.hint = f"the kernel may not know program type {kind}"
        if code == errno.E2BIG:
            refusal.hint = f"{count} instructions are more than this kernel takes"
        refusal.log = text
        return refusal
    return KernelError(
        f"the kernel's verifier refused program {name}: {parsed.message[-1]}",
        errno=code,
        log=text,
    )


def _text(buffer: ctypes.Array[ctypes.c_char]) -> str:
    return buffer.value.decode("utf-8", "replace")
