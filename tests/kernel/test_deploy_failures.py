"""A deployment that fails, or is killed, at any step: what was there stays, or is complete."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kernel.deployed import H2, LATE, SID, Router, fresh, number, tagging
from nfc.deploy import deployments, settings, state
from nfc.deploy.deployments import deploy, undeploy
from nfc.deploy.settings import set_params
from nfc.deploy.state import Store, open_store
from nfc.deploy.status import read_status
from nfc.errors import KernelError, NfcError, UsageError
from nfc.kernel import pins, routes

pytestmark = pytest.mark.kernel

OLD, NEW = 1, 2
PARAM = "param limit: u16 = 5\nendpoint f { when srh.tag == limit { drop } otherwise forward }\n"


@pytest.fixture
def place(network: Router, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Router]:
    monkeypatch.setenv("NFC_STATE_DIR", str(tmp_path / "state"))
    yield replace(network, folder=tmp_path)
    fresh(network)


def nothing(place: Router) -> None:
    with open_store():
        pass


def plain_route(place: Router) -> None:
    place.ip(f"route add {SID} via {H2} dev eth1 metric 40")


def older(place: Router) -> None:
    plain_route(place)
    place.deploy(tagging(OLD))


def off_its_route(place: Router) -> None:
    """The very program to be deployed was on the route, until somebody took it off."""
    place.deploy(tagging(NEW))
    place.ip(f"route replace {SID} via {H2} dev eth1")


BEFORE = {
    "no route": nothing,
    "plain route": plain_route,
    "older generation": older,
    "off its route": off_its_route,
}
before = pytest.mark.parametrize("prepare", BEFORE.values(), ids=BEFORE)


def through(place: Router, prepare: Callable[[Router], None]) -> bytes | None:
    """What comes of a packet: it needs a route."""
    return place.through(wait=0.05 if prepare is nothing else LATE)


# ---- failures ----------------------------------------------------------------------------------


def bad_dev(place: Router, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"dev": "eth9"}


def bad_via(place: Router, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"via": "fd00:99::1"}


def via_no_address(place: Router, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    return {"via": "there"}


def dev_is_down(place: Router, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    place.ip("link add down0 type veth peer name down1")
    return {"dev": "down0"}


def refused_by_the_check(place: Router, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    patch.setattr(deployments, "running_kernel", lambda: "4.14")
    return {"kernel": "6.1"}


def pins_have_no_room(place: Router, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The pins' folder is a pin itself: mkdir says ENOTDIR, as bpffs would."""
    folder = place.pinned / "f"
    if folder.exists():
        patch.setattr(Path, "mkdir", _refuse(Path.mkdir, lambda p: str(folder) in str(p)))
    else:
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            f"bpftool map create {folder} type array key 4 value 4 entries 1 name x".split(),
            check=True,
        )
    return {}


def _refuse(real: Callable[..., Any], when: Callable[[Path], bool]) -> Callable[..., Any]:
    def wrapped(path: Path, *args: Any, **kwargs: Any) -> Any:
        if when(path):
            raise OSError(30, "Read-only file system")
        return real(path, *args, **kwargs)

    return wrapped


def second_pin_fails(place: Router, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    real, calls = pins.pin, []

    def pin(*args: Any, **kwargs: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise KernelError("cannot pin: No space left on device", errno=28)
        real(*args, **kwargs)

    patch.setattr(pins, "pin", pin)
    return {}


def no_pending_record(place: Router, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A folder stands where the pending record's beginnings go."""
    path = place.kept / "f.next.json.new"
    path.mkdir(parents=True)
    return {}


def commit_fails(place: Router, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The pending record is gone when it is to become the record."""
    real = Store.commit

    def commit(self: Store, record: state.Record) -> None:
        self.remove(record.netns, record.name, next_=True)
        real(self, record)

    patch.setattr(Store, "commit", commit)
    return {}


def interrupted(place: Router, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Ctrl-C right after the route is replaced."""
    real = routes.replace_route

    def replace_route(*args: Any, **kwargs: Any) -> None:
        real(*args, **kwargs)
        raise KeyboardInterrupt

    patch.setattr(routes, "replace_route", replace_route)
    return {}


FAILURES = [
    bad_dev, bad_via, via_no_address, dev_is_down, refused_by_the_check, pins_have_no_room,
    second_pin_fails, no_pending_record, commit_fails, interrupted,
]  # fmt: skip


@before
@pytest.mark.parametrize("fail", FAILURES)
def test_a_failure_leaves_what_was_there(
    place: Router,
    prepare: Callable[[Router], None],
    fail: Callable[[Router, pytest.MonkeyPatch], dict[str, Any]],
) -> None:
    prepare(place)
    with pytest.MonkeyPatch.context() as patch:
        more = fail(place, patch)
        found = place.snapshot()
        answer = through(place, prepare)
        with pytest.raises((NfcError, KeyboardInterrupt)) as error:
            place.deploy(tagging(NEW), **more)
        assert str(error.value) or error.type is KeyboardInterrupt
    assert place.snapshot() == found
    assert through(place, prepare) == answer
    if fail is dev_is_down:
        place.ip("link del down0")
    if fail is pins_have_no_room and prepare in (nothing, plain_route):
        (place.pinned / "f").unlink()
    if fail is no_pending_record:
        shutil.rmtree(place.kept / "f.next.json.new")
    # Nothing that is left stands in the way.
    place.deploy(tagging(NEW))
    assert place.tag() == NEW


_READ_ONLY = """
mount --make-rprivate / && mount --bind {folder} {folder} &&
mount -o remount,bind,ro {folder} && shift && exec "$@"
"""


def run_read_only(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run nfc where `folder` is a read-only mount, for it alone."""
    script = _READ_ONLY.format(folder=folder)
    whole = ["unshare", "-m", "sh", "-c", script, "sh", "", sys.executable, "-m", "nfc", *command]
    return subprocess.run(whole, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("what", ["bpffs", "state"])
@pytest.mark.parametrize("prepare", [plain_route, older])
def test_read_only_file_systems(
    place: Router, what: str, prepare: Callable[[Router], None]
) -> None:
    pins.ensure_mounted()
    prepare(place)
    set_up = place.kept
    set_up.mkdir(parents=True, exist_ok=True)
    found = place.snapshot()
    folder = pins.BPFFS if what == "bpffs" else set_up
    asked = ["--route", SID, "--dev", "eth0", "--netns", place.netns, "--name", "f"]
    done = run_read_only(folder, "deploy", str(place.file(tagging(NEW))), *asked)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "Read-only file system" in done.stderr
    assert str(folder) in done.stderr
    assert place.snapshot() == found


def test_set_changes_the_kernel_and_the_record_or_neither(
    place: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.deploy(PARAM)
    found = place.snapshot()
    path = place.kept / "f.json.new"
    path.mkdir()
    with pytest.raises(NfcError, match=r"f\.json"):
        set_params("f", None, {"limit": "6"})
    path.rmdir()
    assert place.snapshot() == found
    assert read_status(["f"], None)[0].params == {"limit": "5"}


# ---- killed ------------------------------------------------------------------------------------

Step = tuple[Any, str]
STEPS: dict[str, Step] = {
    "pending record written": (Store, "write_next"),
    "a file put in place": (os, "replace"),
    "pins": (deployments, "_pin_all"),
    "one pin": (pins, "pin"),
    "route": (routes, "replace_route"),
    "commit": (Store, "commit"),
    "sweep": (deployments, "sweep"),
    "rmtree": (shutil, "rmtree"),
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_at(step: Step, when: str, work: Callable[[], object]) -> bool:
    """Do the work in a child that is killed before or after the step; whether it came to that."""

    def child() -> None:
        owner, name = step
        real = getattr(owner, name)

        def instead(*args: Any, **kwargs: Any) -> Any:
            if when == "after":
                real(*args, **kwargs)
            die()

        setattr(owner, name, instead)
        work()

    return in_child(child)


def in_child(work: Callable[[], object], kill_after: float | None = None) -> bool:
    """Whether the child was killed; it is an error if it ended in any other way than well."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0
    return False


def whole(place: Router) -> None:
    """After any command: the records, the pins and the route say the same, and nothing more."""
    statuses = read_status([], None)
    files = {p.name for p in (place.folder / "state").rglob("*") if p.is_file()} - {"lock"}
    tags = [p.tag for r in routes.routes_with_programs(place.netns) for p in r.programs]
    if statuses:
        (status,) = statuses
        assert files == {"f.json"}
        assert {path.split("/")[1] for path, _ in place.pins()} == {status.record.generation}
        assert status.counters is not None
        assert tags == ([status.record.tag] if status.running else [])
    else:
        assert files == set()
        assert place.pins() == ()
        assert tags == []


@pytest.mark.parametrize("prepare", [nothing, plain_route, older], ids=list(BEFORE)[:3])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_killed_while_deploying(
    place: Router, step: Step, when: str, prepare: Callable[[Router], None]
) -> None:
    prepare(place)
    was = through(place, prepare)
    original = place.ip("-d route show table all") if prepare is not older else None
    asked = place.request(tagging(NEW))
    killed = killed_at(step, when, lambda: deploy(asked))
    assert killed or (step[1] == "rmtree" and prepare is not older)
    now = place.through(wait=0.05 if was is None else LATE)
    assert now == was or place.tag() == NEW, "the old function or the new one, nothing else"
    whole(place)
    # It goes on from there: to the new one, and back to what was there at first.
    place.deploy(tagging(NEW))
    assert place.tag() == NEW
    whole(place)
    undeploy(["f"], None)
    whole(place)
    if original is not None:
        assert place.ip("-d route show table all") == original


def test_killed_at_random_times(place: Router) -> None:
    """Forty deployments, or until ten did not come to their end; packets go on all the time."""
    older(place)
    choose = random.Random(7)
    kills = 0
    with place.stream(600_000, 1000) as stream:
        for attempt in range(400):
            if attempt >= 40 and kills >= 10:
                break
            asked = place.request(tagging(100 + attempt))
            kills += in_child(partial(deploy, asked), choose.uniform(0.002, 0.07))
            assert place.tag() is not None
            if attempt % 4 == 0:
                whole(place)
        whole(place)
        sent, got = stream.end()
    assert kills >= 10
    assert [number(raw) for raw in got] == list(range(sent)), "a packet is missing"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "step",
    [(deployments, "_restore"), (shutil, "rmtree"), (Store, "remove")],
    ids=["route", "pins", "record"],
)
def test_killed_while_undeploying(place: Router, step: Step, when: str) -> None:
    plain_route(place)
    original = place.ip("-d route show table all")
    place.deploy(tagging(OLD))
    assert killed_at(step, when, lambda: undeploy(["f"], None))
    read_status([], None)
    undeploy([], None, all_=True)
    whole(place)
    assert place.ip("-d route show table all") == original


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    "step", [(Store, "write"), (os, "replace"), (settings, "apply")], ids=["write", "file", "apply"]
)
def test_killed_while_setting(place: Router, step: Step, when: str) -> None:
    place.deploy(PARAM)
    assert killed_at(step, when, lambda: set_params("f", None, {"limit": "6"}))
    whole(place)
    assert set_params("f", None, {"limit": "7"})[0].startswith("limit = 7 (was ")
    assert place.record().settings == {"limit": "7"}


# ---- damaged records ---------------------------------------------------------------------------


@pytest.mark.parametrize("pending", [False, True])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"\xff\x00" * 50, b"[" * 100_000, b'{"name": 3}', b" " * (2 << 20)],
    ids=["empty", "cut", "list", "null", "bytes", "deep", "types", "large"],
)
def test_a_damaged_record_does_not_block_others(
    place: Router, content: bytes, pending: bool, nfc: Callable[..., tuple[int, str, str]]
) -> None:
    place.deploy(tagging(1))
    path = place.kept / f"g{'.next' if pending else ''}.json"
    path.write_bytes(content)
    elsewhere = "fd00:a::e"
    with pytest.raises(NfcError, match=str(path)) as error:
        place.deploy(tagging(2), name="g", prefix=elsewhere)
    assert not isinstance(error.value, UsageError)
    assert "remove it" in (error.value.hint or "") or len(content) > 1 << 20
    assert [s.record.name for s in read_status(["f"], None)] == ["f"]
    assert place.deploy(tagging(3)).change == "replaced"
    status, out, err = nfc("status")
    assert "f (endpoint): running" in out
    assert (str(path) in err, status) == ((False, 0) if pending else (True, 1))
    status, out, err = nfc("status", "--json")
    found = json.loads(out)
    assert found[0]["name"] == "f"
    assert len(found) == (1 if pending else 2)
    if pending:
        undeploy([], None, all_=True)
    else:
        with pytest.raises(NfcError, match=str(path)):
            undeploy([], None, all_=True)
    assert place.pins() == ()
    path.unlink()
    place.deploy(tagging(2), name="g", prefix=elsewhere)
    undeploy(["g"], None)
