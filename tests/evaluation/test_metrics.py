import json
import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from strided.decision.calibration import ece
from strided.evaluation.intervals import wilson_interval
from strided.evaluation.metrics import classification_metrics, confusion_matrix
from strided.system.durable import write_json

Sample = tuple[torch.Tensor, torch.Tensor, list[str]]


def sample(num_classes: int, present: list[int], seed: int = 0, count: int = 400) -> Sample:
    """Random probabilities that know something of their labels, which come from `present` only."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(present, count)
    logits = generator.normal(size=(count, num_classes)) + 1.5 * np.eye(num_classes)[labels]
    probabilities = torch.tensor(logits, dtype=torch.float32).softmax(1)
    return probabilities, torch.tensor(labels), [f"class {k}" for k in range(num_classes)]


def of_each_class(values: dict[str, float | None], name: str, classes: list[str]) -> list[float]:
    return [math.nan if (v := values[f"{name}/{label}"]) is None else v for label in classes]


def specificities(labels: torch.Tensor, predicted: torch.Tensor, num_classes: int) -> list[float]:
    each = sk.multilabel_confusion_matrix(labels, predicted, labels=range(num_classes))
    return [table[0, 0] / table[0].sum() for table in each]


def negative_values(labels: torch.Tensor, predicted: torch.Tensor, classes: int) -> list[float]:
    """The precision of the answer "not this class"."""
    others = [(labels != k, predicted != k) for k in range(classes)]
    return [sk.precision_score(*pair, zero_division=0) for pair in others]


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_every_metric_is_that_of_sklearn(num_classes: int) -> None:
    probabilities, labels, classes = sample(num_classes, list(range(num_classes)))
    predicted = probabilities.argmax(1)
    one_hot = np.eye(num_classes)[labels]
    exact = probabilities.double() / probabilities.double().sum(1, keepdim=True)
    values = classification_metrics(probabilities, labels, classes)

    expected = {
        "acc": sk.accuracy_score(labels, predicted),
        "precision": sk.precision_score(labels, predicted, average="macro"),
        "recall": sk.recall_score(labels, predicted, average="macro"),
        "f1": sk.f1_score(labels, predicted, average="macro"),
        "specificity": np.mean(specificities(labels, predicted, num_classes)),
        "balanced_acc": sk.balanced_accuracy_score(labels, predicted),
        "npv": np.mean(negative_values(labels, predicted, num_classes)),
        "auroc": np.mean(sk.roc_auc_score(one_hot, probabilities, average=None)),
        "auprc": sk.average_precision_score(one_hot, probabilities, average="macro"),
        "nll": sk.log_loss(labels, exact),
        "brier": np.square(probabilities.numpy() - one_hot).sum(1).mean() / 2,
    }
    for name, value in expected.items():
        assert values[name] == pytest.approx(value, abs=1e-6), name


def test_metrics_of_each_class_are_those_of_sklearn() -> None:
    probabilities, labels, classes = sample(4, [0, 1, 2, 3])
    predicted = probabilities.argmax(1)
    values = classification_metrics(probabilities, labels, classes)

    expected = {
        "precision": sk.precision_score(labels, predicted, average=None),
        "recall": sk.recall_score(labels, predicted, average=None),
        "f1": sk.f1_score(labels, predicted, average=None),
        "specificity": specificities(labels, predicted, 4),
        "npv": negative_values(labels, predicted, 4),
        "auroc": sk.roc_auc_score(np.eye(4)[labels], probabilities, average=None),
        "auprc": sk.average_precision_score(np.eye(4)[labels], probabilities, average=None),
    }
    for name, each in expected.items():
        assert of_each_class(values, name, classes) == pytest.approx(list(each), abs=1e-6), name


def test_a_class_without_images_is_null_and_left_out_of_the_averages() -> None:
    present = [0, 1, 3]
    probabilities, labels, classes = sample(5, present)
    predicted = probabilities.argmax(1)
    assert {2, 4} <= set(predicted.tolist())  # predicted, though never right
    values = classification_metrics(probabilities, labels, classes)

    for name in ("recall", "f1", "npv", "auroc", "auprc"):
        assert [values[f"{name}/{classes[k]}"] for k in (2, 4)] == [None, None], name
    averaged = {"labels": present, "average": "macro"}
    assert values["recall"] == pytest.approx(sk.recall_score(labels, predicted, **averaged))
    assert values["f1"] == pytest.approx(sk.f1_score(labels, predicted, **averaged))
    assert values["balanced_acc"] == values["recall"]
    aurocs = [sk.roc_auc_score(labels == k, probabilities[:, k]) for k in present]
    assert values["auroc"] == pytest.approx(np.mean(aurocs), abs=1e-6)


def test_a_class_that_is_never_predicted_has_precision_zero() -> None:
    probabilities = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    values = classification_metrics(probabilities, torch.tensor([0, 0, 1]), ["a", "b"])
    assert (values["precision/a"], values["precision/b"]) == (pytest.approx(2 / 3), 0.0)
    assert values["f1/b"] == 0.0


def test_one_class_alone_has_no_auroc_and_no_specificity() -> None:
    values = classification_metrics(torch.tensor([[0.9, 0.1]]), torch.tensor([0]), ["a", "b"])
    assert values["auroc"] is None and values["specificity/a"] is None and values["acc"] == 1.0


def test_top5_accuracy_is_that_of_sklearn_and_needs_more_than_five_classes() -> None:
    probabilities, labels, classes = sample(10, list(range(10)))
    values = classification_metrics(probabilities, labels, classes)
    assert values["acc_top5"] == pytest.approx(sk.top_k_accuracy_score(labels, probabilities, k=5))
    assert "acc_top5" not in classification_metrics(*sample(5, [0, 1, 2, 3, 4]))


def test_confusion_has_true_classes_in_rows() -> None:
    probabilities, labels, _ = sample(4, [0, 1, 3])
    predicted = probabilities.argmax(1)
    expected = sk.confusion_matrix(labels, predicted, labels=range(4))
    assert confusion_matrix(predicted, labels, 4).tolist() == expected.tolist()


def test_a_probability_of_zero_for_the_label_gives_a_finite_nll() -> None:
    values = classification_metrics(torch.tensor([[1.0, 0.0]]), torch.tensor([1]), ["a", "b"])
    assert values["nll"] is not None and math.isfinite(values["nll"]) and values["brier"] == 1.0


def test_confidence_of_exactly_one_shares_the_last_bin() -> None:
    probabilities = torch.tensor([[1.0, 0.0], [0.05, 0.95]])
    labels = torch.tensor([1, 1])  # sure and wrong, nearly sure and right
    # one bin: confidence 1.95 of two against one hit; two bins would give 1.05 / 2
    assert ece(probabilities.numpy(), labels.numpy()) == pytest.approx(0.475)


def test_certain_and_right_is_perfectly_calibrated() -> None:
    assert ece(np.eye(3), np.arange(3)) == 0.0


def test_calibration_error_is_the_weighted_gap_of_fifteen_bins() -> None:
    probabilities, labels, _ = sample(3, [0, 1, 2], count=1000)
    confidence, predicted = (values.numpy() for values in probabilities.max(1))
    correct = predicted == labels.numpy()
    edges = np.linspace(0, 1, 16)
    expected = 0.0
    for low, high in pairwise(edges):
        inside = (confidence >= low) & (confidence < high)
        if inside.any():
            gap = abs(correct[inside].mean() - confidence[inside].mean())
            expected += inside.mean() * gap
    assert ece(probabilities.numpy(), labels.numpy()) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [  # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 1 - 0.1611, 1.0),
    ],
)
def test_wilson_interval_has_the_published_values(
    hits: int, count: int, low: float, high: float
) -> None:
    assert wilson_interval(hits / count, count) == pytest.approx([low, high], abs=5e-5)


def test_metrics_are_plain_numbers_that_json_takes(tmp_path: Path) -> None:
    values = classification_metrics(*sample(5, [0, 1, 3]))
    write_json(tmp_path / "metrics.json", values)
    assert json.loads((tmp_path / "metrics.json").read_text()) == values
