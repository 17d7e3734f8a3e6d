"""The most arithmetic this machine does: its fastest matrix product, in training's precision."""

import time

import torch

from strided.system.devices import float32_products, synchronise

_SIDES = {"cpu": (512, 1024, 2048), "cuda": (2048, 4096, 8192)}  # of square matrices
_TYPES = {"bf16": torch.bfloat16, "16": torch.float16}  # by the beginning of trainer.precision


def peak_flops(
    precision: str, matmul_precision: str | None, threads: int, device: torch.device, seconds: float
) -> float:
    """Multiply square matrices of a few sizes for about `seconds`; return the best FLOPs a second.

    A multiply-add is two. `threads` are torch's on a CPU.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    dtype = _TYPES.get(precision.partition("-")[0], torch.float32)
    sides = _SIDES.get(device.type, _SIDES["cuda"])
    try:
        with torch.inference_mode(), float32_products(matmul_precision, device):
            return max(_product(side, dtype, device, seconds / len(sides)) for side in sides)
    finally:
        torch.set_num_threads(before)


def _product(side: int, dtype: torch.dtype, device: torch.device, seconds: float) -> float:
    """FLOPs a second of the fastest of several products: others wait for something else."""
    one, two = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    best, end, count = float("inf"), time.perf_counter() + seconds, 0
    while count < 3 or time.perf_counter() < end:
        synchronise(device)
        start = time.perf_counter()
        one @ two
        synchronise(device)
        best, count = min(best, time.perf_counter() - start), count + 1
    return 2 * side**3 / best
