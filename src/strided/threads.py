"""How much arithmetic a network is, and how many threads of a CPU that is worth."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from strided.models.macs import count_macs
from strided.task import ClassificationTask

SMALL_BATCH = 100_000_000  # multiply-adds of a batch, forward; LeNet-5's 64 images are 27 million


def multiply_adds(task: ClassificationTask, features: tuple[int, ...] | None = None) -> int:
    """Count the multiply-adds of a forward pass of one image.

    Or of what comes after the frozen layers, whose output for an image has the shape `features`.
    """
    shape = features or (task.preprocessing.channels, *[task.preprocessing.image_size] * 2)
    task.eval()
    macs = count_macs(task, torch.zeros(1, *shape, device=task.device))
    task.train()
    return macs


@contextmanager
def worthwhile_threads(device: torch.device, macs_of_batch: int) -> Iterator[None]:
    """On a CPU, train a small network with one thread.

    Its layers take microseconds: more threads gain next to nothing, and wait for each other, many
    times a step, for as long as anything else runs on a core.
    """
    before = torch.get_num_threads()
    if device.type == "cpu" and macs_of_batch < SMALL_BATCH:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
