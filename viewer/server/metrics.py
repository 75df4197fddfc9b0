"""The counters of a server as text that Prometheus reads, and a small HTTP server that shows it.

Counters are written by one thread and read by any.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REQUEST_S = 5.0
MAX_REQUESTS = 16  # at a time
BUCKETS_MS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)


@dataclass
class Histogram:
    """How many values were at most each bound of BUCKETS_MS, and the last 512 values, for percentiles."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_MS) + 1))
    total: float = 0.0
    recent: deque[float] = field(default_factory=lambda: deque(maxlen=512))

    def add(self, value: float) -> None:
        self.counts[sum(value > bound for bound in BUCKETS_MS)] += 1
        self.total += value
        self.recent.append(value)

    def percentile(self, percent: float) -> float:
        values = sorted(self.recent)
        return values[min(len(values) - 1, int(len(values) * percent / 100))] if values else 0.0


@dataclass
class Metrics:
    """Everything counted since the server began."""

    began: float = field(default_factory=time.monotonic)
    steps: int = 0
    frames_sent: int = 0
    frames_skipped: int = 0
    bytes_sent: int = 0
    messages: int = 0
    errors: int = 0
    refused: int = 0
    cut: int = 0  # connections
    step_ms: Histogram = field(default_factory=Histogram)
    queue_ms: Histogram = field(default_factory=Histogram)
    encode_ms: Histogram = field(default_factory=Histogram)
    together: Histogram = field(default_factory=Histogram)  # steps that began at the same time

    def text(self, **gauges: float) -> str:
        """All metrics in Prometheus' text format. gauges: values that only the server knows, such as sessions=3."""
        lines = []
        for name in ("steps", "frames_sent", "frames_skipped", "bytes_sent", "messages", "errors", "refused", "cut"):
            lines += [f"# TYPE roam_{name}_total counter", f"roam_{name}_total {getattr(self, name)}"]
        for name, value in gauges.items():
            lines += [f"# TYPE roam_{name} gauge", f"roam_{name} {value}"]
        for name in ("step_ms", "queue_ms", "encode_ms", "together"):
            lines += _histogram_lines(f"roam_{name}", getattr(self, name))
        return "\n".join(lines) + "\n"


def _histogram_lines(name: str, histogram: Histogram) -> list[str]:
    lines, seen = [f"# TYPE {name} histogram"], 0
    for bound, count in zip((*BUCKETS_MS, "+Inf"), list(histogram.counts), strict=True):
        seen += count
        lines.append(f'{name}_bucket{{le="{bound}"}} {seen}')
    return [*lines, f"{name}_sum {histogram.total}", f"{name}_count {seen}"]


class MetricsError(ValueError):
    """The port of the metrics is taken or not allowed."""


class _Http(ThreadingHTTPServer):
    """An HTTP server with a thread for each request, and at most MAX_REQUESTS at a time."""

    def __init__(self, *arguments):
        self._room = threading.BoundedSemaphore(MAX_REQUESTS)
        super().__init__(*arguments)

    def process_request(self, request, client_address):
        if self._room.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request, client_address):
        """Do nothing: a scraper that disconnects is not worth a line in the log."""


class MetricsPage:
    """Serves `render()` at http://host:port/metrics from a thread of its own; port 0 takes a free one."""

    def __init__(self, render: Callable[[], str], *, host: str = "127.0.0.1", port: int = 0):
        class Handler(BaseHTTPRequestHandler):
            timeout = REQUEST_S  # of a connection that sends nothing

            def do_GET(self):
                is_known = self.path == "/metrics"
                body = render().encode() if is_known else b"see /metrics\n"
                self.send_response(200 if is_known else 404)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments):
                """Do nothing: a scrape is not worth a line in the log."""

        if not 0 <= port <= 65535:
            raise MetricsError(f"port {port} for the metrics; wanted 0 to 65535")
        try:
            self._http = _Http((host, port), Handler)
        except OSError as error:
            raise MetricsError(f"the metrics cannot be on port {port} ({error.strerror}); name another") from error
        self._http.daemon_threads = True
        self.url = f"http://{host}:{self._http.server_address[1]}/metrics"
        self._thread = threading.Thread(target=self._http.serve_forever, name="roam-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()
