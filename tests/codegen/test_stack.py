"""What needs more stack than a BPF program has is refused at its function, before any kernel."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nfc.compiler import compile_file
from nfc.syntax.diagnostics import SourceErrors

EIGHT = [f"a{i}" for i in range(8)]
FIELDS = ", ".join(f"{name}: ipv6" for name in EIGHT)


def copy(from_: str) -> str:
    return ", ".join(f"{name} = {from_}.{name}" for name in EIGHT)


def test_too_much_stack_is_said_at_the_function(tmp_path: Path) -> None:
    path = tmp_path / "large.nf"
    path.write_text(
        f"tlv T = 9 {{ {FIELDS} }}\ntlv U = 10 {{ {FIELDS} }}\nevent e {{ {FIELDS} }}\n"
        "endpoint f {\n    when srh has T as t and srh has U as u {\n"
        f"        add T {{ {copy('u')} }}\n        add U {{ {copy('t')} }} first\n"
        f"        emit e {{ {copy('t')} }}\n        set u.a0 = t.a7\n        forward\n    }}\n"
        "    otherwise forward\n}\n"
    )
    compilation = compile_file(path)
    with pytest.raises(SourceErrors) as caught:
        compilation.object(compilation.functions)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.span.line == 4
    found = re.fullmatch(r"f needs (\d+) bytes of stack; a BPF program has 512", diagnostic.message)
    assert found is not None
    assert int(found[1]) > 512
