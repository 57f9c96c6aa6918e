"""Files that use others: what goes wrong with the files themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from nfc.compiler import compile_file
from nfc.sema.modules import MAX_MODULES
from nfc.syntax.diagnostics import SourceErrors

FUNCTION = "endpoint f { otherwise forward }\n"


def said(path: Path) -> list[str]:
    with pytest.raises(SourceErrors) as caught:
        compile_file(path)
    return [d.message for d in caught.value.diagnostics]


def test_a_used_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "shared.nf").write_bytes(b"const A: u8 = 1\n\xff")
    main = tmp_path / "main.nf"
    main.write_text("use shared\n" + FUNCTION)
    (message,) = said(main)
    assert "shared.nf:2: not UTF-8 text" in message


def test_more_files_than_allowed(tmp_path: Path) -> None:
    for number in range(MAX_MODULES + 1):
        (tmp_path / f"m{number}.nf").write_text(f"use m{number + 1}\n")
    main = tmp_path / "main.nf"
    main.write_text("use m0\n" + FUNCTION)
    assert said(main) == [f"more than {MAX_MODULES} files are used"]


def test_files_that_use_each_other(tmp_path: Path) -> None:
    (tmp_path / "a.nf").write_text("use b\nconst A: u8 = 1\n")
    (tmp_path / "b.nf").write_text("use a\nconst B: u8 = 2\n")
    main = tmp_path / "main.nf"
    main.write_text("use a\nendpoint f { when srh.tag == A + B { drop } otherwise forward }\n")
    assert [f.function.name for f in compile_file(main).functions] == ["f"]


def test_a_const_made_of_a_used_one(tmp_path: Path) -> None:
    (tmp_path / "a.nf").write_text("use b\nconst A: u8 = B + 1\n")
    (tmp_path / "b.nf").write_text("const B: u8 = 2\n")
    main = tmp_path / "main.nf"
    main.write_text(
        "use a\nconst TWICE: u8 = A * 2\nparam p: u8 = TWICE\n"
        "endpoint f { when srh.tag == p { drop } otherwise forward }\n"
    )
    (param,) = compile_file(main).program.params
    assert param.default == 6
