"""What a report shows besides the numbers: the gap, the images, the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from strided.config.keys import Config
from strided.data import ImageDataModule
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluation import Evaluation
from strided.evaluation.examples import (
    Example,
    errors_of_each_kind,
    least_certain_hits,
    most_confident_errors,
)
from strided.evaluation.outputs import count_hits, most_validated
from strided.report.advice import is_augmented
from strided.report.data_card import data_card
from strided.report.diagnosis import Diagnosis, Share, diagnose
from strided.report.gallery import Sample, training_samples
from strided.report.ranking import RankingCurves, curves_of
from strided.runs.metrics_csv import read_metrics
from strided.runs.results import Results

LEAST_TRAIN = 500


@dataclass(frozen=True)
class Contents:
    """What a report shows besides the numbers; parts may be missing.

    errors are the most confident ones, kinds those that stand for all.
    overlays: a picture uint8 (S, S, 3) for an example, by its position in the split.
    """

    errors: Sequence[Example] = ()
    kinds: Sequence[Example] = ()
    hits: Sequence[Example] = ()
    overlays: Mapping[int, np.ndarray] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    reliability: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    curves: Sequence[RankingCurves] = ()
    diagnosis: Diagnosis | None = None
    card: Mapping[str, Any] | None = None

    @property
    def to_overlay(self) -> list[Example]:
        """The images that the page shows, each with an overlay."""
        return [*self.kinds, *self.hits]


def gather_contents(
    classifier: Classifier | None,
    evaluation: Evaluation | None,
    data: ImageDataModule,
    metrics: Path,
    config: Config,
    results: Results,
    validated: tuple[int, int] | None = None,
) -> Contents:
    """Measure the gap between training and validation, and choose the images to show.

    classifier is the best checkpoint, None if none was kept; evaluation is its test, or else its
    validation, if any; metrics is the run's metrics.csv; validated has the hits among validation
    images and the number of these, as the gap is to count them.
    """
    errors = most_confident_errors(evaluation, data) if evaluation else []
    certain = least_certain_hits(evaluation, data) if evaluation else []
    diagnosis, stages = None, results.get("stages", [])
    if classifier is not None and validated is not None:
        val = Share(*validated)
        most = min(most_validated(config, data), max(LEAST_TRAIN, val.count))
        train = Share(*count_hits(classifier, data, "train", most))
        curves = read_metrics(metrics) if metrics.is_file() else {}
        labels = data.labels("val")
        guessing = np.bincount(labels).max() / len(labels)
        diagnosis = diagnose(train, val, guessing, curves, config, stages)
    return Contents(
        errors=errors,
        kinds=errors_of_each_kind(evaluation, data) if evaluation else [],
        hits=certain,
        samples=training_samples(data, is_augmented(config, stages)),
        reliability=evaluation.reliability if evaluation else {},
        curves=curves_of(evaluation.rows, data.classes) if evaluation else [],
        diagnosis=diagnosis,
        card=data_card(data),
    )
