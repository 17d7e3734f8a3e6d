"""How training computes: switches that change its speed, chosen and recorded."""

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from inspect import signature
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.profilers import PassThroughProfiler

from strided.config.keys import Config
from strided.config.targets import locate
from strided.errors import UserError
from strided.system.devices import float32_products, tf32_convolutions
from strided.training.task import ClassificationTask

log = logging.getLogger(__name__)

# makes Lightning's CPU runs ask the driver's library at every optimizer step if there is a GPU
_DRIVER_CHECK = "PYTORCH_NVML_BASED_CUDA_CHECK"


class NoProfiler(PassThroughProfiler):
    """A profiler that costs nothing: Lightning opens some forty sections a step for it."""

    _section = nullcontext("")

    def profile(self, action_name: str) -> Any:  # a context manager, as in the base class
        """Time nothing."""
        return self._section


def with_fused_step(optimizer: Mapping[str, Any], trainer: Mapping[str, Any]) -> dict[str, Any]:
    """The optimizer's config with torch's fused step switched on, if it has one.

    The fused step passes over the weights once instead of five or more times, which saves a sixth
    of a step of LeNet-5. It is left out if `fused` or another implementation was typed, and where
    Lightning would refuse it (see `_clips_in_mixed_precision`).
    """
    known = signature(locate(optimizer["_target_"], "optimizer")).parameters
    others = [key for key in ("foreach", "capturable", "differentiable") if optimizer.get(key)]
    if "fused" not in known or "fused" in optimizer or others:
        return dict(optimizer)
    if _clips_in_mixed_precision(trainer):
        log.info("optimizer steps are not fused: gradients are clipped in mixed precision")
        return dict(optimizer)
    return {**optimizer, "fused": True}


def refuse_fused_clipping(config: Config) -> None:
    """Raise UserError if a fused step was typed where Lightning cannot clip its gradients."""
    trainer = config["trainer"]
    if config["optimizer"].get("fused") and _clips_in_mixed_precision(trainer):
        raise UserError(
            f"optimizer.fused=true with trainer.gradient_clip_val={trainer['gradient_clip_val']} "
            f"and trainer.precision={trainer['precision']}; expected only two of them, since "
            "Lightning does not clip for a fused step in mixed precision. Try optimizer.fused=false"
        )


def _clips_in_mixed_precision(trainer: Mapping[str, Any]) -> bool:
    """Tell whether gradients are clipped under AMP, float16 or bfloat16.

    A fused step divides by the loss's scale itself, after the place where Lightning clips. So
    Lightning refuses such optimizers there, also with bfloat16, which has no scale.
    """
    mixed = str(trainer.get("precision")) in ("16", "16-mixed", "bf16", "bf16-mixed")
    return mixed and (trainer.get("gradient_clip_val") or 0) > 0


@contextmanager
def execution_switches(
    config: Config, task: ClassificationTask, trainer: pl.Trainer, macs_of_batch: int
) -> Iterator[dict[str, Any]]:
    """Apply the config's switches inside the block; yields the switches."""
    device = trainer.strategy.root_device
    exact = str(trainer.precision) == "32-true" and macs_of_batch >= SMALL_BATCH
    if exact and _multiplies_bf16(device):
        log.info("this machine multiplies bfloat16: trainer.precision=bf16-mixed may be faster")
    with (
        float32_products(config["matmul_precision"], device),
        without_driver_check(device),
        worthwhile_threads(device, macs_of_batch),
    ):
        yield _switches(config, task, trainer)


@contextmanager
def without_driver_check(device: torch.device) -> Iterator[None]:
    """Make optimizer steps on a CPU as fast as in a process that has not imported Lightning."""
    check = None if device.type == "cuda" else os.environ.pop(_DRIVER_CHECK, None)
    try:
        yield
    finally:
        if check is not None:
            os.environ[_DRIVER_CHECK] = check


def _switches(config: Config, task: ClassificationTask, trainer: pl.Trainer) -> dict[str, Any]:
    device = trainer.strategy.root_device.type
    return {
        "device": device,
        "precision": str(trainer.precision),
        "channels_last": task.hparams["channels_last"],
        "compile": config["compile"],
        "fused_optimizer": bool(task.hparams["optimizer"].get("fused")),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "tf32_convolutions": device == "cuda" and tf32_convolutions(),
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }


def _multiplies_bf16(device: torch.device) -> bool:
    """Tell whether the device has units for products of bfloat16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = torch.cpu.get_capabilities()
    return device.type == "cpu" and any(known.get(unit) for unit in ("amx_bf16", "avx512_bf16"))


SMALL_BATCH = 100_000_000  # multiply-adds of a forward batch; LeNet-5's 64 images are 27 million


@contextmanager
def worthwhile_threads(device: torch.device, macs_of_batch: int) -> Iterator[None]:
    """On a CPU, train a small network with one thread.

    Its layers take microseconds. More threads gain next to nothing, and they wait for each other
    many times a step whenever something else runs on a core.
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and macs_of_batch < SMALL_BATCH:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
