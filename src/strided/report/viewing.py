"""Look at a finished run: what its report shows beside the numbers."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strided.data import ImageDataModule
from strided.errors import UserError
from strided.evaluation.calibration import reliability
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluate import Evaluation, hits
from strided.evaluation.examples import Example, least_certain_hits, most_confident_errors
from strided.explain import cam_layer, grad_cam, overlay, traced
from strided.report.card import data_card
from strided.report.diagnosis import Share, diagnose, is_augmented
from strided.report.document import Seen
from strided.report.gallery import training_samples
from strided.runs.metrics_csv import read_metrics

log = logging.getLogger(__name__)

MOST_IMAGES = 5000  # of training, and of validation, that the gap between them is measured on
LEAST_TRAIN = 500
HEATED = 4  # of the errors, and of the hits, that get a heatmap


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
    diagnosis, stages = None, results.get("stages", [])
    if classifier is not None:
        # a run that is to be quick has limited its validation
        limit = config["trainer"].get("limit_val_batches")
        most = min(MOST_IMAGES, limit * data.batch_size if isinstance(limit, int) else MOST_IMAGES)
        val = Share(*hits(classifier, data, "val", most))
        train = Share(*hits(classifier, data, "train", min(most, max(LEAST_TRAIN, val.count))))
        curves = read_metrics(metrics) if metrics.is_file() else {}
        labels = data.labels("val")
        guessing = np.bincount(labels).max() / len(labels)
        diagnosis = diagnose(train, val, guessing, curves, config, stages)
    shown = [*errors[:HEATED], *certain[:HEATED]]
    return Seen(
        errors=errors,
        hits=certain,
        heats=heats(classifier, shown) if classifier and shown else {},
        samples=training_samples(data, is_augmented(config, stages)),
        reliability=reliability(evaluation.rows, data.classes) if evaluation else [],
        diagnosis=diagnosis,
        card=data_card(data),
    )


def heats(classifier: Classifier, examples: Sequence[Example]) -> dict[int, np.ndarray]:
    """What spoke for the predicted class, laid over each picture; by the example's position.

    Empty for a network that Grad-CAM cannot look into.
    """
    net, device = classifier.task.model, classifier.device
    pictures = np.stack([example.picture.transpose(2, 0, 1) for example in examples])
    pixels = torch.from_numpy(pictures[:, : classifier.preprocessing.channels]).to(device)
    images = classifier.task.as_input(classifier.preprocessing.normalise(pixels))
    try:
        layer = cam_layer(net, traced(net, images[:1]))
    except UserError as error:
        log.info("no heatmaps in the report: %s", str(error).partition(", so that")[0])
        return {}
    targets = torch.tensor([example.class_index for example in examples])
    found = grad_cam(net, layer, images, targets)
    return {
        example.position: overlay(example.picture, heat.numpy())
        for example, heat in zip(examples, found, strict=True)
    }
