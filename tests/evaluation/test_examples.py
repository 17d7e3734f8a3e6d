"""Which errors a report shows."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from strided.data import ImageDataModule
from strided.evaluation.evaluation import Evaluation
from strided.evaluation.examples import errors_of_each_kind
from strided.runs.predictions_csv import Row

CLASSES = ["a", "b", "c"]
DATA = cast(
    "ImageDataModule",
    SimpleNamespace(classes=CLASSES, picture=lambda split, position: np.zeros((8, 8, 3), np.uint8)),
)


def evaluated(*rows: tuple[str, str, float]) -> Evaluation:
    """The evaluation of images by their true and predicted class and its probability."""
    found: list[Any] = []
    for place, (label, predicted, sure) in enumerate(rows):
        others = (1 - sure) / 2
        probabilities = [sure if name == predicted else others for name in CLASSES]
        found.append(Row(f"{place}.png", label, probabilities=probabilities))
    return Evaluation("test", {}, len(rows), [], found, "32-true")


def test_kinds_of_errors_are_shown_as_often_as_they_occur_the_surest_of_each_first() -> None:
    common = [("a", "b", 0.5 + place / 100) for place in range(30)]
    rare = [("b", "c", 0.9 + place / 100) for place in range(6)]
    single, right = [("c", "a", 0.99)], [("a", "a", 0.95)]
    shown = errors_of_each_kind(evaluated(*right, *common, *rare, *single), DATA, count=6)
    assert [(one.label, one.predicted, round(one.probability, 2)) for one in shown] == [
        ("b", "c", 0.95),
        *(("a", "b", round(0.79 - place / 100, 2)) for place in range(5)),
    ]
    assert len(errors_of_each_kind(evaluated(*common, *rare, *single), DATA, count=100)) == 37
