"""The upper bound of speed here: the network alone, on one batch that is on the device already."""

from collections.abc import Generator
from itertools import count
from typing import Any

import torch
from lightning.pytorch.plugins.precision import Precision
from torch import Tensor, nn

from strided.training.losses import add_auxiliary
from strided.training.task import ClassificationTask


def training_loss(model: nn.Module, criterion: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Loss of a batch as in `ClassificationTask.training_step`, auxiliary heads included."""
    return add_auxiliary(criterion(model(images), labels), model, criterion, labels)


def resident_batch(
    task: ClassificationTask, batch_size: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Noise of the network's input (B, C, S, S), float32 in its memory format, and labels (B,)."""
    shape = (batch_size, task.preprocessing.channels, *[task.preprocessing.image_size] * 2)
    images = torch.randn(shape, device=device).to(memory_format=task.memory_format)
    return images, torch.arange(batch_size, device=device) % len(task.classes)


def bare_training(
    task: ClassificationTask,
    precision: Precision,
    batch_size: int,
    device: torch.device,
    every: int = 1,
) -> Generator[int, None, None]:
    """Forward, loss, backward and optimizer step of the task's network, and nothing else.

    A step comes after every `every` batches, as with trainer.accumulate_grad_batches.
    """
    task = task.to(device).train()
    task = precision.convert_module(task)  # type: ignore[assignment]  # returns what it is given
    optimizer = task.build_optimizer()
    scaler: Any = getattr(precision, "scaler", None)  # of 16-mixed
    images, labels = resident_batch(task, batch_size, device)
    images = precision.convert_input(images)
    for number in count(1):
        with precision.train_step_context():
            loss = training_loss(task.model, task.criterion, images, labels) / every
        if number % every == 1 % every:
            optimizer.zero_grad()
        (loss if scaler is None else scaler.scale(loss)).backward()
        if number % every == 0 and scaler is None:
            optimizer.step()
        elif number % every == 0:
            scaler.step(optimizer)
            scaler.update()
        yield batch_size


def bare_inference(
    task: ClassificationTask, batch_size: int, device: torch.device
) -> Generator[int, None, None]:
    """Forward in evaluation mode, and nothing else."""
    task = task.to(device).eval()
    images, _ = resident_batch(task, batch_size, device)
    while True:
        with torch.inference_mode():
            task.model(images)
        yield batch_size
