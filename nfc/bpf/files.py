"""Objects as files, and which of their programs is meant."""

from __future__ import annotations

from pathlib import Path

from nfc.bpf.facts import HOOK_BY_SECTION
from nfc.bpf.object import Object, Program
from nfc.bpf.reader import read_object
from nfc.errors import NfcError, ObjectError, UsageError
from nfc.syntax.diagnostics import nearest

MAX_OBJECT_BYTES = 64 << 20


def is_elf(path: Path) -> bool:
    """Whether a file is an object, and not a source. Raises NfcError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF" or path.suffix == ".o"
    except OSError as error:
        raise NfcError(f"cannot read {path}: {error.strerror or error}") from None


def read_file(path: Path) -> Object:
    """The object in a file. Raises ObjectError, with the file's name."""
    with path.open("rb") as file:
        data = file.read(MAX_OBJECT_BYTES + 1)
    if len(data) > MAX_OBJECT_BYTES:
        raise ObjectError(f"{path} is larger than {MAX_OBJECT_BYTES} bytes")
    try:
        return read_object(data)
    except ObjectError as error:
        raise ObjectError(error.message, where=str(path), hint=error.hint) from None


def hook_of(section: str) -> str | None:
    """The hook that a section names; libbpf before 1.0 took `lwt_xmit/name`, too."""
    facts = HOOK_BY_SECTION.get(section.partition("/")[0])
    return facts.name if facts else None


def choose(obj: Object, function: str | None, hook: str | None) -> list[tuple[Program, str]]:
    """The programs whose hook is known, with it; or the one that is asked for. `hook`: that of
    programs whose section names none. Raises UsageError, ObjectError."""
    known = {
        program.name: (program, named)
        for program in obj.programs
        if (named := hook_of(program.section)) is not None
    }
    if hook is not None:
        known |= {
            program.name: (program, hook)
            for program in obj.programs
            if program.name not in known and program.section != ".text"  # helpers of others
        }
    sections = {program.name: program.section for program in obj.programs}
    if function not in known and function in sections and sections[function] != ".text":
        raise UsageError(
            f"the object does not say for which hook '{function}' is",
            hint=f"say --hook; its section is {sections[function]}",
        )
    if function is not None and function not in known:
        raise UsageError(
            f"the object has no program '{function}'",
            hint=nearest(function, list(known)) or f"its programs: {', '.join(known) or 'none'}",
        )
    if not known:
        there = ", ".join(sorted(set(sections.values()))) or "none"
        raise ObjectError(
            "the object does not say for which hook its programs are",
            hint=f"say --hook; sections that do are {', '.join(HOOK_BY_SECTION)}, "
            f"this object's are {there}",
        )
    return [known[function]] if function is not None else list(known.values())
