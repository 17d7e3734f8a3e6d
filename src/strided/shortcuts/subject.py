"""What a check looks at: a classifier, and some of the images of its training and of its test."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from strided.data import ImageDataModule
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluation import Evaluation
from strided.evaluation.from_features import FromFeatures
from strided.training.transfer.features import KeptFeatures

_MOST_TRAIN, _MOST_TEST = 2000, 1000  # images: simple classifiers need no more


@dataclass(frozen=True)
class Subject:
    """train, val and test are indices of images of the data set; `split` is the measured one.

    right bool (N,) says on which of the tested images the classifier is. `left_out` counts those of
    the split that were not measured.
    """

    classifier: Classifier
    data: ImageDataModule
    split: str
    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    right: np.ndarray
    left_out: int
    kept: dict[str, KeptFeatures] = field(default_factory=dict)  # of altered images, by rendering

    def features(self, rendering: str) -> KeptFeatures:
        """The features of images altered so, of a classifier on kept features."""
        assert isinstance(self.classifier, FromFeatures)
        if rendering not in self.kept:
            layers = self.classifier.kept.layers
            self.kept[rendering] = KeptFeatures(layers, rendering=rendering)
        return self.kept[rendering]

    @property
    def computed(self) -> int:
        """How many features of altered images were not kept before."""
        return sum(kept.computed for kept in self.kept.values())

    @cached_property
    def train_labels(self) -> np.ndarray:
        """int64 (N,)."""
        found: np.ndarray = self.data.source.labels[self.train]
        return found

    @cached_property
    def test_labels(self) -> np.ndarray:
        """int64 (N,)."""
        found: np.ndarray = self.data.source.labels[self.test]
        return found

    @property
    def majority(self) -> int:
        """Tested images that always naming the largest class of training gets right."""
        return int((self.test_labels == np.bincount(self.train_labels).argmax()).sum())


def subject_of(classifier: Classifier, data: ImageDataModule, evaluation: Evaluation) -> Subject:
    """Choose images, spread over the splits; only those that the evaluation has measured."""
    split = evaluation.split
    indices, rows = data.readable(split), evaluation.rows
    train = data.readable("train")
    measured = [place for place, row in enumerate(rows) if row.probabilities is not None]
    chosen = _spread(np.array(measured), _MOST_TEST)
    right = [
        data.classes[int(np.argmax(rows[place].probabilities or ()))] == rows[place].label
        for place in chosen.tolist()
    ]
    return Subject(
        classifier,
        data,
        split,
        _spread(train[train < len(data.source.without_extra())], _MOST_TRAIN),
        _spread(data.readable("val"), _MOST_TEST),
        indices[chosen],
        np.array(right),
        len(indices) - len(measured),
    )


def _spread(values: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the values, evenly spaced."""
    places = np.linspace(0, len(values) - 1, min(most, len(values))).round().astype(int)
    chosen: np.ndarray = values[places]
    return chosen
