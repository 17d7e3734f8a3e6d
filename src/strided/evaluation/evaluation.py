"""The result of an evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from strided.config.keys import InferencePrecision
from strided.runs.predictions_csv import Row


@dataclass(frozen=True)
class Evaluation:
    """The result on `count` images; metrics have prefixed names, `confusion` is (K, K).

    `precision` is the one that the network ran in; the metrics are of its float32 outputs.

    calibration has the errors of the probabilities, sets what prediction sets cover, reliability
    the bins of its diagrams: "after" calibration, and "before" it if there is one. groups is the
    number of groups of the images, if these are known; subgroups has a row for each part of them.
    refusals says how many further images, which are not among `count`, a gate refused.

    `shared` of the split's images were seen in training, None if that is unknown. They are
    `excluded` from the metrics, or `without` has the metrics of the others, if there are any.
    """

    split: str
    metrics: dict[str, Any]
    count: int
    confusion: list[list[int]]
    rows: list[Row]
    precision: InferencePrecision
    shared: int | None = None
    excluded: bool = False
    without: dict[str, Any] | None = None
    calibration: dict[str, Any] = field(default_factory=dict)
    sets: dict[str, Any] | None = None
    reliability: dict[str, list[Mapping[str, Any]]] = field(default_factory=dict)
    groups: int | None = None
    subgroups: list[dict[str, Any]] = field(default_factory=list)
    refusals: dict[str, Any] | None = None

    def headline(self) -> str:
        """Accuracy with its interval, the loss, and how many images were seen in training."""
        refused = f", {r['refused']} others refused" if (r := self.refusals) else ""
        told = f"{refused}{self._told()}"
        return f"{_accuracy(self.metrics, self.split)}, {self.count} images{told}"

    def _told(self) -> str:
        if self.shared is None:
            return ""
        if self.excluded:
            return f"; {self.shared} others, which were seen in training, are left out"
        if not self.shared:
            return ", none of them seen in training"
        told = f", {self.shared} of them seen in training; without these "
        if self.without is None:
            return f"{told}none are left"
        return f"{told}{_accuracy(self.without, self.split)}, {self.count - self.shared} images"

    def parts(self) -> dict[str, Any]:
        """What results.json holds of groups and subgroups; nothing if there are none."""
        found = {"groups": self.groups, "subgroups": self.subgroups or None}
        return {key: value for key, value in found.items() if value is not None}

    def overlap(self) -> dict[str, Any] | None:
        """What results.json holds of `shared`, `excluded` and `without`; None if unknown."""
        if self.shared is None:
            return None
        return {"shared": self.shared, "excluded": self.excluded, "without": self.without}


def _accuracy(metrics: dict[str, Any], split: str) -> str:
    low, high = metrics[f"{split}/acc_ci95"]
    return (
        f"{split} accuracy {metrics[f'{split}/acc']:.4f} (95 % interval {low:.4f} to {high:.4f}), "
        f"loss {metrics[f'{split}/loss']:.4f}"
    )
