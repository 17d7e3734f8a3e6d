"""Images per second of anything that works in batches, and its peak memory."""

import time
from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import torch

from strided.system.devices import synchronise

LEAST_BATCHES = 3  # timed at least, however slow they are


def images_per_second(
    batches: Generator[int, None, None], seconds: float, device: torch.device
) -> float:
    """Time an endless generator that does a batch at each `next` and yields its images.

    It runs for about `seconds`, after a warm-up of a fifth of that; then it is closed.
    """
    with closing(batches):
        _run(batches, seconds / 5, device)
        images, elapsed = _run(batches, seconds, device)
    return images / elapsed


def _run(
    batches: Generator[int, None, None], seconds: float, device: torch.device
) -> tuple[int, float]:
    synchronise(device)
    start, images, count = time.perf_counter(), 0, 0
    while count < LEAST_BATCHES or time.perf_counter() - start < seconds:
        images += next(batches)
        count += 1
    synchronise(device)
    return images, time.perf_counter() - start


class PeakMemory:
    """The most bytes in use from here on: torch's on a GPU, else this process's RAM."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._known = True
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")  # restarts VmHWM: proc(5)
        except OSError:
            self._known = False

    def bytes(self) -> int | None:
        """Peak bytes; None if the system does not tell."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if not self._known:
            return None
        lines = Path("/proc/self/status").read_text().splitlines()
        peaks = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
        return peaks[0] if peaks else None
