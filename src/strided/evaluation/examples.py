"""Notable test images: the most confident errors, the least certain hits."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from strided.data import ImageDataModule
from strided.data.reading.files import as_text
from strided.evaluation.evaluation import Evaluation


@dataclass(frozen=True)
class Example:
    """A tested image; picture is uint8 (S, S, 3) as the network saw it.

    position is its place in the split; class_index and probability belong to `predicted`.
    """

    picture: np.ndarray
    position: int
    path: str
    label: str
    predicted: str
    class_index: int
    probability: float


def most_confident_errors(
    evaluation: Evaluation, data: ImageDataModule, count: int = 16
) -> list[Example]:
    """Return the wrong predictions with the highest probability, the worst first."""
    return _ranked(evaluation, data, count, wrong=True, order=lambda p: -p)


def least_certain_hits(
    evaluation: Evaluation, data: ImageDataModule, count: int = 8
) -> list[Example]:
    """Return the right predictions with the lowest probability, the least certain first."""
    return _ranked(evaluation, data, count, wrong=False, order=lambda p: p)


def _ranked(
    evaluation: Evaluation,
    data: ImageDataModule,
    count: int,
    *,
    wrong: bool,
    order: Callable[[float], float],
) -> list[Example]:
    found: list[tuple[float, int, int]] = []  # probability, place in the split, predicted
    for position, row in enumerate(evaluation.rows):
        if row.probabilities is None or row.refused:
            continue
        probability = max(row.probabilities)
        predicted = row.probabilities.index(probability)
        if (data.classes[predicted] != row.label) == wrong:
            found.append((probability, position, predicted))
    found.sort(key=lambda one: order(one[0]))
    return [
        Example(
            data.picture(evaluation.split, position),
            position,
            as_text(evaluation.rows[position].path),
            as_text(evaluation.rows[position].label),
            as_text(data.classes[predicted]),
            predicted,
            probability,
        )
        for probability, position, predicted in found[:count]
    ]
