"""Whether probabilities can be trusted: expected calibration error and its bins."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from strided.runs.predictions_csv import Row


def expected_calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Return the ECE (Guo et al. 2017): bins of equal width, the last one closed.

    torchmetrics puts a confidence of exactly 1 into a separate bin, which is wrong.
    """
    confidence, predicted = probabilities.double().max(1)
    index = (confidence * bins).long().clamp(max=bins - 1)
    correct = (predicted == labels).double()
    gap = torch.zeros(bins, dtype=torch.float64).index_add_(0, index, confidence - correct)
    return float(gap.abs().sum() / len(labels))


RELIABILITY_BINS = 15  # as for the ECE


def reliability(predictions: Iterable[Row], classes: Sequence[str]) -> list[Mapping[str, Any]]:
    """Left edge, mean confidence, accuracy and count of each bin of confidence that has images."""
    rows = [row for row in predictions if row.probabilities is not None]
    probabilities = torch.tensor([row.probabilities for row in rows], dtype=torch.float64)
    confidence, predicted = probabilities.max(1)
    labels = torch.tensor([classes.index(str(row.label)) for row in rows])
    index = (confidence * RELIABILITY_BINS).long().clamp(max=RELIABILITY_BINS - 1)
    correct = (predicted == labels).double()
    return [
        {
            "left": number / RELIABILITY_BINS,
            "confidence": confidence[index == number].mean().item(),
            "accuracy": correct[index == number].mean().item(),
            "count": int((index == number).sum()),
        }
        for number in index.unique().tolist()
    ]
