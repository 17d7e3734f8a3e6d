"""The average of the weights: what it is, where it is used, what a checkpoint keeps of it."""

import csv
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn

from strided.cli import main
from strided.evaluation.classifier import Classifier
from strided.runs.folder import read_results
from strided.training.callbacks.ema import EMA

pytestmark = pytest.mark.usefixtures("blank_figures")

TRUST = f"trust=[{__name__.partition('.')[0]}]"
WORDS = ("data.train_fraction=0.3", "optimizer.lr=0.01", "trainer.max_epochs=2")


class Recording(pl.Callback):
    """Keeps the raw weights after each step, and those that validation saw."""

    steps: ClassVar[list[dict[str, Tensor]]] = []
    validated: ClassVar[list[dict[str, Tensor]]] = []

    def on_fit_start(self, *_: Any) -> None:
        self.steps.clear()
        self.validated.clear()

    def on_train_batch_end(self, trainer: pl.Trainer, task: Any, *_: Any) -> None:
        self.steps.append(copied(task))

    def on_validation_batch_end(self, trainer: pl.Trainer, task: Any, *_: Any) -> None:
        self.validated.append(copied(task))


def copied(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def saved(folder: Path, name: str = "last.ckpt") -> dict[str, Any]:
    return dict(torch.load(folder / "checkpoints" / name, weights_only=True))


def same(one: dict[str, Tensor], two: dict[str, Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


def test_the_average_is_that_of_its_formula_and_what_validation_and_checkpoints_hold(
    run_train: Callable[..., Path],
) -> None:
    recording = [TRUST, f"+callbacks.recording._target_={__name__}.Recording"]
    folder = run_train(*WORDS, "callbacks.ema.decay=0.7", *recording)
    steps = Recording.steps
    assert len(steps) > 10
    average = steps[0]
    for count, raw in enumerate(steps[1:], start=1):
        decay = min(0.7, (1 + count) / (10 + count))
        average = {name: decay * average[name] + (1 - decay) * raw[name] for name in raw}
    checkpoint = saved(folder)
    for name, tensor in checkpoint["state_dict"].items():
        torch.testing.assert_close(tensor, average[name])
    assert same(checkpoint["current_model_state"], steps[-1])
    assert not same(checkpoint["state_dict"], steps[-1])
    assert same(Recording.validated[-1], checkpoint["state_dict"])


def test_the_average_changes_what_is_measured_and_not_how_the_run_goes(
    run_train: Callable[..., Path], tmp_path: Path
) -> None:
    averaged, plain = run_train(*WORDS, "callbacks.ema.decay=0.9"), run_train(*WORDS)
    one, two = saved(averaged), saved(plain)
    assert same(one["current_model_state"], two["state_dict"])
    texts = [(folder / "metrics.csv").read_text() for folder in (averaged, plain)]
    rows = [list(csv.DictReader(text.splitlines())) for text in texts]
    for with_average, without in zip(*rows, strict=True):
        assert with_average["train/loss"] == without["train/loss"]
        assert with_average["val/loss"] != without["val/loss"]
    # what eval measures is what was validated
    words = ["eval", f"checkpoint={averaged}", "split=val", f"log_dir={tmp_path / 'eval'}"]
    assert main(words) == 0
    (measured,) = (tmp_path / "eval").glob("eval/*/*")
    best_epoch = read_results(averaged)["best_epoch"]
    assert best_epoch is not None
    best = rows[0][best_epoch]
    assert read_results(measured)["val/loss"] == pytest.approx(float(best["val/loss"]), rel=1e-5)
    loaded = Classifier.load(averaged).task.state_dict()
    assert same(dict(loaded), saved(averaged, "best.ckpt")["state_dict"])


def test_auxiliary_heads_and_batch_statistics_are_averaged(run_train: Callable[..., Path]) -> None:
    folder = run_train(
        "model=googlenet",
        "data=synthetic",
        "data.batch_size=4",
        "callbacks.ema.decay=0.5",
        "trainer.limit_train_batches=3",
        "trainer.limit_val_batches=1",
        "trainer.limit_test_batches=0",
    )
    checkpoint = saved(folder)
    raw, average = checkpoint["current_model_state"], checkpoint["state_dict"]
    for name in ("conv1.bn.running_mean", "conv1.conv.weight", "aux1.fc2.weight", "fc.weight"):
        assert not torch.equal(raw[f"model.{name}"], average[f"model.{name}"])
    assert average["model.conv1.bn.num_batches_tracked"].item() == 3


def test_all_weights_move_at_once_as_they_would_one_by_one() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4, 5, 5), (7,), (), (2, 3)]
    averages = [torch.zeros(shape) for shape in shapes]
    expected, ema = [average.clone() for average in averages], EMA(decay=0.95)
    for count in range(300):
        weights = [torch.randn(shape, generator=generator) for shape in shapes]
        ema._move(averages, weights, count)
        decay = min(0.95, (1 + count) / (10 + count))
        for average, weight in zip(expected, weights, strict=True):
            average.lerp_(weight, 1 - decay if count else 1)
        assert all(map(torch.equal, averages, expected))


class OneWeight(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))


def test_a_batch_that_only_adds_up_gradients_is_no_step_of_a_later_stage() -> None:
    place = SimpleNamespace(root_device=torch.device("cpu"))
    trainer: Any = SimpleNamespace(precision="32-true", strategy=place, global_step=16)
    task, ema = OneWeight(), EMA(decay=0.9)
    ema.setup(trainer, task, "fit")
    ema.on_train_start(trainer, task)
    ema.on_train_batch_end(trainer, task)
    nn.init.constant_(task.weight, 3.0)
    trainer.global_step = 17
    ema.on_train_batch_end(trainer, task)
    assert ema._average_model is not None
    assert ema._average_model.module.weight.item() == 3.0  # type: ignore[operator]


def test_indices_among_the_buffers_stay_whole() -> None:
    average, index = torch.zeros(3), torch.tensor([7, 200, 3000])
    ema = EMA(decay=0.999)
    for count in range(1, 2000, 100):
        ema._move([average, index], [torch.ones(3), index.clone()], count)
    assert index.tolist() == [7, 200, 3000] and (average > 0.8).all()
