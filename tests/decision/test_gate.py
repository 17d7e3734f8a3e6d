"""The gate: how many own images it refuses, and which others."""

import numpy as np
import pytest

from strided.decision.gate import REASONS, Gate, Images, least_images
from strided.decision.novelty import METHODS


def images_of(count: int, seed: int, shift: float = 0.0) -> Images:
    """Images with 20 features and 25 measures, all of one kind unless every other is shifted."""
    drawn = np.random.default_rng(seed)
    usual = 4 + shift * (np.arange(20) % 2)
    return Images(drawn.normal(usual, 1, (count, 20)), drawn.normal(0, 1, (count, 25)))


def fitted(seed: int, held_out: int, method: str = "mahalanobis") -> Gate:
    own, labels = images_of(150, seed), np.arange(150) % 3
    return Gate.fit(method, own, labels, images_of(held_out, seed + 1), "head", 0.1)


@pytest.mark.parametrize("method", METHODS)
def test_new_own_images_are_refused_as_seldom_as_promised(method: str) -> None:
    """Over gates with few images to choose their limits on, so that rounding would be seen."""
    shares = []
    for seed in range(0, 90, 3):
        gated = fitted(seed, 19, method).of(images_of(200, seed + 2))
        shares.append(np.mean([reason != "" for reason in gated.reasons]))
    assert 0.03 < np.mean(shares) < 0.12


def test_training_images_left_out_in_turn_stand_in_for_others() -> None:
    own, labels = images_of(300, 0), np.arange(300) % 3
    gate = Gate.fit("mahalanobis", own, labels, np.arange(300) % 5, "head", 0.1)
    shares = np.mean(gate.of(images_of(2000, 1)).ood > 1)
    assert gate.out_of_fold
    assert 0.05 < shares < 0.12
    # the images themselves fit better than new ones: limits chosen on these would be too tight
    assert np.mean(gate.of(own).ood > 1) < shares


@pytest.mark.parametrize("method", METHODS)
def test_images_of_another_kind_are_refused_with_the_reason(method: str) -> None:
    gate = fitted(0, 60, method)
    shifted = images_of(20, 5, shift=4)
    assert set(gate.of(shifted).reasons) >= {"unusual_features"}
    odd = images_of(20, 6)
    odd.looks[:, 5] += 30  # contrast
    for ood, reason in zip(gate.of(odd).ood, gate.of(odd).reasons, strict=True):
        assert ood > 1
        assert reason.split("|")[-1] == "unusual_contrast"
        assert set(reason.split("|")) <= REASONS.keys()


def test_measures_that_are_unusual_together_alone_name_no_single_one() -> None:
    own, others = images_of(200, 0), images_of(60, 1)
    for images in (own, others):
        images.looks[:, 1:12] = images.looks[:, :1]
    gate = Gate.fit("mahalanobis", own, np.zeros(200, int), others, "head", 0.05)
    odd = others.at(np.array([0]))
    odd.looks[0] = 0
    odd.looks[0, :12] = [1, -1] * 6
    assert gate.of(odd).reasons == ["unusual_picture"]


def test_too_few_held_out_images_are_refused() -> None:
    assert least_images(0.1) == 9
    assert fitted(0, 9).images == 9
    with pytest.raises(ValueError, match="8 images are too few"):
        fitted(0, 8)


def test_a_gate_of_its_arrays_gives_the_same_answers() -> None:
    gate, images = fitted(0, 30), images_of(50, 7, shift=0.5)
    again = Gate.of_arrays(gate.to_dict(), gate.arrays())
    assert (again.of(images).ood == gate.of(images).ood).all()
    assert again.of(images).reasons == gate.of(images).reasons
    assert again.to_dict() == gate.to_dict()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("limits", [1.0]),
        ("limits", [0.0, 1.0]),
        ("limits", [float("nan"), 1.0]),
        ("layer", 3),
        ("layer", "x" * 1000),
        ("images", True),
        ("false_alarms", 2),
        ("method", "other"),
    ],
)
def test_a_strangers_settings_are_refused(key: str, value: object) -> None:
    gate = fitted(0, 30)
    with pytest.raises(ValueError, match="its gate|of its"):
        Gate.of_arrays({**gate.to_dict(), key: value}, gate.arrays())
    with pytest.raises(ValueError, match="mapping"):
        Gate.of_arrays([], gate.arrays())
