"""Notable test images: the most confident errors, the least certain hits."""

from collections.abc import Callable, Sequence
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


def errors_of_each_kind(
    evaluation: Evaluation, data: ImageDataModule, count: int = 40
) -> list[Example]:
    """Return wrong predictions, of each kind of error in proportion to how often it occurs.

    A kind is a pair of true and predicted class; of each the most confident come first. The seats
    are given as in a parliament (Sainte-Lague 1910). They are sorted by probability, as
    `most_confident_errors` is.
    """
    found = _predictions(evaluation, data, wrong=True)
    found.sort(key=lambda one: -one[0])
    kinds: dict[tuple[str, int], list[_Prediction]] = {}
    for one in found:
        kinds.setdefault((evaluation.rows[one[1]].label, one[2]), []).append(one)
    seats = [
        ((place + 0.5) / len(kind), one)
        for kind in kinds.values()
        for place, one in enumerate(kind)
    ]
    chosen = [one for _, one in sorted(seats, key=lambda seat: seat[0])[:count]]
    return _examples(sorted(chosen, key=lambda one: -one[0]), evaluation, data)


_Prediction = tuple[float, int, int]  # probability, place in the split, predicted class


def _ranked(
    evaluation: Evaluation,
    data: ImageDataModule,
    count: int,
    *,
    wrong: bool,
    order: Callable[[float], float],
) -> list[Example]:
    found = _predictions(evaluation, data, wrong=wrong)
    found.sort(key=lambda one: order(one[0]))
    return _examples(found[:count], evaluation, data)


def _predictions(
    evaluation: Evaluation, data: ImageDataModule, *, wrong: bool
) -> list[_Prediction]:
    found: list[_Prediction] = []
    for position, row in enumerate(evaluation.rows):
        if row.probabilities is None or row.refused:
            continue
        probability = max(row.probabilities)
        predicted = row.probabilities.index(probability)
        if (data.classes[predicted] != row.label) == wrong:
            found.append((probability, position, predicted))
    return found


def _examples(
    found: Sequence[_Prediction], evaluation: Evaluation, data: ImageDataModule
) -> list[Example]:
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
        for probability, position, predicted in found
    ]
