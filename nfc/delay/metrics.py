"""A collector's figures for Prometheus, over HTTP."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any, Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector as Source
from prometheus_client.registry import CollectorRegistry

from nfc.delay.histogram import Histogram
from nfc.errors import KernelError

if TYPE_CHECKING:
    from nfc.delay.collector import Collector

MOST_CONNECTIONS: Final = 32
PATIENCE_S: Final = 10  # with a client that says nothing
# Upper bounds in microseconds: 1, 2, 5, 10, … up to 10 s.
BOUNDS_US: Final = (*(m * 10**e for e in range(7) for m in (1, 2, 5)), 10**7)


def cumulative(delays: Histogram) -> list[tuple[str, float]]:
    """How many delays are at most so many seconds; a bucket counts where its middle is."""
    rows: list[tuple[str, float]] = []
    found = list(delays.buckets())
    at, below = 0, 0
    for bound in BOUNDS_US:
        while at < len(found) and found[at][0] + found[at][1] <= 2 * bound * 1000:
            below += found[at][2]
            at += 1
        rows.append((repr(bound / 1e6), below))
    return [*rows, ("+Inf", delays.count)]


class _Figures(Source):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def collect(self) -> Iterable[Metric]:
        """Everything there is, as it is now."""
        labels = ["path", "session", "source", "sid", "traffic_class"]
        delay = HistogramMetricFamily("nfc_delay_seconds", "One-way delay, by path.", labels=labels)
        errors = CounterMetricFamily(
            "nfc_delay_errors", "Responses that tell of an error.", labels=[*labels, "reason"]
        )
        offset = GaugeMetricFamily(
            "nfc_delay_clock_offset_seconds",
            "How far the far clock is ahead, taken off the delays.",
            labels=labels,
        )
        bound = GaugeMetricFamily(
            "nfc_delay_clock_bound_seconds", "How far that may be off.", labels=labels
        )
        last = GaugeMetricFamily(
            "nfc_delay_last_report_timestamp_seconds", "When the last report came.", labels=labels
        )
        collector, now = self._collector, time.time()
        with collector.lock:
            for path in collector.paths.all.values():
                key = path.key
                names = [path.name, str(key.session), key.source, key.sid, str(key.traffic_class)]
                delay.add_metric(names, cumulative(path.delays), path.delays.total / 1e9)
                last.add_metric(names, path.last)
                for why, count in path.errors.items():
                    errors.add_metric([*names, why], count)
                if path.clock is not None and path.clock.offset is not None:
                    offset.add_metric(names, path.clock.offset / 1e9)
                    bound.add_metric(names, (path.clock.bound(now) or 0) / 1e9)
            counts = collector.counts
            reports = CounterMetricFamily(
                "nfc_delay_reports", "Datagrams, by what became of them.", labels=["result"]
            )
            for name, value in (
                ("taken", counts.taken),
                ("malformed", counts.malformed),
                ("refused", counts.refused),
                ("no_room", collector.paths.turned_away),
            ):
                reports.add_metric([name], value)
        yield from (reports, delay, errors, offset, bound, last)


def text(collector: Collector) -> str:
    """What Prometheus would read now."""
    from prometheus_client import generate_latest

    return generate_latest(_registry(collector)).decode()


def _registry(collector: Collector) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(collector))
    return registry


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE_S  # of each read and write

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Listener(ThreadingMixIn, WSGIServer):
    """So many connections at once, and the rest are closed: those that say nothing must not take
    the descriptors that the collector needs for its file."""

    daemon_threads = True
    request_queue_size = MOST_CONNECTIONS

    def __init__(self, where: tuple[str, int]) -> None:
        self.address_family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
        self._free = threading.Semaphore(MOST_CONNECTIONS)
        super().__init__(where, _Handler)

    def server_bind(self) -> None:
        """Bind, without asking a name server what this machine is called."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away, or was silent for too long."""


class Server:
    """Answers at http://ADDRESS:PORT/metrics from when it is made until `close`."""

    def __init__(self, collector: Collector, where: tuple[str, int]) -> None:
        """Listen in the namespace of this thread. Raises KernelError where it cannot."""
        try:
            self._server = _Listener(where)
        except OSError as error:
            raise KernelError(
                f"cannot serve metrics on port {where[1]}: {error.strerror}",
                errno=error.errno or 0,
            ) from None
        self._server.set_app(make_wsgi_app(_registry(collector)))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port, which is another where 0 was asked for."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
