"""Compare two runs on the same images: who is right where, and if the difference may be luck."""

import math
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from strided.compare.finished_run import FinishedRun
from strided.evaluation.intervals import (
    bootstrap_interval,
    holm,
    holm_levels,
    mcnemar_exact,
    paired_interval,
)
from strided.pages.page import folded, table
from strided.runs.predictions_csv import Predictions

SIGNIFICANT = 0.05


@dataclass
class Pair:
    """Two runs: `reason` says why they cannot be paired; else `found` has the columns of pairs.csv.

    Differences are the first run's value minus the second's.
    """

    first: FinishedRun
    second: FinishedRun
    reason: str = ""
    found: dict[str, Any] = field(default_factory=dict)
    classes: list[dict[str, Any]] = field(default_factory=list)  # a row for each class

    @property
    def predictions(self) -> tuple[Predictions, Predictions]:
        """Both runs' predictions, of the same images in the same order."""
        assert self.first.predictions and self.second.predictions
        return self.first.predictions, self.second.predictions

    def disagreements(self) -> list[int]:
        """Places of the images predicted differently; first where both runs are most certain."""
        one, other = self.predictions
        differ = np.flatnonzero(one.predicted != other.predicted)
        certainty = one.probabilities.max(1) + other.probabilities.max(1)
        return [int(place) for place in sorted(differ, key=lambda place: -certainty[place])]


def pair_runs(runs: list[FinishedRun]) -> list[Pair]:
    """Test each pair of runs; p-values and intervals are adjusted for the number of pairs."""
    pairs = [Pair(a, b, _reason(a, b)) for a, b in combinations(runs, 2)]
    paired = [pair for pair in pairs if not pair.reason]
    for pair in paired:
        _test(pair)
    p_values = [pair.found["p"] for pair in paired]
    for pair, p, level in zip(paired, holm(p_values), holm_levels(p_values), strict=True):
        found = pair.found
        only = found["only_first_right"], found["only_second_right"]
        low, high = paired_interval(*only, found["images"], level)
        found |= {
            "acc_difference_low": low,
            "acc_difference_high": high,
            "acc_difference_level": level,
            "p_holm": p,
        }
    return pairs


def _reason(first: FinishedRun, second: FinishedRun) -> str:
    """Why two runs were not measured on the same images; empty if they were."""
    if first.predictions is None or second.predictions is None:
        without = first if first.predictions is None else second
        return f"{without.label} has no predictions.csv: it has tested nothing"
    if first.split != second.split:
        return f"one measured {first.split}, the other {second.split}"
    if first.results.get("data_fingerprint") != second.results.get("data_fingerprint"):
        return (
            "their data have different fingerprints: other images, labels or classes, or one of "
            "them has data.pipeline=streaming, which knows files and not pixels"
        )
    one, other = first.predictions, second.predictions
    if one.classes != other.classes:
        return "their classes differ"
    if one.paths != other.paths:
        shared = len(set(one.paths) & set(other.paths))
        counts = f"{len(one.paths)} and {len(other.paths)} images, {shared} of them shared"
        return f"they were measured on different images ({counts})"
    if not np.array_equal(one.labels, other.labels):
        return "the same images have other labels"
    return "" if one.paths else "none of their images could be read"


def _test(pair: Pair) -> None:
    one, other = pair.predictions
    difference = one.correct.astype(float) - other.correct
    only = _discordant(difference)
    nll = one.negative_log_likelihoods() - other.negative_log_likelihoods()
    nll_low, nll_high = bootstrap_interval(nll)
    pair.found = {
        "first": pair.first.label,
        "second": pair.second.label,
        "images": len(difference),
        "both_right": int((one.correct & other.correct).sum()),
        "only_first_right": only[0],
        "only_second_right": only[1],
        "both_wrong": int((~one.correct & ~other.correct).sum()),
        "acc_difference": float(difference.mean()),
        "acc_difference_low": None,  # these four when all pairs are tested
        "acc_difference_high": None,
        "acc_difference_level": None,
        "p": mcnemar_exact(*only),
        "p_holm": None,
        "nll_difference": float(nll.mean()),
        "nll_difference_low": nll_low,
        "nll_difference_high": nll_high,
    }
    for name in one.classes:
        own = difference[one.labels == name]
        if len(own):
            low, high = paired_interval(*_discordant(own), len(own))
            pair.classes.append(
                {
                    "class": name,
                    "images": len(own),
                    "difference": float(own.mean()),
                    "low": low,
                    "high": high,
                }
            )


def _discordant(difference: np.ndarray) -> tuple[int, int]:
    """The number of images that the first alone has right, and the second alone."""
    return int((difference > 0).sum()), int((difference < 0).sum())


def conclusion(pair: Pair) -> str:
    """Say what a pair shows: a difference only where the test, and so the interval, shows one."""
    if pair.reason:
        return f"{pair.first.label} and {pair.second.label} are not paired: {pair.reason}."
    seen = [
        f" {run.label} has seen {run.shared} of these images in training, and may know them."
        for run in (pair.first, pair.second)
        if run.shared
    ]
    return _difference(pair) + "".join(seen)


def _difference(pair: Pair) -> str:
    found = pair.found
    level = math.floor(1e4 * found["acc_difference_level"] + 1e-6) / 100  # not above the true one
    interval = (
        f"{100 * found['acc_difference']:+.2f} percentage points ({level:g} % interval "
        f"{_away_from_0(found['acc_difference_low'])} to "
        f"{_away_from_0(found['acc_difference_high'])}; "
        f"McNemar's exact p = {found['p']:.3g}"
    )
    corrected = found["p_holm"] != found["p"]
    interval += f", with Holm's correction {found['p_holm']:.3g})" if corrected else ")"
    if found["p_holm"] >= SIGNIFICANT:
        return (
            f"No difference in accuracy is shown between {found['first']} and {found['second']} on "
            f"these {found['images']} images: {interval}. That is no proof that they are equal."
        )
    better, worse = found["first"], found["second"]
    if found["acc_difference"] < 0:
        better, worse = worse, better
    return (
        f"{better} is more accurate than {worse} on these {found['images']} images; "
        f"{found['first']} less {found['second']}: {interval}."
    )


def _away_from_0(share: float) -> str:
    """Points with two decimals; with more where these would show 0 for what excludes it."""
    return f"{100 * share:+.2f}" if abs(share) >= 5e-5 else f"{100 * share:+.1g}"


def pair_html(pair: Pair) -> str:
    """The table of both runs, and of the classes."""
    if pair.reason:
        return ""
    found = pair.found
    counts = [
        ["first right", found["both_right"], found["only_first_right"]],
        ["first wrong", found["only_second_right"], found["both_wrong"]],
    ]
    likelihood = (
        f"<p>Negative log-likelihood, first less second: {found['nll_difference']:+.4f} "
        f"(95 % interval {found['nll_difference_low']:+.4f} to "
        f"{found['nll_difference_high']:+.4f}).</p>"
    )
    rows = [
        [row["class"], row["images"], *(_points(row[key]) for key in ("difference", "low", "high"))]
        for row in pair.classes
    ]
    by_class = table(["class", "images", "points", "from", "to"], rows, "Accuracy by class")
    note = (
        "<p>Percentage points, first less second, with 95 % intervals that are not corrected for "
        "the number of classes: up to one in twenty excludes 0 by luck.</p>"
    )
    both = table(["", "second right", "second wrong"], counts, "Images that both name rightly")
    return f"{both}{likelihood}{folded('Accuracy by class', by_class + note)}"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
