"""Which decoded pictures run together."""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from threading import Condition
from typing import Any

from strided.service.case import Case

_WORTH_IT = 0.95  # of the time for an image: a larger batch must save a twentieth


def quickest_batch(latency: Sequence[Mapping[str, Any]]) -> int:
    """The size of batch to wait for, by a manifest's table: images for the least CPU time.

    On one thread. A larger one counts only if it is clearly quicker, since it makes images wait.
    """
    rows = sorted((row["batch"], row["cpu_ms"]) for row in latency if row["threads"] == 1)
    best, least = 1, float("inf")
    for size, milliseconds in rows:
        if milliseconds < _WORTH_IT * least:
            best, least = size, milliseconds
    return best


class Batches:
    """Decoded pictures of one model. Its threads take them, the first come first."""

    def __init__(self, most: int, window: float) -> None:
        self._most = most
        self._window = window  # seconds from when the first of a batch was decoded
        self._waiting: deque[Case] = deque()
        self._coming = 0  # pictures that are still to be decoded
        self._changed = Condition()
        self._closed = False

    def expect(self, count: int) -> None:
        """Know of pictures that are on their way here."""
        with self._changed:
            self._coming += count

    def put(self, case: Case) -> None:
        """Add a decoded picture."""
        with self._changed:
            self._coming -= 1
            self._waiting.append(case)
            self._changed.notify()

    def drop(self) -> None:
        """Expect a picture less: it could not be decoded."""
        with self._changed:
            self._coming -= 1
            self._changed.notify_all()

    def close(self) -> None:
        """Let each thread that takes batches end, once nothing waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> list[Case] | None:
        """The next batch; waits for one. None: there will be no more."""
        with self._changed:
            while True:
                while not self._waiting:
                    if self._closed:
                        return None
                    self._changed.wait()
                if (left := self._time_left()) <= 0:
                    count = min(self._most, len(self._waiting))
                    return [self._waiting.popleft() for _ in range(count)]
                self._changed.wait(left)

    def _time_left(self) -> float:
        """Seconds to wait for more: none once a batch is full, or if nothing else is coming."""
        if len(self._waiting) >= self._most or not self._coming:
            return 0.0
        return self._waiting[0].ready + self._window - time.monotonic()
