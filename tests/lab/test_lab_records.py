"""A lab's record that is damaged is told from a sound one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nfc.errors import NfcError
from nfc.lab import records


@pytest.mark.parametrize("function", [[], ["a"], ["a", "f", "g"]])
def test_functions_are_a_node_and_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: list[str]
) -> None:
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path))
    record = records.Record("x", "x.toml", "up", {"a": "lab-x.a"}, functions=[["a", "f"]])
    records.write(record)
    assert records.read("x") == record
    path = records.folder("x") / "lab.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "functions": [function]}))
    with pytest.raises(NfcError, match="is not the record of a lab"):
        records.read("x")


def test_a_folder_that_can_be_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was tried for ever: what /proc says is what is said of a folder that was just removed."""
    monkeypatch.setenv("NFC_STATE_DIR", "/proc/no")
    with (
        pytest.raises(NfcError, match=r"cannot use /proc/no/labs/\.x\.lock: No such file"),
        records.locked("x"),
    ):
        pass
