"""Intervals by resampling: the metrics are scikit-learn's, and groups count as one."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from strided.evaluation.metrics import classification_metrics
from strided.evaluation.resampling import at_prevalence, intervals, weighted

CLASSES = ["a", "b", "c"]


def sample(count: int = 300, seed: int = 0, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with some equal ones, which know something of their labels."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(classes, count)
    logits = generator.normal(size=(count, classes)) + np.eye(classes)[labels]
    shares = np.exp(logits)
    probabilities = (shares / shares.sum(1, keepdims=True)).round(2)
    return probabilities, labels


@pytest.mark.parametrize("num_classes", [2, 3, 7])
def test_with_weights_of_one_the_metrics_are_those_of_a_run(num_classes: int) -> None:
    probabilities, labels = sample(classes=num_classes)
    classes = [f"class {k}" for k in range(num_classes + 1)]  # the last has no image
    probabilities = np.pad(probabilities, ((0, 0), (0, 1)))
    known = classification_metrics(torch.tensor(probabilities), torch.tensor(labels), classes)
    found = weighted(probabilities, labels, np.ones((1, len(labels))), classes)
    assert known.keys() - found.keys() == {"ece"} and found.keys() < known.keys()
    for name, values in found.items():
        if known[name] is None:
            assert math.isnan(values[0]), name
        else:
            assert values[0] == pytest.approx(known[name], abs=1e-6), name


def test_weighted_metrics_are_those_of_sklearn() -> None:
    probabilities, labels = sample()
    weights = np.random.default_rng(1).integers(0, 4, (2, len(labels))).astype(float)
    found = weighted(probabilities, labels, weights, CLASSES)
    predicted = probabilities.argmax(1)
    for row, own in enumerate(weights):
        options: dict[str, Any] = {"sample_weight": own}
        assert found["acc"][row] == pytest.approx(sk.accuracy_score(labels, predicted, **options))
        balanced = sk.balanced_accuracy_score(labels, predicted, **options)
        assert found["balanced_acc"][row] == pytest.approx(balanced)
        for k, name in enumerate(CLASSES):
            positive, scores = labels == k, probabilities[:, k]
            auroc = sk.roc_auc_score(positive, scores, **options)
            auprc = sk.average_precision_score(positive, scores, **options)
            assert found[f"auroc/{name}"][row] == pytest.approx(auroc)
            assert found[f"auprc/{name}"][row] == pytest.approx(auprc)
            npv = sk.precision_score(~positive, predicted != k, **options)
            assert found[f"npv/{name}"][row] == pytest.approx(npv)


def test_predictive_values_at_the_prevalence_of_the_images_are_precision_and_npv() -> None:
    probabilities, labels = sample()
    share = float((labels == 1).mean())
    weights = np.ones((1, len(labels)))
    found = weighted(probabilities, labels, weights, CLASSES, {"b": share})
    assert found["ppv_at_prevalence/b"] == pytest.approx(found["precision/b"])
    assert found["npv_at_prevalence/b"] == pytest.approx(found["npv/b"])
    # Altman and Bland 1994: sensitivity 0.90, specificity 0.63, prevalence 0.25
    ppv, npv = at_prevalence(np.array(231 / 258), np.array(54 / 86), 0.25)
    assert ppv == pytest.approx(0.45, abs=0.005) and npv == pytest.approx(0.95, abs=0.005)


def test_ten_copies_in_a_group_tell_as_much_as_one_image() -> None:
    probabilities, labels = sample(80)
    single = intervals(probabilities, labels, CLASSES, resamples=300)
    copied = [np.repeat(values, 10, axis=0) for values in (probabilities, labels, np.arange(80))]
    grouped = intervals(copied[0], copied[1], CLASSES, copied[2], resamples=300)
    apart = intervals(copied[0], copied[1], CLASSES, resamples=300)
    for name, ends in single.items():
        assert grouped[name] == pytest.approx(ends), name
    assert single["acc"] and apart["acc"]
    assert apart["acc"][1] - apart["acc"][0] < 0.5 * (single["acc"][1] - single["acc"][0])


def test_an_interval_of_accuracy_is_near_the_binomial_one() -> None:
    labels = np.zeros(400, dtype=int)
    probabilities = np.where(np.arange(400)[:, None] % 5 > 0, [[0.9, 0.1]], [[0.2, 0.8]])
    ends = intervals(probabilities, labels, ["a", "b"])["acc"]
    half = 1.96 * math.sqrt(0.8 * 0.2 / 400)
    assert ends == pytest.approx([0.8 - half, 0.8 + half], abs=0.005)


def test_a_class_without_images_has_no_interval() -> None:
    probabilities, labels = sample()
    found = intervals(np.pad(probabilities, ((0, 0), (0, 1))), labels, [*CLASSES, "d"])
    assert found["recall/d"] is None and found["auprc/d"] is None and found["auprc"] is not None


def test_one_group_has_no_interval() -> None:
    probabilities, labels = sample(50)
    assert not intervals(probabilities, labels, CLASSES, np.zeros(50))
    assert intervals(probabilities, labels, CLASSES, np.arange(50) // 25, resamples=20)["acc"]
