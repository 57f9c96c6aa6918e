"""What a bond carries: TCP goodput with and without equalisation, WRR against DWRR.

    measure.py [--short] [--results DIR]

Makes the lab of bond.toml, measures, prints, and removes the lab. `--short` takes some 20 seconds
and one round of the least; the whole takes about five minutes. With --results, results.json and
goodput.svg go into DIR. Needs root. All links run through wires, so what is measured is TCP and
the bond, not this machine, as long as it has a CPU free for some ten thousand packets a second.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from nfc import signals
from nfc.deploy.deployments import Request, deploy
from nfc.deploy.settings import set_params
from nfc.deploy.status import read_status
from nfc.errors import NfcError
from nfc.lab import load, records, standing
from nfc.lab.file import read

HERE = Path(__file__).parent
SERVER = "fd00:20::2"
# A full segment of 1428 bytes is 1500 with its headers (IPv6 40, TCP 20, timestamps 12), 1564 in
# an outer header with an SRH of one segment, and 1578 as an Ethernet frame: what a link counts.
SHARE = 1428 / 1578
MEGA = 1_000_000


@contextmanager
def bonded(lab: str, rates: tuple[int, int], equalise: bool) -> Iterator[None]:
    """Both daemons, until the block ends; weights as the rates are."""
    with tempfile.TemporaryDirectory() as folder:
        running = []
        try:
            for side in ("cpe", "agg"):
                text = (HERE / f"{side}.toml").read_text()
                for name, rate in zip("ab", rates, strict=True):
                    text = text.replace(f'dev = "{name}"', f'dev = "{name}"\nweight = {rate}')
                config = Path(folder) / f"{side}.toml"
                config.write_text(f"equalise = {str(equalise).lower()}\n{text}")
                command = [sys.executable, "-m", "nfc", "bond", "run", str(config), "--json"]
                command += ["--netns", standing.namespace(lab, side)]
                with (Path(folder) / f"{side}.log").open("w") as log:
                    running.append(
                        standing.inside(lab, side, subprocess.Popen, command, stdout=log)
                    )
            for side in ("cpe", "agg"):
                _wait_for(Path(folder) / f"{side}.log", "hold" if equalise else "started")
            time.sleep(1.0)  # until what they go by is the median of a whole second
            yield
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(10)


def _wait_for(log: Path, event: str) -> None:
    deadline = time.monotonic() + 20
    while f'"event": "{event}"' not in log.read_text():
        if time.monotonic() > deadline:
            raise NfcError(f"the daemon did not get to '{event}':\n{log.read_text()}")
        time.sleep(0.05)


def shape(lab: str, rates: tuple[int, int]) -> None:
    """Give both links their rates."""
    for name, rate in zip("ab", rates, strict=True):
        standing.change_link(lab, name, {"rate": rate * MEGA}, {"rate": rate * MEGA})


def tcp(lab: str, connections: int, seconds: float) -> load.Streams:
    """From home to the server, after a second of warming up."""
    with standing.inside(lab, "s", load.listen, SERVER, 5201, connections) as server:
        outs = [
            standing.inside(lab, "h", socket.socket, socket.AF_INET6, socket.SOCK_STREAM)
            for _ in range(connections)
        ]
        return load.streams(outs, server, seconds=seconds, warm=1.0)


def goodputs(
    lab: str,
    rates: tuple[int, int],
    connections: tuple[int, ...],
    rounds: int,
    seconds: float,
) -> list[dict[str, Any]]:
    """One row for each number of connections, without and with equalisation."""
    shape(lab, rates)
    rows = []
    possible = sum(rates) * MEGA * SHARE
    for equalise in (False, True):
        with bonded(lab, rates, equalise):
            for count in connections:
                found = [tcp(lab, count, seconds) for _ in range(rounds)]
                shares = [one.goodput / possible for one in found]
                rows.append(
                    {
                        "rates": list(rates),
                        "equalised": equalise,
                        "connections": count,
                        "goodput_mbit": [round(one.goodput / MEGA, 2) for one in found],
                        "share": round(statistics.median(shares), 4),
                        "retransmitted": [one.retransmitted for one in found],
                    }
                )
                carried = ", ".join(f"{one.goodput / MEGA:.2f}" for one in found)
                print(
                    f"  {rates[0]} + {rates[1]} Mbit/s, {count} connections, "
                    f"{'equalised' if equalise else 'as it is'}: {rows[-1]['share']:.1%} of "
                    f"what is possible  ({carried} Mbit/s)",
                    flush=True,
                )
    return rows


def mixed(lab: str, function: str, seconds: float) -> dict[str, Any]:
    """Large and small datagrams in turn at 45 Mbit/s over two links of 30: what arrives."""
    deploy(
        Request(
            HERE / "bond.nf",
            "fd00:20::/64",
            "a",
            function=function,
            name="bond",
            via="fd00:1a::2",
            netns=standing.namespace(lab, "cpe"),
        )
    )
    set_params("bond", standing.namespace(lab, "cpe"), {"weight_a": "1", "weight_b": "1"})
    before, counted = _links(lab), _counted(lab)
    with (
        standing.inside(lab, "s", load.datagram_socket, SERVER, 5202) as into,
        standing.inside(lab, "h", socket.socket, socket.AF_INET6, socket.SOCK_DGRAM) as out,
    ):
        # On one CPU, that is, from one purse: else which link has the large ones would change
        # each time that the sender moves.
        allowed = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(allowed)})
        try:
            found = load.datagrams(out, into, rate=45e6, size=[1400, 100], seconds=seconds)
        finally:
            os.sched_setaffinity(0, allowed)
    after = _links(lab)
    carried = [y["bytes"] - x["bytes"] for x, y in zip(before, after, strict=True)]
    full = [y["overflowed"] - x["overflowed"] for x, y in zip(before, after, strict=True)]
    row = {
        "function": function,
        "sent": found.sent,
        "received": found.received,
        "queue_full": sum(full),
        "arrived": round(found.received / found.sent, 4),
        "share_a": round(carried[0] / sum(carried), 4),
        "counted": {name: count - counted[name] for name, count in _counted(lab).items()},
        "offered_mbit": round(found.sent_rate / MEGA, 1),
    }
    print(
        f"  {function}: {row['arrived']:.1%} arrive of 1400 and 100 bytes in turn at "
        f"{row['offered_mbit']:g} Mbit/s; link a carries {row['share_a']:.1%} of the bytes",
        flush=True,
    )
    return row


def _links(lab: str) -> list[dict[str, int]]:
    """What the wires of links a and b have done to frames from the CPE so far."""
    return [standing.status(lab)["links"][name]["there"] for name in "ab"]


def _counted(lab: str) -> dict[str, int]:
    """The function's own counters: bytes by link, as DWRR has shared them out."""
    [status] = read_status(["bond"], standing.namespace(lab, "cpe"))
    return dict(status.counters.named) if status.counters is not None else {}


def measure(name: str, short: bool) -> dict[str, Any]:
    """Everything, in a lab of that name."""
    topology = replace(read(HERE / "bond.toml"), name=name, services=())
    with records.locked(name), signals.unwinding():
        try:
            records.phase(standing.make(topology, lambda _: None), "running")
            rows = []
            if short:
                rows += goodputs(name, (50, 50), (1,), 1, 1.5)
            else:
                for rates in ((50, 50), (50, 30)):
                    rows += goodputs(name, rates, (1, 2, 4, 8), 3, 4.0)
            shape(name, (30, 30))
            sizes = [mixed(name, function, 1.0 if short else 3.0) for function in ("wrr", "dwrr")]
        finally:
            standing.remove(name)
    return {"goodput": rows, "mixed": sizes}


def picture(rows: list[dict[str, Any]]) -> str:
    """Bars of the goodput's share, as SVG for light and dark pages."""
    groups = list(dict.fromkeys((tuple(r["rates"]), r["connections"]) for r in rows))
    width, high, left, top = 92, 220, 60, 40
    total = left + width * len(groups) + 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {total} {top + high + 70}" '
        f'width="{total}" height="{top + high + 70}" role="img">',
        "<title>Goodput of a bond</title>",
        "<style>svg{font:13px system-ui,sans-serif;background:#fff}text{fill:#14202b}"
        ".a{fill:#b8c4d0}.b{fill:#0b6bcb}.l{stroke:#8a97a5}"
        "@media(prefers-color-scheme:dark){svg{background:#10161d}text{fill:#e8edf2}"
        ".a{fill:#55636f}.b{fill:#5aa9f5}.l{stroke:#6b7885}}</style>",
        f'<rect class="a" x="{left}" y="12" width="12" height="12"/>'
        f'<text x="{left + 18}" y="23">as it is</text>'
        f'<rect class="b" x="{left + 90}" y="12" width="12" height="12"/>'
        f'<text x="{left + 108}" y="23">equalised</text>',
    ]
    for percent in (0, 50, 100):
        y = top + high * (1 - percent / 100)
        parts.append(
            f'<line class="l" x1="{left}" x2="{total - 10}" y1="{y:g}" y2="{y:g}" '
            f'stroke-dasharray="2 4"/><text x="{left - 8}" y="{y + 4:g}" text-anchor="end">'
            f"{percent} %</text>"
        )
    for number, (rates, count) in enumerate(groups):
        x = left + number * width + 12
        for row in rows:
            if (tuple(row["rates"]), row["connections"]) == (rates, count):
                tall = high * row["share"]
                at = x + 34 * row["equalised"]
                parts.append(
                    f'<rect class="{"b" if row["equalised"] else "a"}" x="{at}" '
                    f'y="{top + high - tall:.1f}" width="30" height="{tall:.1f}"/>'
                    f'<text x="{at + 15}" y="{top + high - tall - 4:.1f}" font-size="10.5" '
                    f'text-anchor="middle">{100 * row["share"]:.0f}</text>'
                )
        middle = x + 32
        parts.append(
            f'<text x="{middle}" y="{top + high + 20}" text-anchor="middle">{count}</text>'
            f'<text x="{middle}" y="{top + high + 38}" text-anchor="middle" font-size="11">'
            f"{rates[0]} + {rates[1]}</text>"
        )
    parts.append(
        f'<text x="{left}" y="{top + high + 60}" font-size="11">TCP connections; Mbit/s of the '
        "links; goodput as a share of the possible, median of the rounds</text></svg>"
    )
    return "\n".join(parts) + "\n"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--short", action="store_true", help="one round of the least")
    parser.add_argument("--results", type=Path, metavar="DIR")
    parser.add_argument("--name", default="bond-measure", help="of the lab")
    asked = parser.parse_args()
    print("links with a round trip of 30 ± 5 and 5 ± 2 ms, through wires:", flush=True)
    try:
        found = measure(asked.name, asked.short)
    except NfcError as error:
        sys.exit(f"error: {error.message}")
    if asked.results is not None:
        asked.results.mkdir(parents=True, exist_ok=True)
        (asked.results / "results.json").write_text(json.dumps(found, indent=1) + "\n")
        (asked.results / "goodput.svg").write_text(picture(found["goodput"]))


if __name__ == "__main__":
    main()
