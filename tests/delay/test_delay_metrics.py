"""The server of a collector's metrics: what it answers, and whom it bears with."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from nfc.delay.collector import Collector
from nfc.delay.config import Config
from nfc.delay.metrics import MOST_CONNECTIONS, Server
from nfc.delay.paths import Named
from nfc.delay.wire import Message, Report
from nfc.errors import KernelError

SURE_S = 60


@pytest.fixture(params=["::1", "127.0.0.1"])
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Of a collector that has heard one delay of 1 s, on a path with an awkward name."""
    host = request.param
    config = Config(listen=("::1", 0), paths=(Named('a "b" \\ c', 1),))
    report = Report(Message(1, 10**9, 2 * 10**9, response=True, control=1, response_format=3))
    with Collector(config) as collector:
        collector.paths.take(report, "fd00::1", 5.0)
        server = Server(collector, (host, 0))
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{server.port}/metrics"
        finally:
            server.close()


def scraped(url: str) -> str:
    with urllib.request.urlopen(url, timeout=SURE_S) as answer:
        return str(answer.read(1 << 20), "utf-8")


def test_it_is_read_as_prometheus_does(url: str) -> None:
    families = {family.name: family for family in text_string_to_metric_families(scraped(url))}
    delays = families["nfc_delay_seconds"]
    assert delays.type == "histogram"
    (total,) = (s for s in delays.samples if s.name == "nfc_delay_seconds_sum")
    assert (total.labels["path"], total.value) == ('a "b" \\ c', 1.0)
    buckets = {s.labels["le"]: s.value for s in delays.samples if s.name.endswith("_bucket")}
    assert (buckets["0.5"], buckets["2.0"], buckets["+Inf"]) == (0, 1, 1)


def test_other_methods_are_refused(url: str) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(urllib.request.Request(url, b"x"), timeout=SURE_S)
    assert refused.value.code == 405


def test_connections_that_say_nothing_take_no_more_than_their_share(url: str) -> None:
    host, port = url.removeprefix("http://").removesuffix("/metrics").rsplit(":", 1)
    where = host.strip("[]"), int(port)
    before = len(os.listdir("/proc/self/fd"))
    count = 2 * MOST_CONNECTIONS
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(socket.create_connection(where, SURE_S))
        # Each takes one here, and those that are served one more.
        until(lambda: len(os.listdir("/proc/self/fd")) - before <= count + MOST_CONNECTIONS)
        assert len(os.listdir("/proc/self/fd")) - before > count
    until(lambda: answers(url))
    assert "nfc_delay_seconds_sum" in scraped(url)


def answers(url: str) -> bool:
    try:
        return bool(scraped(url))
    except OSError:  # they are not yet all gone
        return False


def until(true: Callable[[], bool]) -> None:
    """Wait until that is so."""
    deadline = time.monotonic() + SURE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_where_it_cannot_listen() -> None:
    with Collector(Config(listen=("::1", 0))) as collector:
        for host in ("fd00:77::1", "192.0.2.1"):
            with pytest.raises(KernelError, match="cannot serve metrics on port 9739"):
                Server(collector, (host, 9739))
