"""Files that were kept and are damaged, as mutations of them were found to be taken for sound."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nfc.delay import keep
from nfc.delay.clock import Clock, Estimate
from nfc.delay.paths import Key, Paths
from nfc.errors import NfcError


@pytest.mark.parametrize("key", ["when", "drift_ppm"])
@pytest.mark.parametrize("value", ["Infinity", "NaN", "1e400", "-Infinity"])
def test_a_clock_that_never_was(tmp_path: Path, key: str, value: str) -> None:
    """The bound at another time could not be worked out."""
    file = tmp_path / "far.clock"
    Estimate(-500, 20, 100.0).write(file)
    kept = {**json.loads(file.read_text()), key: "HERE"}
    file.write_text(json.dumps(kept).replace('"HERE"', value))
    with pytest.raises(NfcError, match="holds no clock offset"):
        Estimate.read(file)
    clock = Clock(str(file))
    clock.look()
    assert clock.bound(1.0) is None


@pytest.mark.parametrize("file", ["/dev/zero", "/dev/null"])
def test_what_is_no_file_is_not_read(file: str) -> None:
    """/dev/zero has no end."""
    with pytest.raises(NfcError, match="is not what 'nfc delay collect' keeps"):
        keep.load(Path(file))


@pytest.mark.parametrize("value", [None, 5, [], "x", 1.5])
def test_a_path_whose_errors_are_no_table(tmp_path: Path, value: object) -> None:
    file = tmp_path / "state.json"
    paths = Paths()
    assert paths.path(Key(1)) is not None
    keep.save(file, paths)
    kept = json.loads(file.read_text())
    kept["paths"][0]["errors"] = value
    file.write_text(json.dumps(kept))
    with pytest.raises(NfcError, match="is not what 'nfc delay collect' keeps"):
        keep.load(file)
