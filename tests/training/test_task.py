import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from strided import compose
from strided.data import Preprocessing, Synthetic
from strided.errors import UserError
from strided.training.epoch_meter import EpochMeter
from strided.training.task import ClassificationTask

CLASSES = ["a", "b", "c"]


def make_task(*overrides: str, size: int = 8) -> ClassificationTask:
    """A task for 3 classes of colour images, from the config that the command line would give."""
    config = compose("train", ["data=synthetic", "model=mlp", *overrides])
    nodes: Any = {key: config[key] for key in ("model", "loss", "optimizer", "scheduler", "data")}
    preprocessing = Preprocessing(3, size, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    return ClassificationTask(classes=CLASSES, preprocessing=preprocessing.asdict(), **nodes)


class Watcher(pl.Callback):
    """Notes what Lightning computes: loss and labels of each batch, and learning rates."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.labels: list[Tensor] = []
        self.rates: list[float] = []
        self.rate_of_epoch: list[float] = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, task: Any, outputs: Any, batch: Any, index: int
    ) -> None:
        self.losses.append(outputs["loss"].item())
        self.labels.append(batch[1])
        self.rates.append(task.learning_rate)

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Any) -> None:
        self.rate_of_epoch.append(task.learning_rate)


def fitted(task: ClassificationTask, size: int = 8, **options: Any) -> tuple[Watcher, pl.Trainer]:
    """Fit on generated stripes: 6 batches of 8 images an epoch."""
    data = Synthetic(
        num_images=68, num_classes=3, side=size, batch_size=8, val_fraction=0.15, test_fraction=0.15
    )
    data.use(task.preprocessing)
    watcher = Watcher()
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        callbacks=[watcher],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        **options,
    )
    trainer.fit(task, data)
    return watcher, trainer


def test_a_task_is_rebuilt_by_its_checkpoint_alone(trained_run: Path) -> None:
    file = trained_run / "checkpoints" / "best.ckpt"
    task = ClassificationTask.load_from_checkpoint(file)
    state = torch.load(file, weights_only=True)["state_dict"]
    assert task.classes == [str(digit) for digit in range(10)]
    assert task.state_dict().keys() == state.keys()
    assert all(torch.equal(value, state[key]) for key, value in task.state_dict().items())
    assert task.preprocessing.mean is not None
    size = task.preprocessing.image_size
    assert task(torch.zeros(2, task.preprocessing.channels, size, size)).shape == (2, 10)


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in [*leaves(key), *leaves(item)]]
    if isinstance(value, list | tuple):
        return [leaf for item in value for leaf in leaves(item)]
    return [value]


def test_a_checkpoint_holds_plain_data_only(trained_run: Path) -> None:
    checkpoint = torch.load(trained_run / "checkpoints" / "last.ckpt", weights_only=True)
    assert {type(leaf) for leaf in leaves(checkpoint)} <= {
        dict, list, str, int, float, bool, type(None), Tensor,
    }  # fmt: skip
    hyperparameters = leaves(checkpoint["hyper_parameters"])
    assert {type(leaf) for leaf in hyperparameters} <= {str, int, float, bool, type(None)}


def test_norms_and_biases_are_not_decayed() -> None:
    task = make_task("model=resnet18", "optimizer=sgd", "optimizer.weight_decay=0.01", size=32)
    _, trainer = fitted(task, size=32, max_epochs=1, limit_train_batches=1, limit_val_batches=1)
    decay = {
        id(parameter): group["weight_decay"]
        for group in trainer.optimizers[0].param_groups
        for parameter in group["params"]
    }
    for module in task.model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            spared = name == "bias" or isinstance(module, nn.BatchNorm2d)
            assert decay.pop(id(parameter)) == (0.0 if spared else 0.01), (module, name)
    assert not decay


def test_an_optimizer_of_ones_own_drops_the_gradients_its_way() -> None:
    class Keeping(torch.optim.SGD):
        def zero_grad(self, set_to_none: bool = True) -> None:
            super().zero_grad(set_to_none=False)

    task, weight = make_task("model=mlp", size=8), nn.Parameter(torch.ones(2))
    for optimizer in (Keeping([weight]), torch.optim.SGD([weight])):
        weight.grad = torch.ones(2)
        task.optimizer_zero_grad(0, 0, optimizer)
        kept = isinstance(optimizer, Keeping)
        assert (weight.grad.tolist() == [0, 0]) if kept else (weight.grad is None)


def test_auxiliary_losses_count_in_training_only() -> None:
    task = make_task("model=googlenet", size=64)
    logits: list[Tensor] = []
    auxiliary: list[tuple[Tensor, ...]] = []

    def keep(module: Any, _: Any, output: Tensor) -> None:
        logits.append(output.detach())
        auxiliary.append(tuple(tensor.detach() for tensor in module.auxiliary_logits))

    task.model.register_forward_hook(keep)
    watcher, trainer = fitted(
        task, size=64, max_epochs=1, limit_train_batches=1, limit_val_batches=1
    )
    labels = watcher.labels[0]
    main = F.cross_entropy(logits[0], labels).item()
    others = [F.cross_entropy(head, labels).item() for head in auxiliary[0]]
    assert len(others) == 2
    assert watcher.losses == pytest.approx([main + 0.3 * sum(others)], abs=1e-5)
    # the epoch's own number leaves them out, so that it can be compared with validation
    assert trainer.callback_metrics["train/loss"].item() == pytest.approx(main, abs=1e-5)
    assert auxiliary[1] == ()  # validation
    assert trainer.callback_metrics["val/loss"].item() == pytest.approx(
        task.meters["val"].compute()["loss"]
    )


def batches() -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randn(size, 3, generator=generator), torch.randint(3, (size,), generator=generator))
        for size in (8, 8, 3)  # a short last batch: images count, not batches
    ]


def test_an_epoch_meter_is_the_mean_over_images() -> None:
    meter = EpochMeter()
    for logits, labels in batches():
        meter.update(F.cross_entropy(logits, labels), logits, labels)
    logits, labels = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    assert meter.compute() == {
        "loss": pytest.approx(F.cross_entropy(logits, labels).item(), abs=1e-6),
        "acc": pytest.approx((logits.argmax(1) == labels).float().mean().item(), abs=1e-6),
    }


def test_an_epoch_meter_goes_on_from_its_state() -> None:
    whole, first, second = EpochMeter(), EpochMeter(), EpochMeter()
    for index, (logits, labels) in enumerate(batches()):
        whole.update(F.cross_entropy(logits, labels), logits, labels)
        if index == 2:
            second.load_state_dict(first.state_dict())
        part = second if index == 2 else first
        part.update(F.cross_entropy(logits, labels), logits, labels)
    assert second.compute() == whole.compute()
    assert {type(value) for value in first.state_dict().values()} == {float, int}


def test_an_epoch_meter_counts_every_batch_of_many() -> None:
    meter, right = EpochMeter(), torch.eye(4)
    for index in range(70):
        meter.update(torch.tensor(0.5), right, torch.arange(4) if index % 2 else torch.zeros(4))
    assert meter.compute() == {"loss": 0.5, "acc": (35 * 4 + 35) / 280}


def test_an_epoch_meter_starts_again_after_reset() -> None:
    meter = EpochMeter()
    (logits, labels), *_ = batches()
    meter.update(torch.tensor(5.0), logits, labels)
    meter.reset()
    meter.update(torch.tensor(1.0), logits, labels)
    assert meter.compute()["loss"] == 1.0


def test_a_constant_rate_stays() -> None:
    watcher, _ = fitted(make_task("scheduler=constant", "optimizer.lr=0.02"), max_epochs=2)
    assert watcher.rates == [0.02] * 12


def test_cosine_rises_to_the_peak_and_ends_at_the_final_fraction() -> None:
    task = make_task(
        "scheduler=cosine",
        "scheduler.warmup_fraction=0.25",
        "scheduler.final_fraction=0.1",
        "optimizer.lr=1.0",
    )
    watcher, trainer = fitted(task, max_epochs=4)  # 24 steps, 6 of warm-up
    rates = watcher.rates
    assert rates[:7] == pytest.approx([1 / 7, 2 / 7, 3 / 7, 4 / 7, 5 / 7, 6 / 7, 1.0])
    assert rates[15] == pytest.approx(0.55)  # half way down from 1 to 0.1
    assert rates[6:] == sorted(rates[6:], reverse=True)
    assert rates[-1] == pytest.approx(0.1 + 0.45 * (1 + math.cos(math.pi * 17 / 18)))
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.1)


def test_cosine_without_warm_up_starts_at_the_peak() -> None:
    task = make_task("scheduler=cosine", "scheduler.warmup_fraction=0", "optimizer.lr=0.5")
    watcher, trainer = fitted(task, max_epochs=1)
    assert watcher.rates[0] == 0.5
    assert trainer.optimizers[0].param_groups[0]["lr"] == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, 2.0])
def test_a_warm_up_that_leaves_no_descent_is_refused(fraction: float) -> None:
    with pytest.raises(UserError, match="scheduler.warmup_fraction=0.05"):
        fitted(make_task("scheduler=cosine", f"scheduler.warmup_fraction={fraction}"), max_epochs=1)


def test_one_cycle_goes_up_and_down_once_over_the_run() -> None:
    task = make_task("scheduler=one_cycle", "scheduler.pct_start=0.5", "optimizer.lr=0.1")
    watcher, _ = fitted(task, max_epochs=4)
    rates = watcher.rates
    assert len(rates) == 24
    assert rates[0] == pytest.approx(0.1 / 25) and rates[-1] == pytest.approx(0.1 / 25e4)
    top = rates.index(max(rates))
    assert rates[top] == pytest.approx(0.1) and top == 11
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@pytest.mark.parametrize("monitor", ["val/loss", "train/loss"])
def test_plateau_lowers_the_rate_after_its_patience(monitor: str) -> None:
    task = make_task(
        "scheduler=plateau",
        f"scheduler.monitor={monitor}",
        "scheduler.patience=1",
        "scheduler.factor=0.5",
        "scheduler.threshold=0.99",  # nothing but the first epoch counts as better
        "optimizer.lr=8e-6",
    )
    watcher, _ = fitted(task, max_epochs=6)
    assert watcher.rate_of_epoch == pytest.approx([8e-6, 8e-6, 8e-6, 4e-6, 4e-6, 2e-6])


def test_any_schedule_of_torch_counts_in_epochs() -> None:
    task = make_task(
        "scheduler._target_=torch.optim.lr_scheduler.StepLR",
        "~scheduler.factor",
        "~scheduler.total_iters",
        "+scheduler.step_size=2",
        "+scheduler.gamma=0.1",
        "optimizer.lr=0.1",
    )
    watcher, _ = fitted(task, max_epochs=3)
    assert watcher.rate_of_epoch == pytest.approx([0.1, 0.1, 0.01])


def test_label_smoothing_reaches_the_loss() -> None:
    task = make_task("loss.label_smoothing=0.3")
    logits, labels = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    log_probabilities = logits.log_softmax(1)[0]
    expected = -0.7 * log_probabilities[0] - 0.3 * log_probabilities.mean()
    assert task.criterion(logits, labels).item() == pytest.approx(expected.item())
