"""A training step never makes the program wait for a GPU. Shown without one: see pretend_gpu."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from tests.pretend_gpu import CUDA, PretendGpu, is_there
from torch.nn.utils import clip_grad

from strided.data.pixels import pipeline
from strided.training.task import ClassificationTask

pytestmark = pytest.mark.usefixtures("blank_figures")

BATCHES = 5


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of Trainer.fit, on a GPU: a line for each wait in a step, except the first and the last."""
    pretended = PretendGpu()
    fit, step = pl.Trainer.fit, ClassificationTask.training_step

    def fit_there(*args: Any, **options: Any) -> None:
        with pretended:
            fit(*args, **options)

    def counted_step(task: ClassificationTask, batch: Any, index: int) -> torch.Tensor:
        assert is_there(batch[0]) and is_there(batch[1]) and task.device == CUDA
        if index == 1:
            pretended.waits.clear()
        elif index == BATCHES - 1:
            found[:] = pretended.waits
        return step(task, batch, index)

    found = ["the steps were not taken"]
    state = torch.get_rng_state
    monkeypatch.setattr(pl.Trainer, "fit", fit_there)
    monkeypatch.setattr(ClassificationTask, "training_step", counted_step)
    monkeypatch.setattr(SingleDeviceStrategy, "root_device", CUDA)
    monkeypatch.setattr(CPUAccelerator, "setup_device", lambda *_: None)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: pretended.waits.append("last batch"))
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda *_: state())
    grouped = clip_grad._group_tensors_by_device_and_dtype  # asks below Python
    monkeypatch.setattr(
        clip_grad,
        "_group_tensors_by_device_and_dtype",
        lambda lists: {(CUDA, kind): own for (_, kind), own in grouped(lists).items()},
    )
    monkeypatch.setattr(pipeline, "read_ahead", map)  # the mode is of this thread
    return found


WORDS = (
    f"trainer.limit_train_batches={BATCHES}",
    "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=0",
    "data.batch_size=16",
)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["augment=strong", "callbacks.ema.decay=0.9", "optimizer=sgd", "scheduler=one_cycle"],
        ["augment=mixup", "trainer.gradient_clip_val=1", "loss=focal", "model=lenet5_original"],
        [
            "augment=resized_crop",
            "augment.rand_augment_ops=2",
            "model=resnet_cifar",
            "model.depth=8",
        ],
    ],
    ids=lambda words: " ".join(words) or "default",
)
def test_no_step_waits(run_train: Callable[..., Path], waits: list[str], words: list[str]) -> None:
    run_train(*WORDS, *words)
    assert waits == []


def test_cudnn_searches_for_full_batches_only(
    run_train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    searches: list[tuple[int, bool]] = []
    step = ClassificationTask.training_step

    def noted(task: ClassificationTask, batch: Any, index: int) -> torch.Tensor:
        searches.append((len(batch[1]), torch.backends.cudnn.benchmark))
        return step(task, batch, index)

    monkeypatch.setattr(ClassificationTask, "training_step", noted)
    run_train("data.batch_size=400", "trainer.limit_test_batches=0", "trainer.max_epochs=2")
    assert searches == [(400, True), (400, False), (350, False)] + [(400, False)] * 2 + [
        (350, False)
    ]
