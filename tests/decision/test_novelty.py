"""Distances of features, against scikit-learn and the formula itself."""

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from strided.decision import novelty
from strided.decision.novelty import Novelty

DRAWN = np.random.default_rng(0)
MIXED = DRAWN.normal(size=(8, 8))  # features that depend on each other


def features_of(count: int, size: int = 8, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Images of classes that lie apart, with correlated features."""
    labels = np.arange(count) % classes
    mixing = MIXED if size == 8 else np.random.default_rng(1).normal(size=(size, size))
    return DRAWN.normal(size=(count, size)) @ mixing + 3 * labels[:, None], labels


def test_mahalanobis_is_the_distance_of_scikit_learns_shrunk_covariance() -> None:
    features, labels = features_of(60)
    found = Novelty.fit("mahalanobis", features, labels).scores(features)
    standard = (features - features.mean(0)) / np.sqrt(features.var(0).mean())
    means = np.stack([standard[labels == k].mean(0) for k in range(3)])
    precision = LedoitWolf(assume_centered=True).fit(standard - means[labels]).precision_
    apart = standard[:, None] - means
    expected = np.sqrt(np.einsum("nkf,fg,nkg->nk", apart, precision, apart).min(1))
    assert found == pytest.approx(expected, rel=1e-4)


def test_all_that_is_off_the_axes_counts_as_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novelty, "AXES", 3)
    features, labels = features_of(40, size=8, classes=1)
    own = Novelty.fit("mahalanobis", features, labels)
    standard = (features - own.mean) / own.scale
    along = standard @ own.axes
    off = ((standard - along @ own.axes.T) ** 2).sum(1)
    expected = np.sqrt(((along / own.spread) ** 2).sum(1) + off / own.rest**2)
    assert own.axes.shape == (8, 3)
    assert own.scores(features) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("count", [20, 200])  # fewer and more images than features
def test_the_spread_is_kept_whatever_product_it_is_computed_by(count: int) -> None:
    features, labels = features_of(count, size=50, classes=1)
    own = Novelty.fit("mahalanobis", features, labels)
    assert np.allclose(own.axes.T @ own.axes, np.eye(own.axes.shape[1]), atol=1e-5)
    others = 50 - own.axes.shape[1]
    assert (own.spread**2).sum() + others * own.rest**2 == pytest.approx(50, rel=1e-4)


def test_knn_is_the_distance_to_the_fifth_nearest_training_image() -> None:
    features, labels = features_of(30)
    own = Novelty.fit("knn", features, labels)
    apart = np.linalg.norm(own.centres[:, None] - own.centres, axis=2)
    assert own.scores(features) == pytest.approx(np.sort(apart, axis=1)[:, 4], rel=1e-3)


@pytest.mark.parametrize("method", novelty.METHODS)
def test_a_stranger_is_further_off_than_every_own_image(method: str) -> None:
    features, labels = features_of(200)
    own = Novelty.fit(method, features, labels)
    # in a direction in which own images hardly differ, none of its features is extreme
    odd = np.linalg.svd(features - 3 * labels[:, None])[2][-1] * 10 + features.mean(0)
    assert own.scores(odd[None])[0] > own.scores(features).max()


@pytest.mark.parametrize("method", novelty.METHODS)
def test_few_images_and_constant_features_give_finite_distances(method: str) -> None:
    features = np.array([[1.0, 0.0, 5.0], [2.0, 0.0, 5.0]])
    own = Novelty.fit(method, features, np.array([0, 1]))
    assert np.isfinite(own.scores(features)).all()
    assert own.scores(np.array([[1.5, 9.0, 5.0]]))[0] > 20


def test_features_that_are_not_finite_are_infinitely_far_off() -> None:
    features, labels = features_of(30)
    own = Novelty.fit("mahalanobis", features, labels)
    features[3, 2] = np.nan
    assert np.isinf(own.scores(features)).nonzero()[0].tolist() == [3]


@pytest.mark.parametrize("method", novelty.METHODS)
def test_arrays_give_the_same_distances_to_the_bit(method: str) -> None:
    features, labels = features_of(30)
    own = Novelty.fit(method, features, labels)
    again = Novelty.of_arrays(method, own.arrays())
    assert (again.scores(features) == own.scores(features)).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mean", np.zeros((2, 2), np.float32)),
        ("mean", None),
        ("axes", np.zeros((3, 2), np.float32)),
        ("spread", np.zeros(8, np.float32)),
        ("scale", np.full(8, np.nan, np.float32)),
        ("rest", np.ones(1, np.int64)),
        ("centres", np.zeros((0, 9), np.float32)),
        ("centres", np.zeros((3, 4), np.float32)),
    ],
)
def test_a_strangers_arrays_are_refused(name: str, value: object) -> None:
    features, labels = features_of(30)
    arrays: dict[str, object] = dict(Novelty.fit("mahalanobis", features, labels).arrays())
    with pytest.raises(ValueError, match="its|spread"):
        Novelty.of_arrays("mahalanobis", {**arrays, name: value})
    with pytest.raises(ValueError, match="none of mahalanobis, knn"):
        Novelty.of_arrays("other", arrays)
