"""Each class decided at a chosen sensitivity, as one among others; see decision/operating_point."""

from collections.abc import Sequence

import numpy as np

from strided.decision.operating_point import OperatingPoint
from strided.evaluation.metric_intervals import Drawn, share


def at_operating_point(
    point: OperatingPoint,
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
) -> dict[str, float | list[float] | None]:
    """recall_at_op/<class>, specificity_at_op, ppv_at_op, npv_at_op, threshold_at_op; intervals.

    probabilities are (N, K), labels (N,) places in `classes`; groups (N,) as in `metric_intervals`.
    None where a class has no threshold, or the images do not have what a figure is a share of.
    """
    found: dict[str, float | list[float] | None] = {}
    drawn, named = Drawn(groups), point.named(probabilities)
    for k, label in enumerate(classes):
        ours, threshold = labels == k, point.thresholds[k]
        found[f"threshold_at_op/{label}"] = threshold
        for name, hits, of in (
            ("recall", named[:, k], ours),
            ("specificity", ~named[:, k], ~ours),
            ("ppv", ours, named[:, k]),
            ("npv", ~ours, ~named[:, k]),
        ):
            known = threshold is not None and of.any()
            figure = share(hits, of, drawn) if known else None
            found[f"{name}_at_op/{label}"] = figure.value if figure else None
            found[f"{name}_at_op_ci95/{label}"] = figure.ends if figure else None
    return found
