"""A training step never makes the program wait for a GPU. Shown without one: see pretend_gpu."""

import json
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from tests.pretend_gpu import CUDA, PretendGpu, is_there
from torch.nn.utils import clip_grad

from strided.data.pixels import pipeline
from strided.evaluation.classifier import Classifier
from strided.evaluation.held_out import set_up_data
from strided.evaluation.outputs import outputs_of
from strided.training import fit
from strided.training.task import ClassificationTask

pytestmark = pytest.mark.usefixtures("blank_figures")

BATCHES = 5


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Of a fit on a GPU: a line for each wait in a step, except the first and the last."""
    pretended = PretendGpu()
    stage, step = fit.fit_stage, ClassificationTask.training_step

    def stage_there(*args: Any) -> None:
        with pretended:
            stage(*args)

    def counted_step(task: ClassificationTask, batch: Any, index: int) -> torch.Tensor:
        assert is_there(batch[0]) and is_there(batch[1]) and task.device == CUDA
        if index == 1:
            pretended.waits.clear()
        elif index == BATCHES - 1:
            found[:] = pretended.waits
        return step(task, batch, index)

    found = ["the steps were not taken"]
    state = torch.get_rng_state
    monkeypatch.setattr(fit, "fit_stage", stage_there)
    monkeypatch.setattr(fit, "watching_gpu", lambda *_: nullcontext())
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (2**30, 2**30))
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
        ["data.resident=false"],
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
    folder = run_train(*WORDS, *words)
    assert waits == []
    execution = json.loads((folder / "results.json").read_text())["execution"]
    assert execution["resident"] is ("data.resident=false" not in words)


def test_no_batch_of_an_evaluation_waits(
    trained_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretended = PretendGpu()
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda *_: pretended.waits.append("the end"))
    monkeypatch.setattr(pipeline, "read_ahead", map)
    with pretended:
        classifier = Classifier.load(trained_run, device="cuda")
        data = set_up_data(classifier, None)
        pretended.waits.clear()
        logits, labels = outputs_of(classifier, data, "test", data.splits["test"])
        assert pretended.waits == ["the end"] and not is_there(logits)
    on_cpu = outputs_of(
        Classifier.load(trained_run, device="cpu"), data, "test", data.splits["test"]
    )
    assert torch.equal(labels, on_cpu[1]) and torch.allclose(logits, on_cpu[0], atol=1e-4)


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
