"""What a report shows besides the numbers: the gap, the images, the data."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from strided.config.keys import Config
from strided.data import ImageDataModule
from strided.evaluation.calibration import reliability
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluate import Evaluation, count_hits
from strided.evaluation.examples import Example, least_certain_hits, most_confident_errors
from strided.report.advice import is_augmented
from strided.report.data_card import data_card
from strided.report.diagnosis import Diagnosis, Share, diagnose
from strided.report.gallery import Sample, training_samples
from strided.runs.metrics_csv import read_metrics
from strided.runs.results import Results

MOST_IMAGES = 5000  # images of training, and of validation, to measure the gap on
LEAST_TRAIN = 500
OVERLAID = 4  # errors with an overlay, and hits: heatmaps take time


@dataclass(frozen=True)
class Contents:
    """What a report shows besides the numbers; parts may be missing.

    overlays: a picture uint8 (S, S, 3) for an example, by its position in the split.
    """

    errors: Sequence[Example] = ()
    hits: Sequence[Example] = ()
    overlays: Mapping[int, np.ndarray] = field(default_factory=dict)
    samples: Sequence[Sample] = ()
    reliability: Sequence[Mapping[str, Any]] = ()
    diagnosis: Diagnosis | None = None
    card: Mapping[str, Any] | None = None

    @property
    def to_overlay(self) -> list[Example]:
        """The images that get an overlay."""
        return [*self.errors[:OVERLAID], *self.hits[:OVERLAID]]


def gather_contents(
    classifier: Classifier | None,
    evaluation: Evaluation | None,
    data: ImageDataModule,
    metrics: Path,
    config: Config,
    results: Results,
) -> Contents:
    """Measure the gap between training and validation, and choose the images to show.

    classifier is the best checkpoint, None if none was kept; evaluation is its test, or else its
    validation, if any; metrics is the run's metrics.csv.
    """
    errors = most_confident_errors(evaluation, data) if evaluation else []
    certain = least_certain_hits(evaluation, data) if evaluation else []
    diagnosis, stages = None, results.get("stages", [])
    if classifier is not None and len(data.splits["val"]):
        # a quick run has limited its validation
        limit = config["trainer"].get("limit_val_batches")
        most = min(MOST_IMAGES, limit * data.batch_size if isinstance(limit, int) else MOST_IMAGES)
        if evaluation is not None and evaluation.split == "val":
            val = Share(int(np.trace(evaluation.confusion)), evaluation.count)
        else:
            val = Share(*count_hits(classifier, data, "val", most))
        train = Share(
            *count_hits(classifier, data, "train", min(most, max(LEAST_TRAIN, val.count)))
        )
        curves = read_metrics(metrics) if metrics.is_file() else {}
        labels = data.labels("val")
        guessing = np.bincount(labels).max() / len(labels)
        diagnosis = diagnose(train, val, guessing, curves, config, stages)
    return Contents(
        errors=errors,
        hits=certain,
        samples=training_samples(data, is_augmented(config, stages)),
        reliability=reliability(evaluation.rows, data.classes) if evaluation else [],
        diagnosis=diagnosis,
        card=data_card(data),
    )
