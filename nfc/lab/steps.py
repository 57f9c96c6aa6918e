"""`nfc lab run`: a lab is made, its steps are done in turn, it is removed."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from nfc import signals
from nfc.errors import KernelError, NfcError, UsageError
from nfc.lab import load, records
from nfc.lab.file import Capture, Step, Topology
from nfc.lab.records import Record
from nfc.lab.standing import Say, change_link, environment, inside, make, remove, running
from nfc.packet import pcap
from nfc.syntax.diagnostics import nearest

_PORT: Final = 5201
_TIMEOUT: Final = 120.0  # seconds that a command may take, unless its step says another number
_MOST_OUTPUT: Final = 1 << 20
_MOST_SHOWN, _LINES = 4096, 10  # bytes and lines of a log


def run(
    topology: Topology, results: Path | None, only: tuple[str, ...], say: Say
) -> dict[str, Any]:
    """Make the lab, do its steps (`only` those of these names), and remove it: the results as
    JSON has them. Raises NfcError for the first step that fails, after removing the lab."""
    names = [step.name for step in topology.steps]
    for name in only:
        if name not in names:
            hint = nearest(name, names) or f"there are: {', '.join(names)}"
            raise UsageError(f"there is no step '{name}'", hint=hint)
    if results is None and topology.captures:
        results = Path(f"{topology.name}-results")
    if results is not None:
        try:
            results.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NfcError(f"cannot make {results}: {error.strerror}") from None
    found: list[dict[str, Any]] = []
    ended: list[str] = []
    with records.locked(topology.name), signals.unwinding():
        record = None
        try:
            record = records.phase(make(topology, say), "running")
            with _captures(topology, results):
                for step in topology.steps:
                    if not only or step.name in only:
                        say(f"\n{step.name}")
                        found.append({"step": step.name, **_do(step, topology, record, results)})
                        say("  " + found[-1]["text"].rstrip().replace("\n", "\n  "))
        finally:
            with signals.held():
                if record is not None:
                    ended = _look_after(record, results, say)
                remove(topology.name)
    say(f"\nremoved the lab '{topology.name}'")
    whole = {"ok": True, "name": topology.name, "steps": found, "ended": ended}
    if results is not None:
        (results / "results.json").write_text(json.dumps(whole, indent=2) + "\n")
    return whole


def _look_after(record: Record, results: Path | None, say: Say) -> list[str]:
    """Keep the logs of services with the results, and say of those that have ended by themselves
    how: for all else of them goes with the lab."""
    ended = []
    for service in record.processes:
        if service.name.startswith("wire-"):
            continue
        log = records.folder(record.name) / service.log
        with contextlib.suppress(OSError):
            if results is not None:
                shutil.copyfile(log, results / service.log)
        if not running(service):
            ended.append(service.name)
            say(f"\nservice {service.name} has ended by itself{_last_lines(log)}")
    return ended


def _last_lines(log: Path) -> str:
    with contextlib.suppress(OSError), log.open("rb") as source:
        source.seek(max(log.stat().st_size - _MOST_SHOWN, 0))
        lines = source.read(_MOST_SHOWN).decode(errors="replace").splitlines()[-_LINES:]
        if lines:
            return "\n  ".join(["; its last words:", *lines])
    return ", without a word"


def _do(step: Step, topology: Topology, record: Record, results: Path | None) -> dict[str, Any]:
    try:
        return _KINDS[step.kind](step.values, topology, record, results)
    except NfcError as error:
        error.message = f"step '{step.name}': {error.message}"
        error.args = (error.message,)
        raise


def _run(
    values: dict[str, Any], topology: Topology, record: Record, results: Path | None
) -> dict[str, Any]:
    more = {"RESULTS": str(results.resolve())} if results is not None else {}
    # Not by `ip netns exec`: that mounts another /sys, in which there are no pins.
    start = partial(inside, record.name, values["node"]) if "node" in values else _here
    process: subprocess.Popen[bytes] = start(
        subprocess.Popen,
        ["sh", "-c", values["run"]],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=topology.file.resolve().parent,
        env=environment(record) | more,
        start_new_session=True,
    )
    timeout = values.get("timeout", _TIMEOUT)
    try:
        out, _ = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        raise KernelError(f"`{values['run']}` took over {timeout:g} s") from None
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)  # and what it started
        process.wait()
    text = out[:_MOST_OUTPUT].decode(errors="replace")
    if process.returncode:
        raise NfcError(f"`{values['run']}` ended with {process.returncode}:\n{text.strip()}")
    return {"output": text, "text": text}


def _here(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return function(*args, **kwargs)


def _ping(values: dict[str, Any], _t: Topology, record: Record, _r: Path | None) -> dict[str, Any]:
    given = {key: values[key] for key in ("count", "rate", "size") if key in values}
    with inside(record.name, values["from"], load.echo_socket) as out:
        return _result(load.ping(out, values["to"], **given))


def _udp(values: dict[str, Any], _t: Topology, record: Record, _r: Path | None) -> dict[str, Any]:
    given = {key: values[key] for key in ("rate", "size", "seconds") if key in values}
    port = values.get("port", _PORT)
    with (
        inside(record.name, values["node"], load.datagram_socket, values["to"], port) as into,
        inside(record.name, values["from"], _socket, socket.SOCK_DGRAM) as out,
    ):
        return _result(load.datagrams(out, into, **given))


def _tcp(values: dict[str, Any], _t: Topology, record: Record, _r: Path | None) -> dict[str, Any]:
    count, port = values.get("connections", 1), values.get("port", _PORT)
    with inside(record.name, values["node"], load.listen, values["to"], port, count) as server:
        outs = [
            inside(record.name, values["from"], _socket, socket.SOCK_STREAM) for _ in range(count)
        ]
        return _result(load.streams(outs, server, seconds=values.get("seconds", 3.0)))


def _socket(kind: int) -> socket.socket:
    return socket.socket(socket.AF_INET6, kind)


def _set(values: dict[str, Any], _t: Topology, record: Record, _r: Path | None) -> dict[str, Any]:
    from nfc.deploy.settings import set_params

    netns = record.namespaces[values["node"]]
    set_params(values["function"], netns, values["set"])
    shown = "  ".join(f"{key}={value}" for key, value in values["set"].items())
    return {"text": f"{values['function']}: {shown}"}


def _link(values: dict[str, Any], _t: Topology, record: Record, _r: Path | None) -> dict[str, Any]:
    shape = {key: value for key, value in values.items() if key != "link"}
    change_link(record.name, values["link"], shape, shape)
    shown = ", ".join(f"{key} {_in_words(key, value)}" for key, value in shape.items())
    return {"text": f"{values['link']}: {shown}"}


def _in_words(key: str, value: Any) -> str:
    """A value of a link as a lab's file has it."""
    if key in ("delay", "jitter"):
        return f"{value / 1e6:g}ms"
    if key == "rate":
        return f"{value / 1e6:g}mbit"
    if key == "loss":
        return f"{value * 100:g}%"
    return str(value).lower()


def _wait(values: dict[str, Any], _t: Topology, _rec: Record, _r: Path | None) -> dict[str, Any]:
    time.sleep(values["seconds"])
    return {"text": f"{values['seconds']:g} s"}


def _result(result: load.Echoes | load.Datagrams | load.Streams) -> dict[str, Any]:
    return {**load.to_json(result), "text": str(result)}


_KINDS: Final[
    dict[str, Callable[[dict[str, Any], Topology, Record, Path | None], dict[str, Any]]]
] = {
    "run": _run,
    "ping": _ping,
    "udp": _udp,
    "tcp": _tcp,
    "set": _set,
    "link": _link,
    "wait": _wait,
}


# ---- captures ------------------------------------------------------------------------------------


@contextlib.contextmanager
def _captures(topology: Topology, results: Path | None) -> Iterator[None]:
    """Write what the interfaces see, both ways, while the block runs."""
    stop = threading.Event()
    threads = []
    with contextlib.ExitStack() as opened:
        for capture in topology.captures:
            assert results is not None
            sock = opened.enter_context(inside(topology.name, capture.node, _packets, capture))
            file = opened.enter_context((results / capture.file).open("wb"))
            writer = pcap.Writer(file, pcap.LINKTYPE_ETHERNET)
            thread = threading.Thread(target=_write, args=(sock, writer, stop), daemon=True)
            thread.start()
            threads.append(thread)
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join(5)


def _packets(capture: Capture) -> socket.socket:
    found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    found.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE
    found.setsockopt(socket.SOL_SOCKET, 35, 1)  # SO_TIMESTAMPNS
    found.bind((capture.interface, 3))  # ETH_P_ALL
    found.settimeout(0.1)
    return found


def _write(sock: socket.socket, writer: pcap.Writer, stop: threading.Event) -> None:
    while True:
        try:
            data, extra, _, _ = sock.recvmsg(65_600, 64)
        except TimeoutError:
            if stop.is_set():
                return
            continue
        except OSError:
            return
        writer.write(pcap.Record(load.arrival(extra), data, len(data), pcap.LINKTYPE_ETHERNET))
