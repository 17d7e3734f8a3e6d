"""What a run's report says of over- and underfitting, and what it leaves open."""

import importlib.util
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from strided.config.keys import Config
from strided.report.advice import advise, is_augmented
from strided.report.diagnosis import Share, diagnose, gap_interval, judge
from strided.report.trend import trend

CONFIG: Config = {
    "model": {"_target_": "strided.models.torchvision_model", "pretrained": False},
    "augment": {"_target_": "strided.data.BatchAugment"},
}


def test_the_interval_of_a_gap_is_newcombes() -> None:
    # Newcombe 1998, table II, method 10: 56/70 - 48/80 and 9/10 - 3/10
    assert gap_interval(Share(56, 70), Share(48, 80)) == pytest.approx((0.0524, 0.3339), abs=1e-4)
    assert gap_interval(Share(9, 10), Share(3, 10)) == pytest.approx((0.1705, 0.8090), abs=1e-4)


@pytest.mark.parametrize(
    ("train", "val", "verdict"),
    [
        # few images whose intervals reach from guessing to certainty
        (Share(6, 8), Share(2, 2), "unlearned"),
        (Share(13, 20), Share(4, 5), "unlearned"),
        (Share(1000, 1000), Share(800, 1000), "overfitting"),
        (Share(990, 1000), Share(980, 1000), "generalises"),
        (Share(990, 1000), Share(1000, 1000), "generalises"),
        (Share(9800, 10000), Share(9050, 10000), "between"),
        (Share(620, 1000), Share(600, 1000), "underfitting"),
        (Share(510, 1000), Share(490, 1000), "chance"),
        (Share(1000, 1000), Share(520, 1000), "overfitting"),  # learned by heart: not chance
    ],
)
def test_verdicts(train: Share, val: Share, verdict: str) -> None:
    assert judge(train, val, guessing=0.5) == verdict


@pytest.mark.parametrize(("right", "verdict"), [(950, "chance"), (980, "generalises")])
def test_guessing_is_naming_the_largest_class(right: int, verdict: str) -> None:
    assert judge(Share(right, 1000), Share(right, 1000), guessing=0.95) == verdict


def test_a_network_that_names_one_class_is_not_said_to_generalise() -> None:
    # beside guessing in validation, a little above it in training
    assert judge(Share(9900, 10000), Share(9500, 10000), guessing=0.95) == "unlearned"


@pytest.mark.parametrize("gap", [0.0, 0.04, 0.08, 0.12])
def test_few_images_decide_nothing(gap: float) -> None:
    train = Share(48, 50)
    assert judge(train, Share(48 - round(50 * gap), 50), guessing=0.5) == "undecided"


@pytest.mark.parametrize(
    ("right", "words"), [(475, "of 5 points"), (450, "of 10 points"), (46, "of 5 and of 10 points")]
)
def test_a_gap_is_left_open_only_where_its_interval_leaves_it_open(right: int, words: str) -> None:
    val = Share(right, 500 if right > 100 else 50)
    found = diagnose(Share(495, 500), val, 0.5, {}, CONFIG, [])
    assert found.verdict == "undecided" and f"on which side {words} that is" in found.evidence[1]


def curves(
    accuracies: list[float],
    train_losses: list[float] | None = None,
    val_losses: list[float] | None = None,
    rates: list[float] | None = None,
) -> dict[str, list[float]]:
    number = len(accuracies)
    return {
        "epoch": [float(epoch) for epoch in range(number)],
        "lr": rates or [0.1] * number,
        "train/loss": train_losses or [1 / (epoch + 1) for epoch in range(number)],
        "val/loss": val_losses or [2 * (1 - accuracy) for accuracy in accuracies],
        "val/acc": accuracies,
    }


def names(*given: Any, images: int = 5000) -> set[str]:
    return {name for name, _ in trend(curves(*given), images)}


RISING = [0.5, 0.6, 0.68, 0.75, 0.81, 0.86, 0.90]
FLAT = [0.5, 0.7, 0.8, 0.85, 0.852, 0.849, 0.851, 0.85, 0.852]
FLAT += [0.851, 0.852, 0.85, 0.851, 0.85, 0.852, 0.849, 0.851, 0.85]
EARLY = [0.7, 0.9, 0.8, 0.79, 0.8, 0.79, 0.8, 0.8]


@pytest.mark.parametrize(
    ("accuracies", "found"),
    [
        (RISING, {"improving"}),
        (FLAT, {"plateau"}),
        (FLAT[:5], {"unclear"}),  # too short for a plateau
        (EARLY, {"unclear", "early"}),
        ([0.9, 0.9, 0.9, 0.8, 0.7, 0.6], {"falling", "early", "loss_rising"}),
        ([0.5, 0.6], {"short"}),
    ],
)
def test_trends(accuracies: list[float], found: set[str]) -> None:
    assert names(accuracies) == found


@pytest.mark.parametrize(("accuracies", "images"), [(RISING, 10), (FLAT, 50), (FLAT, 250)])
def test_a_rise_within_the_noise_of_few_images_is_neither_a_rise_nor_a_plateau(
    accuracies: list[float], images: int
) -> None:
    losses = [1.0, 0.9, 1.1, 1.0, 0.9, 1.0, 1.1, 1.0, 0.9] * 2
    assert names(accuracies, None, losses[: len(accuracies)], images=images) == {"unclear"}
    ((_, sentence),) = trend(curves(accuracies, None, losses[: len(accuracies)]), images)
    assert "does not tell" in sentence


def test_a_flat_accuracy_is_no_plateau_while_validation_loss_falls() -> None:
    losses = [1.2 - 0.02 * epoch for epoch in range(len(FLAT))]
    ((name, sentence),) = trend(curves(FLAT, None, losses), 5000)
    assert name == "loss_falling" and "by 11% from epoch 12 to 17" in sentence
    advice = advise({name}, CONFIG, [])
    assert "Train for longer" in advice[0] and not any("little" in line for line in advice)


def test_a_loss_that_rises_is_overfitting_beside_a_flat_accuracy() -> None:
    losses = [0.6 + 0.02 * epoch for epoch in range(len(FLAT))]
    assert names(FLAT, None, losses) == {"plateau", "loss_rising"}
    assert names(FLAT, [0.5] * len(FLAT), losses) == {"plateau"}  # training does not fall either


def test_a_curve_that_is_flat_for_its_learning_rate_is_no_plateau() -> None:
    rates = [0.1] * 4 + [0.001] * 14
    ((name, sentence),) = trend(curves(FLAT, None, None, rates), 5000)
    assert name == "settled" and "fallen to 1.0% of its highest" in sentence
    assert not any("little" in line for line in advise({name}, CONFIG, []))
    assert names(FLAT, None, None, [0.1] * 9 + [0.06] * 9) == {"plateau"}


def test_without_the_loss_nothing_is_called_a_plateau() -> None:
    without = {k: v for k, v in curves(FLAT).items() if k not in ("val/loss", "lr")}
    assert [name for name, _ in trend(without, 5000)] == ["unclear"]


def test_verdicts_on_simulated_curves_are_seldom_wrong() -> None:
    file = Path(__file__).parents[2] / "docs" / "results" / "verdicts" / "measure.py"
    spec = importlib.util.spec_from_file_location("simulated_verdicts", file)
    assert spec and spec.loader
    simulated = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = simulated  # its dataclass looks itself up
    spec.loader.exec_module(simulated)
    noise = np.random.default_rng(4)
    claimed, wrong = Counter[str](), Counter[str]()
    for kind in simulated.KINDS:
        own, own_wrong = simulated.count_trends(noise, kind, 23)
        claimed, wrong = claimed + own, wrong + own_wrong
    firm = [name for name in simulated.TRENDS if name != "half"]
    assert sum(wrong[name] for name in firm) < 0.05 * sum(claimed[name] for name in firm)
    assert claimed["plateau"] >= 5 and wrong["plateau"] == 0 and wrong["half"] <= 1
    assert claimed["seen"] > 0.3 * claimed["still"] > 3
    given, mistaken = simulated.count_gaps(noise, 2000)
    assert mistaken.total() < 0.01 * given.total() and given["undecided"] < 0.4 * given.total()


@pytest.mark.parametrize("last", [3.0, float("nan")])
def test_a_loss_that_grows_diverged(last: float) -> None:
    assert "diverged" in names(RISING, [2.0, 1.0, 1.0, 2.0, 2.0, 2.5, last])


def test_a_loss_that_wavers_near_zero_did_not_diverge() -> None:
    assert "diverged" not in names(FLAT[-3:], [1.0e-4, 0.9e-4, 1.3e-4])


def test_epochs_without_validation_do_not_hide_the_trend() -> None:
    accuracies = [value for rise in RISING for value in (float("nan"), rise)]
    ((name, sentence),) = trend(curves(accuracies), 5000)
    assert name == "improving" and "from epoch 7 to 13" in sentence


def test_kept_features_of_one_view_are_of_no_augmented_images() -> None:
    config: Config = {**CONFIG, "augment": {**CONFIG["augment"], "horizontal_flip": True}}
    views = [{"name": "frozen", "features": {"views": number}} for number in (1, 5)]
    assert is_augmented(config, []) and is_augmented(config, views[1:])
    assert not is_augmented(config, views[:1])
    assert any("transfer.cached_views=5" in line for line in advise({"early"}, config, views[:1]))


def test_stages_are_made_longer_by_a_new_run() -> None:
    stages = [{"name": "frozen"}, {"name": "fine_tuned"}]
    (advice,) = advise({"improving"}, CONFIG, stages)
    assert "transfer.stages.fine_tuned.epochs" in advice and "resume" not in advice


def test_advice_names_only_what_the_run_does_not_do_yet() -> None:
    train, val = Share(1000, 1000), Share(700, 1000)
    plain = diagnose(train, val, 0.5, curves(FLAT), CONFIG, [])
    assert plain.verdict == "overfitting" and plain.gap == pytest.approx(0.3)
    assert any("augment=standard" in line for line in plain.advice)
    assert any("model.pretrained=true" in line for line in plain.advice)
    config: Config = {
        "model": {**CONFIG["model"], "pretrained": True},
        "augment": {**CONFIG["augment"], "horizontal_flip": True},
    }
    better = diagnose(train, val, 0.5, curves(FLAT), config, [])
    assert not any("augment=" in line or "pretrained" in line for line in better.advice)


def test_stages_are_compared_with_what_chance_would_make_of_them() -> None:
    stages = [{"name": "frozen", "first_epoch": 0}, {"name": "fine_tuned", "first_epoch": 3}]
    accuracies = [0.80, 0.85, 0.84, 0.86, 0.88, 0.87]
    train, val = Share(950, 1000), Share(220, 250)
    few = diagnose(train, val, 0.5, curves(accuracies), CONFIG, stages)
    sentence = next(line for line in few.evidence if line.startswith("Stage frozen"))
    assert "85.0% of validation at best, fine_tuned 88.0%: +3.0 points, within" in sentence
    val = Share(22000, 25000)
    many = diagnose(train, val, 0.5, curves(accuracies), CONFIG, stages)
    assert any("+3.0 points, more than the uncertainty" in line for line in many.evidence)


def test_a_run_without_curves_still_has_a_verdict() -> None:
    found = diagnose(Share(990, 1000), Share(980, 1000), 0.5, {}, CONFIG, [])
    assert found.verdict == "generalises" and found.gap_ci95[0] < 0.01 < found.gap_ci95[1]
