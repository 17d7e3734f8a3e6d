"""The precision that a trained network is evaluated in: by default, that of its training."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import get_args

import torch

from strided.config.keys import InferencePrecision
from strided.errors import UserError

# Lightning's names of training; true ones round the weights too, which a checkpoint then holds
_MIXED: dict[str, InferencePrecision] = {
    "bf16-mixed": "bf16-mixed",
    "bf16-true": "bf16-mixed",
    "16-mixed": "16-mixed",
    "16-true": "16-mixed",
}
_TYPES = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def inference_precision(
    asked: InferencePrecision | None, trained: str, device: torch.device
) -> InferencePrecision:
    """Return what was asked for; None: as in training on a GPU, float32 on a CPU.

    A CPU without units for bfloat16 is slower in it, and its results are less exact. Raises
    UserError for what the device does not compute.
    """
    if asked is None:
        return "32-true" if device.type == "cpu" else _MIXED.get(trained, "32-true")
    names = get_args(InferencePrecision)
    if asked not in names:
        raise UserError(
            f"precision={asked}; expected null or one of {', '.join(names)}. Try precision=32-true"
        )
    if asked == "16-mixed" and device.type == "cpu":
        raise UserError(
            "precision=16-mixed on a CPU; expected a GPU, which multiplies float16. Try "
            "precision=32-true"
        )
    return asked


@contextmanager
def evaluating_in(precision: InferencePrecision, device: torch.device) -> Iterator[None]:
    """Compute a forward pass in this precision, the same to the bit in each process of a machine.

    cuDNN chooses algorithms by rule. In a process that has trained, it would choose the ones that
    were fastest in a trial, so that eval and the run's own test could round differently.
    """
    cudnn = torch.backends.cudnn
    before = cudnn.benchmark, cudnn.deterministic
    cudnn.benchmark, cudnn.deterministic = False, True
    kind = _TYPES.get(precision)
    try:
        with torch.autocast(device.type, kind) if kind else nullcontext():
            yield
    finally:
        cudnn.benchmark, cudnn.deterministic = before
