"""What describes an object may lie: manifests of other objects, events that nobody has declared."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from machines import H1, H2, SID, STDLIB

from nfc.errors import NfcError, ObjectError
from nfc.manifest import Manifest
from nfc.packet import ip, packet, pcap, srh, tlv, udp
from nfc.run import fast, replay
from nfc.run.replay import Options
from nfc.run.session import Session
from nfc.run.subject import Subject, load
from nfc.run.tally import Tally

DM = bytearray(46)
DM[2:4] = 0x10, 1
MEASURED = bytes(
    packet(
        ip(H1, SID), srh([SID, H2], tlvs=[tlv(7, bytes(DM))]), ip(H1, H2), udp(4000, 5000), b"hi"
    )
)


def capture() -> io.BytesIO:
    stream = io.BytesIO()
    pcap.Writer(stream, pcap.LINKTYPE_RAW).write(pcap.Record(1, MEASURED, len(MEASURED)))
    stream.seek(0)
    return stream


@pytest.fixture(scope="module")
def subject() -> Subject:
    return load(STDLIB / "delay.nf", "end_dm", None, "6.1")


def session(subject: Subject) -> Session:
    return Session(subject, params={}, fib=None, engine="jit", seed=0)


def run(subject: Subject, way: str) -> Tally:
    tally, one = Tally(), session(subject)
    if way == "fast":
        fast.run(one, capture(), Options(), tally, None, None, lambda: None)
    else:
        list(replay.replay(one, capture(), Options(), tally, None))
    return tally


@pytest.mark.parametrize("way", ["fast", "slow"])
def test_an_event_that_is_not_declared(subject: Subject, way: str) -> None:
    assert way == "fast" or sum(run(subject, way).events.values()) == 1
    assert subject.manifest is not None
    (event, *_) = subject.manifest.events
    others = ((), (replace(event, index=event.index + 1),), (replace(event, index=1 << 40),))
    for events in others[1:2] if way == "fast" else others:  # native code takes a second each time
        lying = replace(subject, manifest=replace(subject.manifest, events=events))
        with pytest.raises(NfcError, match="is no event of end_dm"):
            run(lying, way)


def first(manifest: Manifest, kind: str, **other: Any) -> dict[str, Any]:
    """Another first event, with its field, or first param."""
    if kind == "event":
        (one, *more) = manifest.events
        return {"events": (replace(one, **other), *more)}
    (one, *more) = manifest.events
    (field, *fields) = one.fields
    changed = replace(one, fields=(replace(field, **other), *fields))
    return {"events": (changed, *more)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: {"function": "other"}, "no counters"),
        (lambda m: {"counters": m.counters * 900}, "no counters"),
        (lambda m: first(m, "event", size=-1), "cannot be"),
        (lambda m: first(m, "event", index=-1), "cannot be"),
        (lambda m: first(m, "field", offset=1 << 15), "out of bounds"),
        (lambda m: first(m, "field", type="float"), "is a 'float'"),
        (lambda m: first(m, "field", size=3), "of 3 bytes"),
        (lambda m: {"params_size": -1}, "params_size"),
    ],
)
def test_a_manifest_of_another_object(
    subject: Subject, change: Callable[[Manifest], dict[str, Any]], message: str
) -> None:
    assert subject.manifest is not None
    manifest = replace(subject.manifest, **change(subject.manifest))
    with pytest.raises(ObjectError, match=message):
        session(replace(subject, manifest=manifest))


def test_tables_and_params_of_another_object(tmp_path: Any) -> None:
    file = tmp_path / "f.nf"
    file.write_text(
        "param limit: u16 = 3\nevent seen { tag: u16 }\n"
        "table known: hash[8] { source: ipv6 } to { mark: u32 }\n"
        "endpoint f {\n    when srh.tag > limit { emit seen { tag = srh.tag } drop }\n"
        "    when known has [ip.src] { drop }\n    otherwise forward\n}\n"
    )
    subject = load(file, None, None, "6.1")
    manifest = subject.manifest
    assert manifest is not None
    session(subject)
    (table,) = manifest.tables
    for change, message in (
        ({"map": "other_table"}, "no map 'other_table'"),
        ({"kind": "lru"}, "known_table has type 1, not 9"),
        ({"kind": "bag"}, "a table of no kind"),
        ({"entries": 9}, "has max_entries 8, not 9"),
        ({"key_size": 32}, "has key_size 16, not 32"),
        ({"value_size": 2}, "mark is out of bounds"),
        ({"keys": ()}, "has no key"),
    ):
        lying = replace(manifest, tables=(replace(table, **change),))
        with pytest.raises(ObjectError, match=message):
            session(replace(subject, manifest=lying))
    obj = subject.obj
    without = [
        (replace(obj, data=()), r"no \.data of"),
        (replace(obj, maps=tuple(m for m in obj.maps if m.name != "events")), "no ring buffer"),
        (replace(obj, maps=()), "no counters"),
    ]
    for other, message in without:
        with pytest.raises(ObjectError, match=message):
            session(replace(subject, obj=other))
