"""A solved linear layer is scikit-learn's logistic regression."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import nn

from strided.errors import UserError
from strided.training.logistic import LBFGS, compared, solve, targets_of
from strided.training.losses import CrossEntropy

CLASSES = ["a", "b", "c"]


def sample(count: int = 120, size: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Overlapping classes; features of other scales, far from 0, and a constant one."""
    generator = np.random.default_rng(0)
    labels = generator.choice(3, count, p=[0.6, 0.3, 0.1])
    values = generator.normal(size=(count, size)) + 0.8 * np.eye(3, size)[labels]
    values = values * 10.0 ** generator.uniform(-2, 3, size) + generator.normal(size=size)
    return torch.from_numpy(np.c_[values, np.full(count, 3.0)]), torch.from_numpy(labels)


@pytest.mark.parametrize("l2", [1.0, 0.01])
@pytest.mark.parametrize("weights", [None, {"a": 0.5, "c": 3.0}])
def test_the_solution_is_that_of_scikit_learn(l2: float, weights: dict[str, float] | None) -> None:
    features, labels = sample()
    criterion = CrossEntropy(CLASSES, weights)
    layer = solve(features, targets_of(criterion, labels, 3), l2)
    logits = layer(features)
    known = {0: 0.5, 1: 1.0, 2: 3.0} if weights else None
    oracle = LogisticRegression(
        C=1 / (l2 * len(labels)), class_weight=known, tol=1e-10, max_iter=10_000
    )
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    expected = oracle.fit(scaled, labels).predict_proba(scaled)
    assert np.allclose(logits.softmax(1), expected, atol=1e-4)
    assert np.allclose(layer.weight.numpy() * scaler.scale_, oracle.coef_, atol=1e-4)
    assert not layer.weight[:, -1].any()


def test_the_solution_has_no_slope_in_the_loss_of_training() -> None:
    features, labels = sample()
    criterion = CrossEntropy(CLASSES, {"b": 2.0}, label_smoothing=0.1)
    layer = solve(features, targets_of(criterion, labels, 3), 0.1)
    mean, std = features.mean(0), features.std(0, correction=0)
    std[-1] = 1
    weight = (layer.weight * std).requires_grad_()
    bias = (layer.bias + layer.weight @ mean).requires_grad_()
    loss = criterion((features - mean) / std @ weight.T + bias, labels)
    (loss + 0.05 * weight.square().sum()).backward()
    for slope in (weight.grad, bias.grad):
        assert slope is not None and slope.abs().max() < 1e-6


def test_a_search_that_ends_early_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = sample()
    targets = targets_of(CrossEntropy(CLASSES), labels, 3)
    found = solve(features, targets, 0.01)
    assert found.converged and found.slope <= 1e-8
    monkeypatch.setattr("strided.training.logistic._MOST_STEPS", 2)
    assert not solve(features, targets, 0.01).converged
    folds = np.arange(len(labels)) % 2
    assert not any(one.converged for one in compared(features, targets, folds, [0.1], [3]))


def test_candidates_are_measured_on_the_images_they_were_not_solved_on() -> None:
    features, labels = sample()
    targets = targets_of(CrossEntropy(CLASSES), labels, 3)
    fold_of = np.arange(len(labels)) % 3
    found = list(compared(features, targets, fold_of, [0.01, 1.0], [4, 9]))
    assert [(one.size, one.l2) for one in found] == [(4, 1.0), (4, 0.01), (9, 1.0), (9, 0.01)]
    for one in found:
        for fold in range(3):
            out = torch.from_numpy(fold_of == fold)
            alone = solve(features[~out, : one.size], targets[~out], one.l2)
            expected = alone(features[out, : one.size])
            assert torch.allclose(one.logits[out], expected, atol=1e-4)
        assert one.loss == pytest.approx(nn.CrossEntropyLoss()(one.logits, labels).item())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_that_are_not_finite_are_refused(value: float) -> None:
    features, labels = sample()
    features[5, 2] = value
    with pytest.raises(UserError, match="not finite"):
        solve(features, targets_of(CrossEntropy(CLASSES), labels, 3), 0.1)


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"l2": 0.0}, "l2=0.1"), ({"l2": []}, "empty"), ({"l2": 1.0, "folds": 1}, "folds=3")],
)
def test_mistakes_say_what_to_try(given: dict[str, object], expected: str) -> None:
    with pytest.raises(UserError, match=expected):
        LBFGS([nn.Parameter(torch.zeros(1))], **given)  # type: ignore[arg-type]
