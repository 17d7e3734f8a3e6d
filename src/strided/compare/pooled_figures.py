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
from strided.evaluation.metric_intervals import Drawn, mean, metric_intervals, share
from strided.evaluation.metrics import classification_metrics, confusion_matrix
from strided.evaluation.prevalence import Share, at_prevalence
from strided.evaluation.subgroups import Parts, by_subgroup
from strided.runs.predictions_csv import Predictions

Figure = dict[str, float | None]  # value, low, high
Figures = dict[str, Figure]  # by metric


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


def measure(pool: Pool, prevalence: float | Mapping[str, float] | None) -> Pooled:
    """Measure a pool; `prevalence` is of each class against the rest. Raises UserError."""
    known = pool.predictions
    shares, labels = _shares(prevalence, known.classes), numbers_of(known)
    counts = confusion_matrix(
        torch.from_numpy(known.probabilities.argmax(1)),
        torch.from_numpy(labels),
        len(known.classes),
    )
    figures = _figures(known, labels) | _floor(known.probabilities) | _coverage(known, labels)
    for label, prevalent in shares.items():
        figures |= _predictive(figures, label, prevalent)
    parts = Parts(known.groups, known.subgroups)
    rows = by_subgroup(known.probabilities, labels, known.classes, parts)
    return Pooled(pool, figures, counts.tolist(), rows)


def _figures(known: Predictions, labels: np.ndarray) -> Figures:
    """Every metric as of a single run, with its interval."""
    probabilities, classes = known.probabilities, known.classes
    values = classification_metrics(
        torch.from_numpy(probabilities), torch.from_numpy(labels), classes
    )
    ends = metric_intervals(probabilities, labels, classes, known.groups)
    return {name: _figure(value, ends.get(name)) for name, value in values.items()}


def _figure(value: float | None, ends: Sequence[float] | None = None) -> Figure:
    low, high = ends or (None, None)
    return {"value": value, "low": low, "high": high}


def _floor(probabilities: np.ndarray) -> Figures:
    """The calibration error that chance alone gives so many images: mean and 95th percentile."""
    mean, p95 = ece_floor(probabilities)
    return {"ece_floor": _figure(mean), "ece_floor_p95": _figure(p95)}


def _coverage(known: Predictions, labels: np.ndarray) -> Figures:
    """How often prediction sets hold the class, of all images and of each class; their size."""
    if known.sets is None:
        return {}
    drawn, everywhere = Drawn(known.groups), np.ones(len(labels), dtype=bool)
    covered, sizes = known.sets[np.arange(len(labels)), labels], known.sets.sum(1).astype(float)
    is_alone = drawn.count(everywhere) < 2  # a single group has no interval
    ends = None if is_alone else mean(sizes, drawn, largest=float(len(known.classes)))
    figures = {"set_size": _figure(float(sizes.mean()), ends)}
    chosen = {f"set_coverage/{name}": labels == k for k, name in enumerate(known.classes)}
    for name, own in {"set_coverage": everywhere, **chosen}.items():
        held = share(covered, own, drawn)
        found = _figure(held.value, None if is_alone else held.ends)
        figures[name] = found if own.any() else _figure(None)
    return figures


def _predictive(figures: Figures, label: str, prevalence: float) -> Figures:
    """What positive and negative answers are worth at a prevalence of the class."""
    rates = [figures[f"{name}/{label}"] for name in ("recall", "specificity")]
    names = (f"ppv_at_prevalence/{label}", f"npv_at_prevalence/{label}")
    known = [(rate["value"], rate["low"], rate["high"]) for rate in rates]
    if any(end is None for rate in known for end in rate):
        return dict.fromkeys(names, _figure(None))
    sensitivity, specificity = (Share(*rate) for rate in known)  # type: ignore[arg-type]
    found = at_prevalence(sensitivity, specificity, prevalence)
    return {
        name: _figure(own and own.value, own and own[1:])
        for name, own in zip(names, found, strict=True)
    }


def _shares(
    prevalence: float | Mapping[str, float] | None, classes: Sequence[str]
) -> dict[str, float]:
    if prevalence is None:
        return {}
    each = prevalence if isinstance(prevalence, Mapping) else dict.fromkeys(classes, prevalence)
    shares = {str(label): own for label, own in each.items()}  # a typed 3 is a number
    for label, own in shares.items():
        if label not in classes:
            raise UserError(
                f"prevalence has {label}, which is no class; expected some of "
                f"{', '.join(classes)}. "
                f"{did_you_mean(label, classes, f'Try prevalence={{{classes[0]}: 0.01}}')}"
            )
        if not fits(own, float) or not 0 < own < 1:
            raise UserError(
                f"prevalence={own}; expected the share of a class among those to be examined, "
                "between 0 and 1. Try prevalence=0.01"
            )
    return shares


def numbers_of(known: Predictions) -> np.ndarray:
    """The labels as places in the classes."""
    place = {label: number for number, label in enumerate(known.classes)}
    return np.array([place[label] for label in known.labels.tolist()], dtype=np.int64)
