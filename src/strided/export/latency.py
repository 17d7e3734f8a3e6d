"""What an answer costs on this machine: a table of batches and threads."""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

from strided.serving.bundle import open_session, run_session
from strided.system.machine import cores

BATCHES = (1, 2, 4, 8, 16)
_SECONDS = 0.3  # for each cell, after a first run
_MOST_RUNS = 20


def latency(
    model: bytes,
    picture: np.ndarray,
    names: list[str],
    opened: Callable[[bytes, int], Any] = open_session,
) -> list[dict[str, Any]]:
    """Milliseconds an image of `names`, for one picture (C, S, S) repeated: a row for each cell.

    wall_ms is the median of the runs, cpu_ms the mean over all cores. `opened` opens a session of
    so many threads.
    """
    rows = []
    for threads in sorted({1, cores()}):
        session = opened(model, threads)
        for batch in BATCHES:
            pixels = np.repeat(picture[None], batch, axis=0)
            rows.append({"batch": batch, "threads": threads, **_timed(session, pixels, names)})
    return rows


def _timed(session: Any, pixels: np.ndarray, names: list[str]) -> dict[str, Any]:
    run_session(session, pixels, names)  # allocates
    walls: list[float] = []
    cpu, begun = time.process_time(), time.perf_counter()
    while not walls or (len(walls) < _MOST_RUNS and time.perf_counter() - begun < _SECONDS):
        start = time.perf_counter()
        run_session(session, pixels, names)
        walls.append(time.perf_counter() - start)
    cpu = (time.process_time() - cpu) / len(walls)
    each = 1000 / len(pixels)
    return {"wall_ms": round(median(walls) * each, 4), "cpu_ms": round(cpu * each, 4)}
