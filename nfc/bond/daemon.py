"""`nfc bond run`: measure, hold back, take out, bring back; until told to stop."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

from nfc.atomic import replace_file
from nfc.bond.config import MS, Config
from nfc.bond.delayer import Delayer
from nfc.bond.links import Link, Links
from nfc.delay.query import Querier
from nfc.deploy.select import find
from nfc.deploy.settings import change
from nfc.deploy.state import open_store
from nfc.errors import KernelError, NfcError, UsageError
from nfc.notify import ready
from nfc.service import Reload

Say = Callable[[dict[str, Any]], object]
VERSION: Final = 1
_TICK: Final = 0.01  # seconds between looks at what came; the kernel notes when it did
_DECIDE: Final = 200 * MS
_REPEAT: Final = 1000 * MS  # weights and routes are put right so often, should somebody change them
_SAVE: Final = 10_000 * MS
_FRESH: Final = 600.0  # seconds for which what a state file says of delays is worth something
_MOST_STATE: Final = 1 << 20


def run(
    config: Config,
    netns: str | None,
    say: Say,
    stop: Callable[[], bool],
    every: float | None,
    reload: Reload[Config] | None = None,
) -> None:
    """Serve until `stop` says so. `say` gets what happens, and with `every` how it stands each so
    many seconds. Raises NfcError where it cannot begin."""
    enter(netns)
    with Daemon(config, netns, say) as daemon:
        daemon.restore()
        say({"event": "started", "links": [link.name for link in config.links]})
        ready(f"bonding {', '.join(link.name for link in config.links)}")
        try:
            daemon.serve(stop, every, reload)
        finally:
            daemon.save()
    say({"event": "stopped", "lost": daemon.lost()})


class Daemon:
    """The loop and what it holds; a context manager, in the namespace of the thread."""

    def __init__(self, config: Config, netns: str | None, say: Say) -> None:
        """Open all that it takes, and do nothing yet. Raises NfcError."""
        self.netns, self.say = netns, say
        self.links = Links(config, time.monotonic_ns())
        self.queriers: dict[str, Querier] = {}
        self.delayers: dict[str, Delayer] = {}
        self.asked: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()  # by those before the delayers there are now
        self._problems: dict[str, str] = {}  # by what one was with
        self._adopt(self.links)

    @property
    def config(self) -> Config:
        """The one in force."""
        return self.links.config

    def adopt(self, config: Config) -> None:
        """Serve another configuration from now on, and leave alone what is the same in both.
        Raises NfcError; then everything is as it was."""
        self._adopt(self.links.adopt(config, time.monotonic_ns()))
        self.weigh()
        self.hold()
        self.say({"event": "reloaded", "links": [link.name for link in config.links]})
        ready(f"bonding {', '.join(link.name for link in config.links)}")

    def _adopt(self, links: Links) -> None:
        """Open what is new, then close what is not there any more."""
        config = links.config
        _set(config, self.netns, {})  # so that a name which nothing has is said at once
        before = {link.config.name: link.config.way for link in self.links.all}
        queriers: dict[str, Querier] = {}
        delayers: dict[str, Delayer] = {}
        with contextlib.ExitStack() as undo:
            for link in config.links:
                same = before.get(link.name) == link.way
                querier = self.queriers.get(link.name) if same else None
                queriers[link.name] = querier or undo.enter_context(
                    Querier(link.probe, source=link.source)
                )
                if config.equalise:
                    delayer = self.delayers.get(link.name) if same else None
                    delayers[link.name] = delayer or undo.enter_context(
                        Delayer(self._device(link.name), link.sid, link.dev)
                    )
            undo.pop_all()
        self.links, olds = links, (self.queriers, self.delayers)
        self.queriers, self.delayers = queriers, delayers
        for name, querier in olds[0].items():
            if queriers.get(name) is not querier:
                querier.close()
        self._close({n: d for n, d in olds[1].items() if delayers.get(n) is not d})

    def _device(self, name: str) -> str:
        """A name for a link's device that no device of ours has."""
        wanted = f"bond-{name}"[:15]
        taken = any(delayer.device == wanted for delayer in self.delayers.values())
        return f"bond-{name[:7]}.%d" if taken else wanted

    def _close(self, delayers: dict[str, Delayer]) -> None:
        for delayer in delayers.values():
            delayer.leave()
        for name, delayer in delayers.items():
            delayer.close()
            self._lost[name] += sum(astuple(delayer.lost()))

    def __enter__(self) -> Daemon:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let all packets go directly, and close everything."""
        self._close(self.delayers)
        self.delayers = {}
        for querier in self.queriers.values():
            querier.close()

    def serve(
        self, stop: Callable[[], bool], every: float | None, reload: Reload[Config] | None = None
    ) -> None:
        """Until told to stop."""
        probe = decide = repeat = show = 0
        begin = time.monotonic_ns()
        save = begin + _SAVE
        for link in self.links.all:
            link.heard = begin  # nobody was asked before
        while not stop():
            if reload is not None:
                reload(self.adopt, lambda why: self.say({"event": "problem", "message": why}))
            now = time.monotonic_ns()
            if now >= probe:
                probe = max(probe + self.config.interval, now)
                self.ask()
            changed = self.listen()
            now = time.monotonic_ns()
            for link in self.links.silent(now):
                self.say({"event": "out", "link": link.config.name})
                changed = True
            if changed or now >= repeat:
                repeat = now + _REPEAT
                self.weigh()
            if changed or now >= decide:
                decide = now + _DECIDE
                self.hold()
            if changed or now >= save:
                save = now + _SAVE
                self.save()
            if every is not None and now >= show:
                show = now + round(every * 1000 * MS)
                self.say(self.status())
            time.sleep(_TICK)

    def ask(self) -> None:
        """A query over each link. One that cannot be sent is one that is not answered."""
        self.links.asked()
        for name, querier in self.queriers.items():
            self.asked[name] += 1
            with contextlib.suppress(KernelError):
                querier.send()

    def listen(self) -> bool:
        """Take in the answers; whether a link is back."""
        back = False
        for link in self.links.all:
            while (answer := self.queriers[link.config.name].receive(0)) is not None:
                if answer.problem is not None:
                    continue
                self.answers[link.config.name] += 1
                one_way = answer.received - answer.sent
                if self.links.answered(link, time.monotonic_ns(), one_way, answer.delay):
                    self.say({"event": "back", "link": link.config.name})
                    back = True
        return back

    def weigh(self) -> None:
        """Put the weights into the function. What fails is said once, and tried again."""
        with self._trying("weights"):
            _set(self.config, self.netns, self.links.weights())

    def hold(self) -> None:
        """Hold each link back as it should be. Raises NfcError where one can carry nothing."""
        for name, wanted in self.links.hold().items():
            link, delayer = self.link(name), self.delayers.get(name)
            if delayer is None:
                link.held = 0
                continue
            if (link.held == 0) != (wanted == 0):
                self.say({"event": "hold", "link": name, "ms": round(wanted / MS, 2)})
            link.held = wanted
            with self._trying(name, KernelError):
                delayer.hold(link.held)

    @contextlib.contextmanager
    def _trying(self, what: str, errors: type[NfcError] = NfcError) -> Iterator[None]:
        """Say what fails in the block, once for as long as it does."""
        try:
            yield
            self._problems.pop(what, None)
        except errors as error:
            if self._problems.get(what) != error.message:
                self._problems[what] = error.message
                self.say({"event": "problem", "message": error.message})

    def lost(self) -> dict[str, int]:
        """Packets that were lost because this daemon holds them back, by link."""
        found = Counter(self._lost)
        for name, delayer in self.delayers.items():
            found[name] += sum(astuple(delayer.lost()))
        return dict(found)

    def link(self, name: str) -> Link:
        """The link of that name."""
        return next(link for link in self.links.all if link.config.name == name)

    def status(self) -> dict[str, Any]:
        """How it stands; times in milliseconds."""
        lost = self.lost()
        return {
            "event": "status",
            "links": {
                link.config.name: {
                    "up": link.up,
                    "two_way_ms": round(link.two_way / MS, 3),
                    "held_ms": round(link.held / MS, 3),
                    "asked": self.asked[link.config.name],
                    "answers": self.answers[link.config.name],
                    "delayed_packets": getattr(self.delayers.get(link.config.name), "carried", 0),
                    "lost_packets": lost.get(link.config.name, 0),
                }
                for link in self.links.all
            },
        }

    # ---- what is kept ----------------------------------------------------------------------------

    def save(self) -> None:
        """Keep which links are in, and how long each is held back."""
        if self.config.state is None:
            return
        found = {link.config.name: {"up": link.up, "held": link.held} for link in self.links.all}
        text = json.dumps({"version": VERSION, "when": time.time(), "links": found}) + "\n"
        with self._trying("state"):
            replace_file(self.config.state, text)

    def restore(self) -> None:
        """Begin where the last one ended, if that is not long ago; a link that was out then has
        to answer before it is in again. Raises NfcError for a file that is none of ours."""
        for name, kept in read_state(self.config.state).items():
            for link in self.links.all:
                if link.config.name == name:
                    link.up, link.held = kept["up"], min(kept["held"], self.config.most)
        self.weigh()
        self.hold()


def read_state(file: Path | None) -> dict[str, dict[str, Any]]:
    """By link, `up` and `held` (ns). Nothing if there is no file, or an old one."""
    if file is None or not file.exists():
        return {}
    try:
        with file.open("rb") as source:
            found = json.loads(source.read(_MOST_STATE))
        if found["version"] != VERSION:
            raise ValueError("version")
        links = {
            str(name): {"up": bool(one["up"]), "held": max(int(one["held"]), 0)}
            for name, one in found["links"].items()
        }
        return links if abs(time.time() - float(found["when"])) < _FRESH else {}
    except OSError as error:
        raise NfcError(f"cannot read {file}: {error.strerror}") from None
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        raise NfcError(
            f"{file} is not what 'nfc bond run' keeps", hint="move it away to begin anew"
        ) from None


def enter(netns: str | None) -> None:
    """Move this process into a namespace, unless it is there. Only that takes CAP_SYS_ADMIN."""
    if netns is None:
        return
    from nfc.lab.netns import enter as move

    path = Path("/run/netns") / netns
    try:
        there, here = os.stat(path), os.stat("/proc/thread-self/ns/net")
        if (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino):
            return
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"there is no namespace '{netns}': {error.strerror}") from None
    try:
        move(descriptor)
    finally:
        os.close(descriptor)


def _set(config: Config, netns: str | None, weights: dict[str, int]) -> None:
    """Set params of the function, if they are not so already. Raises NfcError."""
    with open_store() as store:
        record = find(store, config.function, None)  # we are in it
        if record is None:
            raise UsageError(
                f"nothing called '{config.function}' is deployed"
                + (f" in {netns}" if netns else " here"),
                hint="'nfc deploy' puts a function on a route",
            )
        known = [param.field.name for param in record.manifest.params]
        for link in config.links:
            if link.param not in known:
                raise UsageError(
                    f"'{config.function}' has no param '{link.param}' for link '{link.name}'",
                    hint=f"its params: {', '.join(known) or 'none'}",
                )
        if weights:
            change(store, record, {name: str(weight) for name, weight in weights.items()})


@contextlib.contextmanager
def printing(as_json: bool) -> Iterator[Say]:
    """A `Say` for a terminal or a log: text, or a line of JSON for each thing."""

    def say(event: dict[str, Any]) -> None:
        if as_json:
            print(json.dumps({"time": round(time.time(), 3), **event}), flush=True)
        else:
            print(text(event), flush=True)

    yield say


def text(event: dict[str, Any]) -> str:
    """An event in words."""
    kind = event["event"]
    if kind == "out":
        return f"link {event['link']} is out: it does not answer"
    if kind == "back":
        return f"link {event['link']} is back"
    if kind == "hold" and event["ms"] == 0:
        return f"link {event['link']} is not held back any more"
    if kind == "hold":
        return f"link {event['link']} is held back by {event['ms']:g} ms"
    if kind == "problem":
        return f"problem: {event['message']}"
    if kind in ("started", "reloaded"):
        again = " anew" if kind == "reloaded" else ""
        return f"bonding {', '.join(event['links'])}{again}"
    if kind == "stopped":
        lost = sum(event["lost"].values())
        return "stopped" + (f"; {lost} packets were lost here" if lost else "")
    if kind == "status":
        return "; ".join(
            f"{name}: {'in' if one['up'] else 'out'}, two-way {one['two_way_ms']:g} ms, "
            f"held back {one['held_ms']:g} ms"
            + (f", {one['lost_packets']} packets lost here" if one["lost_packets"] else "")
            for name, one in event["links"].items()
        )
    return str(kind)
