"""Records on disk: every one comes back as it was; anything else is refused with its path."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nfc.compiler import compile_file
from nfc.deploy.namespaces import HERE
from nfc.deploy.select import select, select_all
from nfc.deploy.shapes import build
from nfc.deploy.state import Damaged, Record, Store, open_store
from nfc.errors import NfcError, UsageError
from nfc.manifest import Manifest
from nfc.observe.events import decode
from nfc.resources import data_dir

EVERY_TYPE = """
param a: bool = true
param b: u3 = 1
param c: u24 = 1
param d: u64 = 1
param e: duration = 1ms
param g: ipv6 = ::1
event everything { a: bool, b: u3, c: u24, d: u64, e: duration, f: timestamp, g: ipv6 }
transit every_type at in {
    when a { emit everything { a = a, b = b, c = c, d = d, e = e, f = now(), g = g } forward }
    otherwise forward
}
"""


@pytest.fixture
def every_type(tmp_path: Path) -> Manifest:
    (tmp_path / "every.nf").write_text(EVERY_TYPE)
    (compiled,) = compile_file(tmp_path / "every.nf").functions
    return compiled.manifest


MANIFESTS = {
    c.manifest.function: c.manifest
    for name in ("delay", "tag", "x")
    for c in compile_file(data_dir("stdlib") / f"{name}.nf").functions
}
PREVIOUS = {
    "prefix": "fd00::/64", "table": 254, "metric": 1024, "devices": ["eth0"],
    "header": "CkAAAP4DAAEAAAAA", "attributes": [[1, "/QAAAAAAAAAAAAAAAAAAAA=="]],
}  # fmt: skip


def record(manifest: Manifest, **more: Any) -> Record:
    fields = {
        "name": "f",
        "netns": HERE,
        "generation": "0123456789abcdef",
        "source": "f.nf",
        "route": {
            "prefix": "fd00::d/128", "dev": "eth0", "table": "main", "via": None, "metric": 1024
        },
        "previous": [PREVIOUS],
        "settings": {"a": "1"},
        "manifest": manifest,
        "since": "2026-01-01T00:00:00+00:00",
        **more,
    }  # fmt: skip
    return Record(**fields)


@pytest.mark.parametrize("function", MANIFESTS)
def test_there_and_back(function: str) -> None:
    wanted = record(MANIFESTS[function])
    assert Record.from_json(wanted.to_json(), "here") == wanted


def test_every_type_of_the_language(every_type: Manifest) -> None:
    wanted = record(every_type)
    assert len(every_type.params) == 6
    assert Record.from_json(wanted.to_json(), "here") == wanted


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The places in a JSON value."""
    found = [path]
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            found += paths(item, (*path, key))
    return found


GOOD = json.loads(record(MANIFESTS["end_dm"]).to_json())
PLACES = paths(GOOD)[1:]
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.just([]),
    st.just({}), st.just("../../etc"), st.just(1 << 70), st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


def use(found: Record) -> None:
    """What commands do with a record that was read."""
    assert found.route_text
    assert found.tag.startswith("nfc:")
    for size in (0, 8, 24, 64):
        try:
            decode(found.manifest, bytes(size))
        except NfcError:
            continue


@given(st.sampled_from(PLACES), JUNK)
def test_any_value_in_any_place_is_taken_or_refused(place: tuple[Any, ...], junk: Any) -> None:
    data = json.loads(json.dumps(GOOD))
    inside = data
    for key in place[:-1]:
        inside = inside[key]
    inside[place[-1]] = junk
    try:
        found = Record.from_json(json.dumps(data), "/run/nfc/here/f.json")
    except Damaged as error:
        assert "/run/nfc/here/f.json" in error.message
        assert len(error.message) < 400
        return
    use(found)


@given(st.sampled_from(PLACES))
def test_nothing_may_be_missing_but_what_has_a_default(place: tuple[Any, ...]) -> None:
    data = json.loads(json.dumps(GOOD))
    inside = data
    for key in place[:-1]:
        inside = inside[key]
    del inside[place[-1]]
    try:
        found = Record.from_json(json.dumps(data), "f.json")
    except Damaged:
        return
    use(found)
    assert isinstance(place[-1], int) or place[-1] in ("forced", "replaces") or len(place) > 1


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_any_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.mktemp("state")
    store = Store(folder)
    path = folder / "here" / "f.json"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(Damaged, match=str(path)):
        store.read(HERE, "f")


@given(st.integers(0, len(json.dumps(GOOD)) - 1))
def test_a_record_that_was_cut_is_refused(length: int) -> None:
    with pytest.raises(Damaged, match=r"f\.json"):
        Record.from_json(json.dumps(GOOD)[:length], "f.json")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 100_000, "1" * 100_000, '{"name": NaN}', '"\\ud800"'],
    ids=["lists", "objects", "digits", "nan", "surrogate"],
)
def test_json_made_to_hurt(text: str) -> None:
    with pytest.raises(Damaged):
        Record.from_json(text, "f.json")


def test_a_record_in_the_place_of_another(tmp_path: Path) -> None:
    """Copied by hand: acting on it would act on another function's route."""
    store = Store(tmp_path)
    store.write(record(MANIFESTS["tag"]))
    (tmp_path / "netns-n").mkdir()
    (tmp_path / "netns-n" / "f.json").write_bytes((tmp_path / "here" / "f.json").read_bytes())
    (tmp_path / "here" / "g.json").write_bytes((tmp_path / "here" / "f.json").read_bytes())
    for netns, name in (("n", "f"), (HERE, "g")):
        with pytest.raises(Damaged, match="another function"):
            store.read(netns, name)
    found, damaged = select_all(store, None)
    assert [r.name for r in found] == ["f"]
    assert len(damaged) == 2


def test_files_that_are_no_records_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    for name in (".json", "a b.json", "é.json", "f.txt", "f.json.new"):
        (tmp_path / "here" / name).write_text("x")
    store = Store(tmp_path)
    assert store.names() == []
    store.clean()
    assert not (tmp_path / "here" / "f.json.new").exists()
    assert (tmp_path / "here" / "f.txt").exists()


def test_select(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write(record(MANIFESTS["tag"]))
    store.write(record(MANIFESTS["tag"], netns="n"))
    assert len(select(store, ["f"], None)) == 2
    assert [r.netns for r in select(store, ["f"], "n")] == ["n"]
    with pytest.raises(UsageError, match="nothing called 'ff'") as error:
        select(store, ["ff"], None)
    assert "'f'" in (error.value.hint or "")


def test_the_state_folder_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "state").write_text("")
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    with pytest.raises(NfcError, match=r"cannot use .*state"), open_store():
        pass


def test_shapes_do_not_mix_bools_and_numbers() -> None:
    assert build(int, 1) == 1
    for shape, value in ((int, True), (bool, 1), (str, 1), (int, 1.0), (int | None, True)):
        with pytest.raises(ValueError, match="is not"):
            build(shape, value)
