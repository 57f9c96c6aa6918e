"""`nfc bond run`: measure, hold back, take out, bring back; until told to stop."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from nfc.atomic import replace_file
from nfc.bond.config import MS, Config
from nfc.bond.delayer import Delayer
from nfc.bond.links import Link, Links
from nfc.delay.query import Querier
from nfc.deploy.settings import change
from nfc.deploy.state import HERE, open_store
from nfc.errors import KernelError, NfcError, UsageError

Say = Callable[[dict[str, Any]], object]
VERSION: Final = 1
_TICK: Final = 0.01  # seconds between looks at what came; the kernel notes when it did
_DECIDE: Final = 200 * MS
_REPEAT: Final = 1000 * MS  # weights and routes are put right so often, should somebody change them
_SAVE: Final = 10_000 * MS
_FRESH: Final = 600.0  # seconds for which what a state file says of delays is worth something
_MOST_STATE: Final = 1 << 20


def run(
    config: Config, netns: str | None, say: Say, stop: Callable[[], bool], every: float | None
) -> None:
    """Serve until `stop` says so. `say` gets what happens, and with `every` how it stands each so
    many seconds. Raises NfcError where it cannot begin."""
    enter(netns)
    _set(config, netns, {})  # so that a name which nothing has is said at once
    links = Links(config, time.monotonic_ns())
    with contextlib.ExitStack() as opened:
        queriers = {
            link.config.name: opened.enter_context(
                Querier(link.config.probe, source=link.config.source)
            )
            for link in links.all
        }
        delayers = {
            link.config.name: opened.enter_context(
                Delayer(link.config.name, link.config.sid, link.config.dev)
            )
            for link in links.all
            if config.equalise
        }
        daemon = Daemon(config, netns, links, queriers, delayers, say)
        daemon.restore()
        say({"event": "started", "links": [link.config.name for link in links.all]})
        try:
            daemon.serve(stop, every)
        finally:
            daemon.save()
        say({"event": "stopped"})


class Daemon:
    """The loop and what it holds."""

    def __init__(
        self,
        config: Config,
        netns: str | None,
        links: Links,
        queriers: dict[str, Querier],
        delayers: dict[str, Delayer],
        say: Say,
    ) -> None:
        """Nothing happens before `serve`."""
        self.config, self.netns, self.links = config, netns, links
        self.queriers, self.delayers, self.say = queriers, delayers, say
        self.asked: dict[str, int] = dict.fromkeys(queriers, 0)
        self.answers: dict[str, int] = dict.fromkeys(queriers, 0)
        self.problem: str | None = None

    def serve(self, stop: Callable[[], bool], every: float | None) -> None:
        """Until told to stop."""
        probe = decide = repeat = show = 0
        begin = time.monotonic_ns()
        save = begin + _SAVE
        for link in self.links.all:
            link.heard = begin  # nobody was asked before
        while not stop():
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
        try:
            _set(self.config, self.netns, self.links.weights())
            self.problem = None
        except NfcError as error:
            if self.problem != error.message:
                self.problem = error.message
                self.say({"event": "problem", "message": error.message})

    def hold(self) -> None:
        """Hold each link back as it should be."""
        for name, wanted in self.links.hold().items():
            link = self.link(name)
            if link.held != wanted and name in self.delayers:
                if (link.held == 0) != (wanted == 0):
                    self.say({"event": "hold", "link": name, "ms": round(wanted / MS, 2)})
                link.held = wanted
            if name in self.delayers:
                try:
                    self.delayers[name].hold(link.held)
                except KernelError as error:
                    self.say({"event": "problem", "message": error.message})

    def link(self, name: str) -> Link:
        """The link of that name."""
        return next(link for link in self.links.all if link.config.name == name)

    def status(self) -> dict[str, Any]:
        """How it stands; times in milliseconds."""
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
        try:
            replace_file(self.config.state, text)
        except NfcError as error:
            if self.problem != error.message:
                self.problem = error.message
                self.say({"event": "problem", "message": error.message})

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
        record = store.read(netns or HERE, config.function)
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
    if kind == "hold":
        return f"link {event['link']} is held back by {event['ms']:g} ms"
    if kind == "problem":
        return f"problem: {event['message']}"
    if kind == "started":
        return f"bonding {', '.join(event['links'])}"
    if kind == "status":
        return "; ".join(
            f"{name}: {'in' if one['up'] else 'out'}, two-way {one['two_way_ms']:g} ms, "
            f"held back {one['held_ms']:g} ms"
            for name, one in event["links"].items()
        )
    return str(kind)
