"""What is deployed, and how it fares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nfc.deploy import settings
from nfc.deploy.places import params_map, stats_map
from nfc.deploy.recovery import installed, recover_all
from nfc.deploy.select import select, select_all
from nfc.deploy.state import Damaged, Record, open_store
from nfc.errors import KernelError
from nfc.observe.counters import Counters, read_counters


@dataclass(frozen=True)
class Status:
    """One deployed function. `state` is `running`, or says in words what is wrong."""

    record: Record
    state: str
    params: dict[str, str]
    counters: Counters | None

    @property
    def running(self) -> bool:
        """Whether its route has it."""
        return self.state == "running"

    def to_json(self) -> dict[str, Any]:
        """The status as a JSON-ready object; counters in packets."""
        record, counters = self.record, self.counters
        found: dict[str, Any] = {
            "name": record.name,
            "function": record.manifest.function,
            "hook": record.manifest.hook,
            "source": record.source,
            "netns": record.place,
            "route": record.route,
            "state": self.state,
            "since": record.since,
            "generation": record.generation,
            "forced": record.forced,
            "params": self.params,
        }
        if counters is not None:
            found |= {
                "packets": counters.packets,
                "dropped": counters.dropped,
                "errors": counters.errors,
                "events_lost": counters.events_lost,
                "counts_lost": counters.counts_lost,
                "counters": counters.named,
                "rules": [
                    {"line": r.line, "packets": r.packets, "drops": r.drops} for r in counters.rules
                ],
            }
        return found

    def __str__(self) -> str:
        """Several lines for a terminal."""
        record, counters = self.record, self.counters
        where = "" if record.place is None else f" in {record.place}"
        forced = ", forced past the check" if record.forced else ""
        lines = [
            f"{record.name} ({record.manifest.hook}): {self.state}{forced}",
            f"  route    {record.route_text}{where}",
            f"  source   {record.source}, since {record.since}",
        ]
        if self.params:
            shown = "  ".join(f"{name}={value}" for name, value in self.params.items())
            lines.append(f"  params   {shown}")
        if counters is not None:
            lines.append(f"  packets  {counters.packets}, dropped {counters.dropped}")
            for rule in counters.rules:
                note = "  (dropped)" if rule.drops and rule.packets else ""
                lines.append(f"    rule at line {rule.line:<4} {rule.packets}{note}")
            for name, count in counters.named.items():
                lines.append(f"  counter  {name} {count}")
            for reason, count in counters.errors.items():
                if count:
                    lines.append(f"  error    {reason} {count}")
            if counters.events_lost:
                lines.append(f"  events   {counters.events_lost} lost: nobody reads fast enough")
            if counters.counts_lost:
                lines.append(f"  counts   {counters.counts_lost} lost: a counter's keys are full")
            if not any(counters.errors.values()):
                lines.append("  errors   none")
        return "\n".join(lines)


def read_status(names: list[str], netns: str | None) -> list[Status]:
    """Statuses of deployed functions: of these names, in that namespace; all if not said.

    Raises UsageError for a name that nothing has, Damaged for a damaged record among them.
    """
    found, damaged = read_sound(names, netns)
    if damaged:
        raise damaged[0]
    return found


def read_sound(names: list[str], netns: str | None) -> tuple[list[Status], list[Damaged]]:
    """As `read_status`, but where no names are given damaged records do not hide the others."""
    with open_store() as store:
        recover_all(store)
        records, damaged = (select(store, names, netns), []) if names else select_all(store, netns)
        return [_status(record) for record in records], damaged


def _status(record: Record) -> Status:
    state = "running"
    try:
        tag = installed(record)
        if tag is None:
            state = "not on its route: something else has replaced or removed it"
        elif tag != record.tag:
            state = f"not on its route: the route runs {tag}"
    except KernelError as error:
        state = f"not on its route: {error.message}"
    params: dict[str, str] = {}
    counters: Counters | None = None
    try:
        if record.manifest.params:
            from nfc.kernel.params import read_params

            with params_map(record) as opened:
                copy = read_params(opened)
            params = {p.field.name: settings.show(p, copy) for p in record.manifest.params}
        with stats_map(record) as opened:
            counters = read_counters(opened, record.manifest)
    except KernelError as error:
        if state == "running":
            state = f"its maps cannot be read: {error.message}"
    return Status(record, state, params, counters)
