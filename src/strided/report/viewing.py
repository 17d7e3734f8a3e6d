"""Look at a finished run: what its report shows beside the numbers."""

from pathlib import Path
from typing import Any

from strided.data import ImageDataModule
from strided.evaluation import Evaluation, hits
from strided.prediction import Classifier
from strided.report.card import data_card
from strided.report.curves import read_metrics
from strided.report.diagnosis import Share, diagnose
from strided.report.document import Seen
from strided.report.gallery import least_certain_hits, most_confident_errors, training_samples
from strided.report.outcome import reliability

MOST_IMAGES = 5000  # of training, and of validation, that the gap between them is measured on
LEAST_TRAIN = 1000


def view(
    classifier: Classifier | None,
    evaluation: Evaluation | None,
    data: ImageDataModule,
    metrics: Path,
    config: dict[str, Any],
    results: dict[str, Any],
) -> Seen:
    """Measure the gap between training and validation, and choose the images to show.

    classifier is the best checkpoint, None where none was kept; evaluation its test, if any;
    metrics the run's metrics.csv.
    """
    errors = most_confident_errors(evaluation, data) if evaluation else []
    certain = least_certain_hits(evaluation, data) if evaluation else []
    diagnosis = None
    if classifier is not None:
        val = Share(*hits(classifier, data, "val", MOST_IMAGES))
        most = min(MOST_IMAGES, max(LEAST_TRAIN, val.count))
        train = Share(*hits(classifier, data, "train", most))
        curves = read_metrics(metrics) if metrics.is_file() else {}
        diagnosis = diagnose(train, val, curves, config, results)
    return Seen(
        errors=errors,
        hits=certain,
        samples=training_samples(data),
        reliability=reliability(evaluation, data.classes) if evaluation else [],
        diagnosis=diagnosis,
        card=data_card(data),
    )
