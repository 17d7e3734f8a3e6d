"""What training takes of a GPU: memory at the peak, and how busy it is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from strided.runs.results import Results

SECONDS = 1.0  # between two looks at the GPU; each takes well under a millisecond


@contextmanager
def watching_gpu(device: torch.device, results: Results) -> Iterator[None]:
    """Add what the block takes of an NVIDIA GPU to the results, also if it fails: see `GpuUse`."""
    if device.type != "cuda":
        yield
        return
    torch.cuda.init()  # or there are no counts to reset
    torch.cuda.reset_peak_memory_stats(device)
    samples: list[int] = []
    over = threading.Event()
    watch = threading.Thread(target=_sample, args=(device, samples, over), daemon=True)
    watch.start()
    try:
        yield
    finally:
        over.set()
        watch.join()
        results["gpu_use"] = {
            "peak_allocated_bytes": torch.cuda.max_memory_allocated(device),
            "peak_reserved_bytes": torch.cuda.max_memory_reserved(device),
            "utilisation": sum(samples) / len(samples) / 100 if samples else None,
        }


def _sample(device: torch.device, samples: list[int], over: threading.Event) -> None:
    """Add the utilisation in percent every second until `over`, or until it cannot be read."""
    while not over.wait(SECONDS):
        try:
            samples.append(torch.cuda.utilization(device))
        except Exception:  # nvidia-ml-py is missing, or its library fails with errors of its own
            return
