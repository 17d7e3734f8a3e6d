"""The eval verb: from a checkpoint and data to metrics and predictions.csv."""

import logging
from pathlib import Path

from strided.config.keys import Config
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluate import evaluate
from strided.evaluation.held_out import require_known_split, require_split, set_up_data
from strided.runs.folder import RunFolder
from strided.runs.predictions_csv import write_predictions
from strided.runs.results import Results, by_name
from strided.system.signals import Interruption

log = logging.getLogger(__name__)


def evaluate_checkpoint(config: Config, folder: Path, results: Results, _: Interruption) -> None:
    """The eval verb: measure `checkpoint` on a split, write metrics and predictions."""
    split = config["split"]
    assert config["checkpoint"] is not None, "check() refuses it"
    classifier = Classifier.load(config["checkpoint"], device=config["accelerator"])
    data = set_up_data(classifier, config.get("data"))
    require_split(data, split)
    require_known_split(classifier, data, split)
    evaluation = evaluate(classifier, data, split)
    write_predictions(RunFolder(folder).predictions, evaluation.rows, classifier.classes)
    by_name(results).update(evaluation.metrics)
    results.update(
        {
            "confusion": evaluation.confusion,
            "classes": classifier.classes,
            "splits": {split: evaluation.count},
            "split_hash": data.split_hash,
            "data_fingerprint": data.fingerprint,
            "skipped": len(data.skipped),
        }
    )
    log.info("%s", evaluation.headline())
