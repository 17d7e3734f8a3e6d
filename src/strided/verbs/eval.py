"""The eval verb: a checkpoint and data, to metrics and predictions.csv."""

import logging
from pathlib import Path
from typing import Any

from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluate import evaluate
from strided.evaluation.held_out import data_of, match_classes, require_known_split, require_split
from strided.runs.folder import RunFolder
from strided.runs.predictions_csv import write_predictions
from strided.system.signals import Interruption

log = logging.getLogger(__name__)


def evaluate_checkpoint(
    config: dict[str, Any], folder: Path, results: dict[str, Any], _: Interruption
) -> None:
    """The eval verb: measure `checkpoint` on a split, write metrics and predictions."""
    split = config["split"]
    classifier = Classifier.load(config["checkpoint"], device=config["accelerator"])
    data = data_of(classifier, config.get("data"))
    match_classes(classifier, data)
    data.use(classifier.preprocessing)
    data.setup()
    require_split(data, split)
    require_known_split(classifier, data, split)
    evaluation = evaluate(classifier, data, split)
    write_predictions(RunFolder(folder).predictions, evaluation.rows, classifier.classes)
    results.update(
        evaluation.metrics,
        confusion=evaluation.confusion,
        classes=classifier.classes,
        splits={split: evaluation.count},
        split_hash=data.split_hash,
        data_fingerprint=data.fingerprint,
        skipped=len(data.skipped),
    )
    log.info("%s", evaluation.headline())
