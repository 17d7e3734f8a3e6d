"""The figures of parts of the images: of each value, or band of values, of a column."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from strided.evaluation.bands import banded
from strided.evaluation.metric_intervals import metric_intervals
from strided.evaluation.metrics import classification_metrics

SMALL = 20  # images of a subgroup, below which its figures say next to nothing
OF_SUBGROUPS = ("acc", "balanced_acc", "auroc", "auprc")


def by_subgroup(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    groups: np.ndarray | None,
    columns: Mapping[str, np.ndarray],
) -> list[dict[str, Any]]:
    """A row for each value, or band of values, of each column of texts (N,).

    probabilities are (N, K), labels (N,) places in `classes`; groups (N,) as in `metric_intervals`.
    """
    rows: list[dict[str, Any]] = []
    for column, values in columns.items():
        for name, chosen in banded(column, values):
            own = None if groups is None else groups[chosen]
            figures = _figures(probabilities[chosen], labels[chosen], classes, own)
            row = {
                "column": column,
                "value": name,
                "images": int(chosen.sum()),
                "groups": None if own is None else len(np.unique(own)),
                "small": bool(chosen.sum() < SMALL),
            }
            rows.append(row | figures)
    return rows


def _figures(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], groups: np.ndarray | None
) -> dict[str, float | None]:
    """Each metric of a subgroup, and the ends of its interval."""
    known = classification_metrics(
        torch.from_numpy(probabilities), torch.from_numpy(labels), list(classes)
    )
    ends = metric_intervals(probabilities, labels, classes, groups)
    names: Iterable[str] = (*OF_SUBGROUPS, *(f"recall/{label}" for label in classes))
    found: dict[str, float | None] = {}
    for name in names:
        low, high = ends.get(name) or (None, None)
        found |= {name: known[name], f"{name}_low": low, f"{name}_high": high}
    return found
