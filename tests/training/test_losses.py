from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from strided.errors import UserError
from strided.runs.folder import read_results
from strided.training.loading import load_task
from strided.training.losses import (
    CrossEntropy,
    FocalLoss,
    balanced,
    build_loss,
    try_loss,
    weight_tensor,
)

pytestmark = pytest.mark.usefixtures("blank_figures")

CLASSES = ["cat", "dog", "7"]
WEIGHTS = {"cat": 2.0, "7": 0.5}
LOGITS = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1, 2, 2])


def by_hand(weights: list[float], gamma: float = 0.0) -> float:
    """The mean over images of -w (1 - p)^gamma log p, p being that of the label."""
    p = LOGITS.softmax(1)[range(10), LABELS]
    return float((-torch.tensor(weights)[LABELS] * (1 - p) ** gamma * p.log()).mean())


def test_each_class_counts_as_its_weight_says() -> None:
    loss = CrossEntropy(CLASSES, WEIGHTS)(LOGITS, LABELS)
    assert loss.item() == pytest.approx(by_hand([2.0, 1.0, 0.5]))
    focal = FocalLoss(CLASSES, WEIGHTS, gamma=1.5)(LOGITS, LABELS)
    assert focal.item() == pytest.approx(by_hand([2.0, 1.0, 0.5], 1.5))


def test_a_loss_of_each_image_is_refused() -> None:
    node = {"_target_": "torch.nn.CrossEntropyLoss", "reduction": "none"}
    with pytest.raises(UserError, match=r"gave \(2,\) in place of one number.*Try other values"):
        try_loss(node, CLASSES, soft_labels=False)


def test_without_weights_all_classes_count_alike() -> None:
    assert torch.equal(CrossEntropy(CLASSES)(LOGITS, LABELS), F.cross_entropy(LOGITS, LABELS))
    focal = FocalLoss(CLASSES)(LOGITS, LABELS)
    assert focal.item() == pytest.approx(by_hand([1.0, 1.0, 1.0], 2.0))


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_focal_loss_without_focus_is_cross_entropy(weights: dict[str, float] | None) -> None:
    focal = FocalLoss(CLASSES, weights, gamma=0.0)(LOGITS, LABELS)
    torch.testing.assert_close(focal, CrossEntropy(CLASSES, weights)(LOGITS, LABELS))


LOSSES = [
    CrossEntropy(CLASSES, WEIGHTS),
    CrossEntropy(CLASSES, WEIGHTS, label_smoothing=0.2),
    FocalLoss(CLASSES, WEIGHTS),
]


@pytest.mark.parametrize("criterion", LOSSES)
def test_the_loss_of_an_epoch_does_not_depend_on_its_batches(criterion: nn.Module) -> None:
    whole = criterion(LOGITS, LABELS)
    for cut in ([5, 5], [3, 4, 3], [1] * 10):
        parts = zip(LOGITS.split(cut), LABELS.split(cut), strict=True)
        mean = sum(criterion(logits, labels) * len(labels) for logits, labels in parts) / 10
        torch.testing.assert_close(mean, whole)


@pytest.mark.parametrize("criterion", LOSSES)
def test_certain_probabilities_are_as_good_as_labels(criterion: nn.Module) -> None:
    certain = F.one_hot(LABELS, 3).float()
    torch.testing.assert_close(criterion(LOGITS, certain), criterion(LOGITS, LABELS))


@pytest.mark.parametrize("criterion", [LOSSES[0], LOSSES[2]])
def test_mixed_labels_mix_the_losses(criterion: nn.Module) -> None:
    other = LABELS.roll(1)
    mixed = 0.3 * F.one_hot(LABELS, 3) + 0.7 * F.one_hot(other, 3)
    expected = 0.3 * criterion(LOGITS, LABELS) + 0.7 * criterion(LOGITS, other)
    torch.testing.assert_close(criterion(LOGITS, mixed), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0, 2.0])
def test_the_slope_of_focal_loss_is_finite_however_certain_the_network_is(gamma: float) -> None:
    logits = torch.tensor([[300.0, -300.0, 0.0], [0.0, 0.0, 30.0]], requires_grad=True)
    FocalLoss(CLASSES, gamma=gamma)(logits, torch.tensor([0, 2])).backward()
    assert logits.grad is not None and torch.isfinite(logits.grad).all()


def test_weights_stand_in_the_order_of_the_classes_whatever_yaml_made_of_their_names() -> None:
    weights = weight_tensor(CLASSES, {7: 3, "dog": 0.5})  # type: ignore[dict-item]
    assert isinstance(weights, Tensor) and weights.tolist() == [1.0, 0.5, 3.0]
    assert "weight" not in CrossEntropy(CLASSES, WEIGHTS).state_dict()


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"cta": 2.0}, "names cta.*Did you mean cat?"),
        ({"cat": -1.0}, "loss.class_weights.cat=-1.0; expected.*0 or more"),
        ({"cat": float("inf")}, "cat=inf"),
        ({"cat": "high"}, "cat=high; expected a number"),
    ],
)
def test_impossible_weights_are_refused(weights: dict[str, float], words: str) -> None:
    with pytest.raises(UserError, match=words):
        CrossEntropy(CLASSES, weights)


def test_a_focus_below_zero_is_refused() -> None:
    with pytest.raises(UserError, match=r"loss.gamma=-1.0; expected 0 or more. Try loss.gamma=2"):
        FocalLoss(CLASSES, gamma=-1.0)


def test_auto_makes_every_class_weigh_the_same() -> None:
    from sklearn.utils.class_weight import compute_class_weight

    labels = LABELS.numpy()
    weights = balanced({"class_weights": "auto"}, CLASSES, labels)["class_weights"]
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert list(weights) == CLASSES and list(weights.values()) == pytest.approx(expected)
    assert weights["cat"] * 5 == pytest.approx(weights["dog"] * 3)
    given = {"class_weights": WEIGHTS}
    assert balanced(given, CLASSES, labels) == given


def test_a_loss_of_torch_needs_no_classes() -> None:
    node = {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.1}
    assert isinstance(build_loss(node, CLASSES), nn.CrossEntropyLoss)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal"])
def test_a_run_resolves_auto_and_reports_it(loss: str, run_train: Callable[..., Path]) -> None:
    folder = run_train(
        f"loss={loss}", "loss.class_weights=auto", "data.train_fraction=0.1", "augment.mixup=0.2"
    )
    results = read_results(folder)
    weights = results["class_weights"]
    assert list(weights) == results["classes"] and len(set(weights.values())) > 1
    assert sum(weights.values()) / 10 == pytest.approx(1, abs=0.1)
    task = load_task(folder / "checkpoints" / "best.ckpt")
    assert task.hparams["loss"]["class_weights"] == pytest.approx(weights)
    assert "class weights: 0 " in (folder / "run.log").read_text()


def test_a_run_measures_the_weighted_loss_of_each_split(
    run_train: Callable[..., Path], tmp_path: Path
) -> None:
    from strided.cli import main

    folder = run_train("loss.class_weights={3: 5.0, 4: 0}")
    best = read_results(folder)
    words = ["eval", f"checkpoint={folder}", "split=val", f"log_dir={tmp_path / 'eval'}"]
    assert main(words) == 0
    (measured,) = (tmp_path / "eval").glob("eval/*/*")
    rows = (folder / "metrics.csv").read_text().splitlines()
    row = dict(zip(rows[0].split(","), rows[1].split(","), strict=True))
    assert read_results(measured)["val/loss"] == pytest.approx(float(row["val/loss"]), rel=1e-5)
    assert best["class_weights"]["3"] == 5.0 and best["class_weights"]["4"] == 0.0


def test_weights_that_leave_no_loss_are_refused() -> None:
    with pytest.raises(UserError, match="makes every loss 0.*Try"):
        weight_tensor(CLASSES, dict.fromkeys(CLASSES, 0.0))
