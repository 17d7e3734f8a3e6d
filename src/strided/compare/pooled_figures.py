"""What a pool measures: every metric with its interval, the confusion, subgroups of the images."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from strided.compare.pooling import Pool
from strided.config.values import fits
from strided.decision.calibration import ece_floor
from strided.errors import UserError, did_you_mean
from strided.evaluation.bands import banded
from strided.evaluation.intervals import wilson_interval
from strided.evaluation.metrics import classification_metrics, confusion_matrix
from strided.evaluation.resampling import RESAMPLES, at_prevalence, intervals, mean_by_group
from strided.runs.predictions_csv import Predictions

SMALL = 20  # images of a subgroup, below which its figures say next to nothing
OF_SUBGROUPS = ("acc", "balanced_acc", "auroc", "auprc")

Figures = dict[str, dict[str, float | None]]  # by metric: value, low, high


@dataclass(frozen=True)
class Pooled:
    """The figures of a pool; `confusion` has a row for each true class."""

    pool: Pool
    figures: Figures
    confusion: list[list[int]]
    subgroups: list[dict[str, Any]]

    @property
    def images(self) -> int:
        """How many were tested, each once."""
        return len(self.pool.predictions.paths)

    @property
    def seen(self) -> int:
        """How many of them had the pixels of an image that their run was trained on."""
        return sum(run.shared or 0 for run in self.pool.runs)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of pool.csv."""
        for key, figure in self.figures.items():
            metric, _, label = key.partition("/")
            yield {
                "pool": self.pool.label,
                "metric": metric,
                "class": label,
                **figure,
                "images": self.images,
                "groups": self.pool.num_groups,
            }

    def facts(self) -> dict[str, Any]:
        """What results.json holds."""
        first = self.pool.runs[0].results
        return {
            "pool": self.pool.label,
            "images": self.images,
            "groups": self.pool.num_groups,
            "seen_in_training": self.seen,
            "num_folds": first.get("num_folds"),
            "partition_hash": first.get("partition_hash"),
            "metrics": self.figures,
            "confusion": self.confusion,
            "subgroups": self.subgroups,
            "runs": [str(run.folder) for run in self.pool.runs],
        }


def measure(
    pool: Pool, prevalence: float | Mapping[str, float] | None, resamples: int = RESAMPLES
) -> Pooled:
    """Measure a pool; `prevalence` is of each class against the rest. Raises UserError."""
    known = pool.predictions
    shares = _shares(prevalence, known.classes)
    labels = _numbers(known)
    counts = confusion_matrix(
        torch.from_numpy(known.probabilities.argmax(1)),
        torch.from_numpy(labels),
        len(known.classes),
    )
    everywhere = np.ones(len(labels), dtype=bool)
    figures = _figures(known, labels, everywhere, shares, resamples)
    figures |= _floor(known.probabilities) | _coverage(known, labels, resamples)
    return Pooled(pool, figures, counts.tolist(), _subgroups(known, labels, resamples))


def _floor(probabilities: np.ndarray) -> Figures:
    """The calibration error that chance alone gives so many images: mean and 95th percentile."""
    ends = zip(("ece_floor", "ece_floor_p95"), ece_floor(probabilities), strict=True)
    return {name: {"value": value, "low": None, "high": None} for name, value in ends}


def _coverage(known: Predictions, labels: np.ndarray, resamples: int) -> Figures:
    """How often prediction sets hold the class, of all images and of each class; their size.

    Intervals are of drawn groups if these are known, else Wilson's.
    """
    if known.sets is None:
        return {}
    covered = known.sets[np.arange(len(labels)), labels].astype(float)
    figures = {"set_size": _mean(known.sets.sum(1).astype(float), known.groups, resamples)}
    for name, chosen in {
        "set_coverage": np.ones(len(labels), dtype=bool),
        **{f"set_coverage/{c}": labels == k for k, c in enumerate(known.classes)},
    }.items():
        groups = None if known.groups is None else known.groups[chosen]
        figures[name] = _mean(covered[chosen], groups, resamples)
        if groups is None and chosen.any():
            low, high = wilson_interval(float(covered[chosen].mean()), int(chosen.sum()))
            figures[name] |= {"low": low, "high": high}
    return figures


def _mean(values: np.ndarray, groups: np.ndarray | None, resamples: int) -> dict[str, float | None]:
    if not len(values):
        return {"value": None, "low": None, "high": None}
    each = np.arange(len(values)) if groups is None else groups
    low, high = mean_by_group(values, each, resamples) or (None, None)
    return {"value": float(values.mean()), "low": low, "high": high}


def _shares(
    prevalence: float | Mapping[str, float] | None, classes: Sequence[str]
) -> dict[str, float]:
    if prevalence is None:
        return {}
    each = prevalence if isinstance(prevalence, Mapping) else dict.fromkeys(classes, prevalence)
    shares = {str(label): share for label, share in each.items()}  # a typed 3 is a number
    for label, share in shares.items():
        if label not in classes:
            raise UserError(
                f"prevalence has {label}, which is no class; expected some of "
                f"{', '.join(classes)}. "
                f"{did_you_mean(label, classes, f'Try prevalence={{{classes[0]}: 0.01}}')}"
            )
        if not fits(share, float) or not 0 < share < 1:
            raise UserError(
                f"prevalence={share}; expected the share of a class among those to be examined, "
                "between 0 and 1. Try prevalence=0.01"
            )
    return shares


def _numbers(known: Predictions) -> np.ndarray:
    """The labels as places in the classes."""
    place = {label: number for number, label in enumerate(known.classes)}
    return np.array([place[label] for label in known.labels.tolist()], dtype=np.int64)


def _figures(
    known: Predictions,
    labels: np.ndarray,
    chosen: np.ndarray,
    shares: Mapping[str, float],
    resamples: int,
) -> Figures:
    """Every metric of the chosen images: its value as of a single run, and its interval."""
    probabilities, labels = known.probabilities[chosen], labels[chosen]
    groups = None if known.groups is None else known.groups[chosen]
    values = classification_metrics(
        torch.from_numpy(probabilities), torch.from_numpy(labels), known.classes
    )
    for label, share in shares.items():
        values |= _predictive(values, label, share)
    ends = intervals(probabilities, labels, known.classes, groups, shares, resamples)
    if groups is None:
        ends["acc"] = wilson_interval(float(values["acc"] or 0), len(labels))
    figures = {}
    for name, value in values.items():
        low, high = ends.get(name) or (None, None)
        figures[name] = {"value": value, "low": low, "high": high}
    return figures


def _predictive(
    values: Mapping[str, float | None], label: str, share: float
) -> dict[str, float | None]:
    names = (f"ppv_at_prevalence/{label}", f"npv_at_prevalence/{label}")
    rates = values[f"recall/{label}"], values[f"specificity/{label}"]
    if rates[0] is None or rates[1] is None:
        return dict.fromkeys(names)
    pair = at_prevalence(np.array(rates[0]), np.array(rates[1]), share)
    return {n: None if np.isnan(v) else float(v) for n, v in zip(names, pair, strict=True)}


def _subgroups(known: Predictions, labels: np.ndarray, resamples: int) -> list[dict[str, Any]]:
    """A row for each value, or band of values, of each column."""
    rows = []
    for column, values in known.subgroups.items():
        for name, chosen in banded(column, values):
            figures = _figures(known, labels, chosen, {}, resamples)
            row: dict[str, Any] = {
                "column": column,
                "value": name,
                "images": int(chosen.sum()),
                "groups": None if known.groups is None else len(np.unique(known.groups[chosen])),
                "small": bool(chosen.sum() < SMALL),
            }
            for metric in (*OF_SUBGROUPS, *(f"recall/{label}" for label in known.classes)):
                figure = figures[metric]
                row |= {metric: figure["value"]}
                row |= {f"{metric}_{end}": figure[end] for end in ("low", "high")}
            rows.append(row)
    return rows
