"""The predict verb: from a checkpoint or ImageNet weights, and files, to predictions.csv."""

import logging
from pathlib import Path

from strided.config.keys import Config
from strided.errors import UserError
from strided.evaluation.imagenet import chosen_classifier
from strided.evaluation.predict_files import most_probable, predict_files
from strided.runs.folder import RunFolder
from strided.runs.predictions_csv import write_predictions
from strided.runs.results import Results
from strided.system.signals import Interruption

log = logging.getLogger(__name__)


def predict(config: Config, folder: Path, results: Results, _: Interruption) -> None:
    """The predict verb: classify `input` with `checkpoint` or `model`, write predictions.csv."""
    if config["batch_size"] < 1:
        raise UserError(f"batch_size={config['batch_size']}; expected 1 or more. Try batch_size=64")
    classifier = chosen_classifier(config)
    if config["input"] is None:
        raise UserError("input=null; expected a file, a folder or a glob. Try input=photos/")
    rows = predict_files(classifier, config["input"], config["batch_size"])
    file = RunFolder(folder).predictions
    write_predictions(file, rows, classifier.classes)
    failed = sum(row.probabilities is None for row in rows)
    results.update({"images": len(rows), "unreadable": failed, "classes": classifier.classes})
    for row in rows[:5]:
        if row.probabilities is not None:
            log.info("%s: %s", row.path, most_probable(row.probabilities, classifier.classes))
    unread = f", {failed} unreadable" if failed else ""
    log.info("%d images%s: %s", len(rows), unread, file)
    if failed == len(rows):
        raise UserError(
            f"none of the {failed} images of input={config['input']} could be read (the first: "
            f"{rows[0].error}); expected at least one. Try input=<a picture that opens elsewhere>"
        )
