"""A function belongs to its network namespace, whatever that is called and from wherever a command
comes: inside it, as `ip netns exec` and services with NetworkNamespacePath= do, or outside."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kernel.conftest import sh
from kernel.deployed import SID, Router, tagging
from kernel.test_deploy_failures import STEPS, Step, in_child, killed_at, whole
from nfc.deploy import bpffs, namespaces, places, recovery, select
from nfc.deploy.deployments import deploy, undeploy
from nfc.deploy.settings import set_params
from nfc.deploy.state import Store, folder_of, open_store, state_dir
from nfc.deploy.status import read_status
from nfc.kernel import netns as kernel
from nfc.kernel import pins
from nfc.kernel.netns import run_in
from nfc.lab.netns import enter

pytestmark = pytest.mark.kernel

PARAM = """
param limit: u16 = 5
endpoint f { when srh.tag > limit { drop } otherwise forward }
"""


def exec_(place: Router, *command: str) -> str:
    """What nfc says in the namespace, started as `ip netns exec` starts it: with a /sys of its own,
    in which no BPF file system is mounted."""
    whole = ["ip", "netns", "exec", place.netns, sys.executable, "-m", "nfc", *command]
    done = subprocess.run(whole, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def inside(place: Router, work: Callable[[], object]) -> Callable[[], None]:
    """The work, for a child that is in the namespace."""

    name = place.netns  # in a child it would be another: it has the process's number

    def child() -> None:
        with kernel.open_netns(name) as there:
            enter(there.fileno())
        work()

    return child


def test_deployed_inside_it_is_found_outside(place: Router) -> None:
    before = place.snapshot()
    exec_(place, "deploy", str(place.file(PARAM)), "--route", SID, "--dev", "eth0", "--name", "f")
    (status,) = read_status([], None)
    assert (status.running, status.record.place) == (True, place.netns)
    assert status.counters is not None
    assert set_params("f", place.netns, {"limit": "7"}) == ["limit = 7 (was 5)"]
    assert place.deploy(PARAM).change == "unchanged"
    assert "limit = 8 (was 7)" in exec_(place, "set", "f", "limit=8")
    undeploy(["f"], place.netns)
    assert place.snapshot() == before


def test_deployed_outside_it_is_found_inside(place: Router) -> None:
    before = place.snapshot()
    place.deploy(PARAM)
    (found,) = json.loads(exec_(place, "status", "f", "--json"))
    assert (found["state"], found["netns"], found["params"]) == ("running", None, {"limit": "5"})
    exec_(place, "undeploy", "f")
    assert place.snapshot() == before


def test_of_several_the_one_of_this_namespace_is_meant(place: Router) -> None:
    place.deploy(PARAM)
    place.deploy(PARAM, netns=place.net.lab.name("h2"))

    def change() -> None:
        set_params("f", None, {"limit": "6"})

    assert not in_child(inside(place, change))
    limits = {s.record.place: s.params["limit"] for s in read_status([], None)}
    assert limits == {place.netns: "6", place.net.lab.name("h2"): "5"}
    undeploy([], None, all_=True)


INSIDE = ("pending record written", "pins", "route", "commit")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", [STEPS[name] for name in INSIDE], ids=INSIDE)
def test_killed_inside(place: Router, step: Step, when: str) -> None:
    """What it leaves is finished, or undone, by a command outside."""
    asked = replace(place.request(tagging(4)), netns=None)
    assert killed_at(step, when, inside(place, lambda: deploy(asked)))
    whole(place)
    place.deploy(tagging(5))
    assert place.tag() == 5
    whole(place)


def test_two_names_of_one_namespace(place: Router) -> None:
    other = f"{place.netns}-too"
    path = kernel.NETNS_DIR / other
    path.touch()
    sh(f"mount --bind {kernel.NETNS_DIR / place.netns} {path}")
    try:
        place.deploy(PARAM)
        assert place.deploy(PARAM, netns=other).change == "unchanged"
        set_params("f", other, {"limit": "6"})
        assert len(read_status([], None)) == 1
        undeploy(["f"], other)
        assert place.pins() == ()
    finally:
        sh(f"umount {path}")
        path.unlink()


def test_a_namespace_made_anew_is_another(place: Router) -> None:
    name = f"{place.netns}x"

    def make() -> None:
        sh(f"ip netns add {name}")
        sh(f"ip -n {name} link set lo up")

    make()
    try:
        place.deploy(PARAM, netns=name, dev="lo")
        set_params("f", name, {"limit": "9"})
        sh(f"ip netns del {name}")
        make()
        (status,) = read_status(["f"], name)
        assert "any more" in status.state
        outcome = place.deploy(PARAM, netns=name, dev="lo")
        assert outcome.change == "deployed"
        assert "an earlier namespace of that name" in str(outcome)
        (status,) = read_status([], None)
        assert (status.running, status.params) == (True, {"limit": "5"})
        assert len(list((bpffs.root() / "nfc").glob(f"netns-{places.plain(name)}*"))) == 1
        undeploy(["f"], name)
        assert not list(state_dir().glob("netns-*"))
    finally:
        sh(f"ip netns del {name}")


def test_a_namespace_without_a_name(place: Router) -> None:
    """That of a container, say: there as long as its process is."""
    holder = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "ip link set lo up && echo up && exec sleep 600"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == "up\n"
        there = f"/proc/{holder.pid}/ns/net"
        asked = replace(place.request(PARAM, dev="lo"), netns=None)
        assert run_in(there, lambda: deploy(asked)).change == "deployed"
        (status,) = read_status([], None)
        assert (status.running, status.record.place) == (True, there)
        set_params("f", None, {"limit": "6"})
        assert run_in(there, lambda: read_status(["f"], None)[0].record.place) is None
    finally:
        holder.kill()
        holder.communicate()
    deadline = time.monotonic() + 30
    while not namespaces.gone(status.record.netns):
        assert time.monotonic() < deadline
    (line,) = undeploy(["f"], None)
    assert "in net:[" in line
    assert "its namespace is gone" in line
    assert not (state_dir() / folder_of(status.record.netns)).exists()


def test_a_kernel_without_cookies(place: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 5.14: it answers as this one does to an option that it does not know."""
    monkeypatch.setattr(kernel, "_SO_NETNS_COOKIE", 9999)
    before = place.snapshot()
    place.deploy(PARAM)
    assert re.fullmatch(r".+@\d+", place.record().netns)
    assert not in_child(inside(place, lambda: set_params("f", None, {"limit": "6"})))
    undeploy(["f"], place.netns)
    assert place.snapshot() == before


# ---- records of an earlier nfc -------------------------------------------------------------------


def made_old(place: Router, old: str) -> None:
    """What is deployed as if by an nfc that knew namespaces by their names alone."""
    file = place.kept / "f.json"
    text = json.dumps({k: v for k, v in json.loads(file.read_text()).items() if k != "replaces"})
    shutil.rmtree(place.kept)
    folder = state_dir() / folder_of(old)
    folder.mkdir(exist_ok=True)
    (folder / "f.json").write_text(text.replace(json.dumps(place.place), json.dumps(old)))
    pinned = places.folder(old, "f")
    pinned.parent.mkdir(exist_ok=True)
    os.rename(place.pinned / "f", pinned)
    place.pinned.rmdir()


OLD = ["name", namespaces.HERE]


@pytest.fixture(params=OLD, ids=["name", "here"])
def old(place: Router, request: pytest.FixtureRequest) -> str:
    """The place of a function that an earlier nfc has deployed on r1."""
    place.deploy(PARAM)
    set_params("f", place.netns, {"limit": "6"})
    which = place.netns if request.param == "name" else namespaces.HERE
    made_old(place, which)
    return which


def test_old_records_are_read(place: Router, old: str) -> None:
    (status,) = read_status(["f"], place.netns)
    assert status.params == {"limit": "6"}
    assert status.counters is not None

    def change() -> None:
        set_params("f", None, {"limit": "7"})
        with open_store() as store:
            assert select.find(store, "f", None) is not None

    assert not in_child(inside(place, change))
    assert not in_child(inside(place, lambda: undeploy(["f"], None)))
    assert not list(state_dir().rglob("*.json"))
    assert not places.folder(old, "f").exists()
    assert place.ip(f"route show {SID}") == ""


def test_old_records_are_replaced(place: Router, old: str) -> None:
    outcome = place.deploy(PARAM.replace("drop", "set srh.tag = 9 forward"))
    assert outcome.change == "replaced"
    assert "kept limit = 6" in str(outcome)
    assert not places.folder(old, "f").exists()
    assert not (state_dir() / folder_of(old)).exists()
    whole(place)
    undeploy(["f"], None)
    assert place.ip(f"route show {SID}") == ""


RETIRE: dict[str, Step] = {
    "commit": STEPS["commit"],
    "pins": (recovery, "remove_empty"),
    "record": (Store, "forget"),
    "note": (Store, "write"),
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", RETIRE.values(), ids=RETIRE)
def test_killed_while_an_old_record_is_replaced(place: Router, step: Step, when: str) -> None:
    place.deploy(tagging(3))
    made_old(place, place.netns)
    asked = place.request(tagging(4))
    assert killed_at(step, when, lambda: deploy(asked))
    assert place.tag() in (3, 4)
    statuses = read_status([], None)
    assert [s.running for s in statuses] == [True]
    assert len(list(state_dir().rglob("*.json"))) == 1
    place.deploy(tagging(5))
    assert place.tag() == 5
    whole(place)
    assert not places.folder(place.netns, "f").exists()


# ---- where pins go -------------------------------------------------------------------------------

_LOST = """
mount --make-rprivate / && while umount {bpffs} 2>/dev/null; do :; done
mount -t tmpfs tmpfs /mnt && NFC_STATE_DIR=/mnt unshare -m "$@"
"""


def test_pins_that_would_be_lost_are_refused(place: Router) -> None:
    """No BPF file system is mounted where it comes from, and its own mounts end with it."""
    script = _LOST.format(bpffs=pins.BPFFS)
    before = place.snapshot()
    words = ["--route", SID, "--dev", "eth0", "--netns", place.netns]
    command = [sys.executable, "-m", "nfc", "deploy", str(place.file(PARAM)), *words]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "no BPF file system is mounted where this command was started" in done.stderr
    assert place.snapshot() == before


@pytest.mark.parametrize(
    ("place_", "name", "of"),
    [
        ("-", "-", ""),
        ("r1", "r1", ""),
        ("r1@4026531840-7", "r1", "4026531840-7"),
        ("r1@4026531840", "r1", "4026531840"),
        ("a@1@2-3", "a@1", "2-3"),
        ("a@b", "a@b", ""),
        ("@1-2", "@1-2", ""),
    ],
)
def test_places_are_read_as_they_are_written(place_: str, name: str, of: str) -> None:
    assert namespaces.split(place_) == (name, of)
    assert Path(folder_of(place_)).name == folder_of(place_)
