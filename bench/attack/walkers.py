"""Well-behaved clients: they walk like people, one key after the other, and note how long each frame took."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from ...viewer.client.client import Client, ConnectionLostError, ServerError
from ...viewer.wire.encoding import Look
from ...world.action import parse_action

KEYS = [parse_action(text) for text in ("move forward", "turn left", "move forward", "turn right", "strafe left")]
TRIES = 5
FRAMES_PER_S = 30.0  # nobody presses keys faster


@dataclass(frozen=True)
class Seen:
    """A frame that came: when, on the monotonic clock, after how many milliseconds from its key, and its index."""

    at: float
    ms: float
    index: int


class Walker(threading.Thread):
    """Walks until it is told to stop, and waits while a server is gone. failure: the error that ended it early, if
    any."""

    def __init__(self, address: str, *, seed: int = 3, per_s: float = FRAMES_PER_S):
        super().__init__(name=f"walker-{seed}", daemon=True)
        self.seen: list[Seen] = []
        self.failure: Exception | None = None
        self._pause_s, self._ending = 1 / per_s, threading.Event()
        self._client = Client(address, timeout_s=300.0)
        self.session = self._opened(seed)
        self.first = self._client.next_frame(self.session).head.index

    def _opened(self, seed: int) -> str:
        """A walk; asked for again if the connection was silent for seconds, as on a busy machine, or if others at
        this address have just opened as many as allowed."""
        for _ in range(TRIES - 1):
            try:
                return self._client.open(seed=seed, look=Look("jpeg"))
            except ConnectionLostError:
                continue
            except ServerError as error:
                if error.code != "limit":
                    raise
                time.sleep(1)
        return self._client.open(seed=seed, look=Look("jpeg"))

    def __enter__(self) -> Walker:
        self.start()
        return self

    def __exit__(self, *_error) -> None:
        self.stop()

    def run(self) -> None:
        try:
            while not self._ending.is_set():
                began = time.monotonic()
                received = self._client.step(self.session, KEYS[len(self.seen) % len(KEYS)], timeout_s=300.0)
                now = time.monotonic()
                self.seen.append(Seen(now, (now - began) * 1000, received.head.index))
                self._ending.wait(began + self._pause_s - now)
        except Exception as error:  # readers of the figures must know that they end here
            self.failure = error

    def stop(self) -> None:
        self._ending.set()
        self.join(30)
        if not self.failure and not self.is_alive():
            self._client.end(self.session)
        self._client.close()

    def wait_for(self, frames: int, *, within_s: float = 300.0) -> None:
        """Until so many frames have come in all. Raises TimeoutError, or what ended the walk."""
        end = time.monotonic() + within_s
        while len(self.seen) < frames:
            if self.failure:
                raise self.failure
            if time.monotonic() > end:
                raise TimeoutError(f"{len(self.seen)} of {frames} frames within {within_s:g} s")
            time.sleep(0.02)

    def latencies(self, since: float, until: float) -> list[float]:
        """Milliseconds of the frames that came between two times; a frame that is still awaited counts as it stands."""
        inside = [seen.ms for seen in self.seen if since <= seen.at < until]
        last = max([seen.at for seen in self.seen if seen.at < until], default=since)
        waited = (until - max(last, since)) * 1000
        return [*inside, waited] if waited > max(inside, default=0.0) else inside

    def rate(self, since: float, until: float) -> float:
        """Frames a second between two times."""
        return sum(since <= seen.at < until for seen in self.seen) / max(until - since, 1e-9)


def percentile(values: list[float], percent: float) -> float:
    """The smallest value that so many percent do not pass; not a number where there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))] if ordered else float("nan")
