"""Objects of any bytes, guided by coverage: python tests/verify/fuzz_objects.py SECONDS

Needs atheris (`pip install atheris`), which is no part of the set-up: it has no wheels for every
Python. Starts from objects of nfc and, where it is there, of clang; whatever bytes come, reading,
linking and checking them ends in a report or in an error with a place, within TIMEOUT seconds.
What it finds is kept in a folder of its own, which it names first.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["nfc.bpf", "nfc.verify"]):
    from nfc.bpf.facts import HOOK_BY_SECTION
    from nfc.bpf.reader import read_object
    from nfc.errors import ObjectError
    from nfc.verify.checks import check_object

TIMEOUT = 90  # a million instructions, which kernels follow too, instrumented and on a busy machine
KERNELS = ("5.10", "6.1", "6.18")


def one(data: bytes) -> None:
    """Anything but a report or an ObjectError is a bug."""
    try:
        obj = read_object(data)
        for n, program in enumerate(obj.programs[:4]):
            hook = HOOK_BY_SECTION.get(program.section, HOOK_BY_SECTION["lwt_in"])
            report = check_object(obj, program.name, hook.name, KERNELS[n % len(KERNELS)])
            str(report)
    except ObjectError as error:
        assert error.message


def seeds(folder: Path) -> None:
    """Objects to start from."""
    import corpus

    from nfc.compiler import compile_file

    for source in corpus.OURS[:6]:
        compilation = compile_file(source)
        for compiled in compilation.functions[:2]:
            name = f"{source.stem}-{compiled.manifest.function}"
            (folder / name).write_bytes(compilation.object([compiled]))
    for path in corpus.C_FILES:
        (folder / path.stem).write_bytes(corpus.bytes_by_clang(path, "v3"))


def main() -> None:
    """Fuzz for so many seconds."""
    seconds = int(sys.argv[1])
    found = tempfile.mkdtemp(prefix="nfc-fuzz-found-")
    print(f"what is found is written to {found}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        seeds(Path(folder))
        options = [f"-max_total_time={seconds}", f"-timeout={TIMEOUT}", "-rss_limit_mb=2048"]
        options.append(f"-artifact_prefix={found}/")
        atheris.Setup([sys.argv[0], *options, "-max_len=16384", folder], one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
