"""The figures of parts of the images: of each value, or band of values, of a column."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch

from strided.evaluation.bands import banded
from strided.evaluation.metric_intervals import metric_intervals
from strided.evaluation.metrics import classification_metrics
from strided.runs.predictions_csv import Row

SMALL = 20  # images of a subgroup, below which its figures say next to nothing
OF_SUBGROUPS = ("acc", "balanced_acc", "auroc", "auprc")


@dataclass(frozen=True)
class Parts:
    """What N images belong to: groups (N,) if they are known, and values (N,) by column."""

    groups: np.ndarray | None
    columns: Mapping[str, np.ndarray]

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Self:
        """Of rows of predictions.csv."""
        rows = list(rows)
        groups = np.array([row.group for row in rows])
        names = list(dict.fromkeys(name for row in rows for name in row.subgroups))
        columns = {name: np.array([row.subgroups.get(name, "") for row in rows]) for name in names}
        return cls(groups if any(groups) else None, columns)

    @property
    def num_groups(self) -> int | None:
        return None if self.groups is None else len(np.unique(self.groups))


def by_subgroup(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], parts: Parts
) -> list[dict[str, Any]]:
    """A row for each value, or band of values, of each column.

    probabilities are (N, K), labels (N,) places in `classes`.
    """
    rows: list[dict[str, Any]] = []
    for column, values in parts.columns.items():
        for name, chosen in banded(column, values):
            own = None if parts.groups is None else parts.groups[chosen]
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
