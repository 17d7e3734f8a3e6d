"""Intervals in closed form: published ones, those of the bootstrap, and how often they cover."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from strided.evaluation.intervals import wilson_interval
from strided.evaluation.metric_intervals import metric_intervals, named_intervals
from strided.evaluation.metrics import classification_metrics
from strided.evaluation.ranking import Curve, auroc_interval

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]
CLASSES = ["a", "b", "c"]


def sample(sizes: tuple[int, ...], shift: float, seed: int = 0, per: int = 1) -> Sample:
    """Probabilities, labels and groups: `per` images of a group are alike but for a little."""
    noise = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(sizes)), [per * size for size in sizes])
    groups = np.repeat(np.arange(sum(sizes)), per)
    common = noise.normal(size=(sum(sizes), len(sizes)))[groups]
    own = noise.normal(size=common.shape)
    logits = common if per == 1 else 0.95 * common + 0.3 * own
    shares = np.exp(logits + shift * np.eye(len(sizes))[labels])
    return shares / shares.sum(1, keepdims=True), labels, groups


def test_areas_and_curves_are_those_of_sklearn_with_ties() -> None:
    probabilities, labels, _ = sample((40, 90), 1.0)
    scores, ours = probabilities[:, 1].round(1), labels == 1
    curve = Curve.of(scores, ours)
    assert curve.auroc() == pytest.approx(sk.roc_auc_score(ours, scores))
    assert curve.auprc() == pytest.approx(sk.average_precision_score(ours, scores))
    fall_out, recall, thresholds = sk.roc_curve(ours, scores, drop_intermediate=False)
    assert curve.fall_out == pytest.approx(fall_out[1:])
    assert curve.recall == pytest.approx(recall[1:])
    assert curve.thresholds == pytest.approx(thresholds[1:])
    precision, _, _ = sk.precision_recall_curve(ours, scores)
    assert curve.precision == pytest.approx(precision[-2::-1][: len(curve.precision)])


@pytest.mark.parametrize("image", [3, 60])
def test_an_influence_is_the_change_by_a_little_weight(image: int) -> None:
    probabilities, labels, _ = sample((40, 90), 1.0)
    scores, ours, weights = probabilities[:, 1].round(1), labels == 1, np.ones(130)
    weights[image] += 1e-5
    curve, weighted = Curve.of(scores, ours), {"sample_weight": weights}
    change = sk.average_precision_score(ours, scores, **weighted) - curve.auprc()
    assert curve.auprc_influences(ours)[image] == pytest.approx(change / 1e-5, rel=1e-3)
    change = sk.roc_auc_score(ours, scores, **weighted) - curve.auroc()
    # of DeLong's variance, whose sums are divided by one less
    side = ours.sum() if ours[image] else (~ours).sum()
    expected = change / 1e-5 * math.sqrt(side / (side - 1))
    assert curve.auroc_influences(ours)[image] == pytest.approx(expected, rel=1e-3)


def test_delongs_variance_is_the_textbook_one() -> None:
    probabilities, labels, _ = sample((30, 50), 1.0)
    scores, ours = probabilities[:, 1], labels == 1
    wins = (scores[ours][:, None] > scores[~ours]).astype(float)
    expected = wins.mean(1).var(ddof=1) / 50 + wins.mean(0).var(ddof=1) / 30
    influences = Curve.of(scores, ours).auroc_influences(ours)
    assert np.square(influences).sum() == pytest.approx(expected)


def test_an_auroc_interval_solves_newcombes_equation() -> None:
    for area, ours, others in ((0.8, 30, 50), (0.99, 25, 200), (1.0, 36, 324)):
        more = (ours + others) / 2 - 1
        for end in auroc_interval(area, ours, others):
            factor = 1 + more * (1 - end) / (2 - end) + more * end / (1 + end)
            spread = 1.959964 * math.sqrt(end * (1 - end) * factor / (ours * others))
            assert abs(end - area) == pytest.approx(spread, abs=1e-6) or end == area == 1
    low, high = auroc_interval(0.5, 50, 50)
    assert low + high == pytest.approx(1)


def test_proportions_of_a_class_have_wilsons_interval() -> None:
    probabilities, labels, _ = sample((20, 60, 90), 1.5)
    found = metric_intervals(probabilities, labels, CLASSES)
    predicted = probabilities.argmax(1)
    for k, name in enumerate(CLASSES):
        for metric, hits, of in (
            ("recall", predicted == k, labels == k),
            ("specificity", predicted != k, labels != k),
            ("precision", labels == k, predicted == k),
            ("npv", labels != k, predicted != k),
        ):
            expected = wilson_interval((hits & of).sum() / of.sum(), of.sum())
            assert found[f"{metric}/{name}"] == pytest.approx(expected), metric
    assert found["acc"] == pytest.approx(wilson_interval((predicted == labels).mean(), 170))


def bootstrap(
    probabilities: np.ndarray, labels: np.ndarray, groups: np.ndarray, resamples: int = 300
) -> dict[str, list[float]]:
    """Percentiles of every metric, with whole groups drawn again."""
    noise, members = np.random.default_rng(0), [np.flatnonzero(groups == g) for g in set(groups)]
    found: dict[str, list[float]] = {}
    for _ in range(resamples):
        places = np.concatenate([members[g] for g in noise.integers(0, len(members), len(members))])
        drawn = torch.tensor(probabilities[places]), torch.tensor(labels[places])
        for name, value in classification_metrics(*drawn, CLASSES).items():
            found.setdefault(name, []).append(float(value or 0.0))
    return {name: np.quantile(values, (0.025, 0.975)).tolist() for name, values in found.items()}


@pytest.mark.parametrize("per", [1, 3])
def test_intervals_are_near_the_bootstraps_where_figures_are_far_from_their_ends(per: int) -> None:
    probabilities, labels, groups = sample((100, 150, 200), 0.8, per=per)
    given = (probabilities, labels, CLASSES, groups if per > 1 else None)
    closed, drawn = metric_intervals(*given), bootstrap(probabilities, labels, groups)
    assert drawn.pop("aurc") and drawn.pop("ece") and closed.keys() == drawn.keys()
    for name, ends in drawn.items():
        own = closed[name]
        assert ends and own
        assert own[1] - own[0] == pytest.approx(ends[1] - ends[0], rel=0.3), name
        assert sum(own) / 2 == pytest.approx(sum(ends) / 2, abs=0.25 * (ends[1] - ends[0])), name


def test_every_metric_with_a_value_has_an_interval_about_it() -> None:
    for sizes, shift in (((20, 60, 90), 1.5), ((9, 5, 8, 1, 6, 7, 3), 6.0)):
        probabilities, labels, _ = sample(sizes, shift)
        classes = [f"class {k}" for k in range(len(sizes) + 1)]  # the last has no image
        probabilities = np.pad(probabilities, ((0, 0), (0, 1)))
        values = classification_metrics(torch.tensor(probabilities), torch.tensor(labels), classes)
        found = metric_intervals(probabilities, labels, classes)
        # what is no mean over images has none
        assert values.keys() - found.keys() <= {"ece", "aurc"} and found.keys() < values.keys()
        for name, ends in found.items():
            value = values[name]
            if value is None or ends is None:
                assert value is ends is None, name
            else:
                assert ends[0] - 1e-9 <= value <= ends[1] + 1e-9, name
                assert ends[0] < ends[1], name


def test_of_equally_probable_classes_value_and_interval_count_the_same_five() -> None:
    equal, labels, classes = np.full((3, 7), 1 / 7), np.array([0, 5, 6]), list("abcdefg")
    value = classification_metrics(torch.tensor(equal), torch.tensor(labels), classes)["acc_top5"]
    assert value == pytest.approx(1 / 3)
    assert metric_intervals(equal, labels, classes)["acc_top5"] == wilson_interval(1 / 3, 3)


def test_a_brier_score_of_few_images_is_at_most_1() -> None:
    found = metric_intervals(np.eye(2), np.array([1, 1]), ["a", "b"])
    assert found["brier"] == [0.0, 1.0]


@pytest.mark.parametrize("in_groups", [False, True])
def test_equally_sure_images_count_the_same_whatever_their_order(in_groups: bool) -> None:
    labels = np.repeat([0, 1, 2], 100)
    answers = np.where(np.arange(300) < 240, labels, 0)  # the last ones, which are wrong
    groups = np.arange(300) // 2 if in_groups else None
    sure = np.full((300, 3), 0.0)
    sure[np.arange(300), answers] = 1.0
    low, high = metric_intervals(sure, labels, CLASSES, groups)["acc_at_80"] or (0, 0)
    value = classification_metrics(torch.tensor(sure), torch.tensor(labels), CLASSES)["acc_at_80"]
    assert value == pytest.approx(0.8) and low < 0.8 < high
    if not in_groups:
        assert [low, high] == pytest.approx(wilson_interval(0.8, 240))


def test_copies_in_a_group_tell_as_much_as_one_image() -> None:
    probabilities, labels, _ = sample((30, 40, 50), 1.0)
    single = metric_intervals(probabilities, labels, CLASSES, np.arange(120))
    repeated = [np.repeat(values, 10, axis=0) for values in (probabilities, labels, np.arange(120))]
    grouped = metric_intervals(repeated[0], repeated[1], CLASSES, repeated[2])
    apart = metric_intervals(repeated[0], repeated[1], CLASSES)
    for name, ends in single.items():
        assert ends and (own := grouped[name]) and (narrow := apart[name])
        assert own == pytest.approx(ends, abs=0.15 * (ends[1] - ends[0])), name
        assert narrow[1] - narrow[0] < 0.6 * (own[1] - own[0]), name


def test_groups_cover_as_often_as_they_say_and_images_do_not() -> None:
    p, labels, _ = sample((9000,) * 3, 2.5)
    truth = classification_metrics(torch.tensor(p), torch.tensor(labels), CLASSES)
    inside: dict[str, list[bool]] = {"groups": [], "images": []}
    for seed in range(60):
        probabilities, labels, groups = sample((12, 30, 40), 2.5, seed + 1, per=5)
        for name, given in (("groups", groups), ("images", None)):
            found = metric_intervals(probabilities, labels, CLASSES, given)
            for metric in ("recall/a", "balanced_acc", "f1", "auroc/a", "auprc/a", "auroc"):
                ends, value = found[metric], truth[metric]
                assert ends and value is not None
                inside[name].append(ends[0] <= value <= ends[1])
    assert 0.92 < np.mean(inside["groups"]) < 0.999
    assert np.mean(inside["images"]) < 0.87


def test_a_class_that_is_never_predicted_leaves_its_precision_open() -> None:
    probabilities = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    found = metric_intervals(probabilities, np.array([0, 0, 1]), ["a", "b"])
    assert found["precision/b"] == [0, 1]


def test_one_image_or_one_group_has_no_interval() -> None:
    probabilities, labels, _ = sample((3, 3), 1.0)
    assert not metric_intervals(probabilities[:1], labels[:1], ["a", "b"])
    assert not metric_intervals(probabilities, labels, ["a", "b"], np.zeros(6))


def test_names_are_those_of_results() -> None:
    probabilities, labels, groups = sample((10, 10), 1.0)
    found = named_intervals(probabilities, labels, ["a", "b/c"])
    assert {"recall_ci95", "recall_ci95/a", "auroc_ci95/b/c", "brier_ci95"} < found.keys()
    assert "acc_ci95" not in found and "acc_group_ci95" not in found
    assert "acc_group_ci95" in named_intervals(probabilities, labels, ["a", "b"], groups)
