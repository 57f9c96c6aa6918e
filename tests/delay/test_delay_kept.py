"""Files that were kept and are damaged, as mutations of them were found to be taken for sound."""

from __future__ import annotations

import json
import os
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest

from nfc.delay import keep
from nfc.delay.clock import Clock, Estimate
from nfc.delay.collector import Collector
from nfc.delay.config import Config
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
        tuple(keep.load(Path(file)))


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
        tuple(keep.load(file))


@pytest.mark.parametrize("begin", [b"", b"{", keep._HEAD, b'{"version": 1, "paths": [' + b" " * 99])
def test_a_huge_file_takes_little_memory(tmp_path: Path, begin: bytes) -> None:
    """A gigabyte of nothing, which takes no room on the disk."""
    file = tmp_path / "state.json"
    file.write_bytes(begin)
    os.truncate(file, 1 << 30)
    tracemalloc.start()
    try:
        with pytest.raises(NfcError, match="is not what 'nfc delay collect' keeps"):
            tuple(keep.load(file))
        assert tracemalloc.get_traced_memory()[1] < 4 * keep.MOST_LINE
    finally:
        tracemalloc.stop()


def test_what_an_earlier_one_kept_is_read(tmp_path: Path) -> None:
    """All in one line; and what is kept now is JSON for others, too."""
    file, again = tmp_path / "state.json", tmp_path / "again.json"
    paths = Paths()
    for session in (1, 2):
        path = paths.path(Key(session))
        assert path is not None
        path.delays.add(1000 * session)
    keep.save(file, paths)
    kept = json.loads(file.read_text())
    assert len(kept["paths"]) == 2
    file.write_text(json.dumps(kept))
    old = Paths()
    assert keep.restore(file, old) == 2
    keep.save(again, old)
    assert json.loads(again.read_text()) == kept


@pytest.mark.parametrize("cut", [1, 10, 300])
def test_a_file_that_is_cut_off(tmp_path: Path, cut: int) -> None:
    file = tmp_path / "state.json"
    paths = Paths()
    assert paths.path(Key(1)) is not None
    keep.save(file, paths)
    file.write_bytes(file.read_bytes()[:-cut])
    with pytest.raises(NfcError, match="is not what 'nfc delay collect' keeps"):
        tuple(keep.load(file))


def test_one_collector_for_a_file(tmp_path: Path) -> None:
    """Two would take turns in writing what only one of them heard."""
    config = Config(listen=("::1", 0), state=tmp_path / "delay.json")
    with Collector(config):
        with pytest.raises(NfcError, match=r"another collector keeps its paths in .*delay\.json"):
            Collector(config)
        with Collector(replace(config, state=tmp_path / "other.json")):
            pass
    with Collector(config):
        pass
    # One that does not begin leaves the file to others.
    config.state.write_text("[]")  # type: ignore[union-attr]
    with pytest.raises(NfcError, match="is not what 'nfc delay collect' keeps"):
        Collector(config)
    with Collector(replace(config, state=None)):
        pass
    os.close(keep.hold(tmp_path / "delay.json"))
