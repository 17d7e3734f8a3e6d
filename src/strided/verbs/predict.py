"""The predict verb: from a checkpoint or ImageNet weights, and files, to predictions.csv."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strided.config.keys import Config
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.evaluation.imagenet import chosen_classifier
from strided.evaluation.overlap import seen_by
from strided.evaluation.predict_files import find_images, most_probable, predict_files
from strided.runs.ending import say_ending, words_of
from strided.runs.folder import RunFolder
from strided.runs.predictions_csv import Row, write_predictions
from strided.runs.results import Results
from strided.system.signals import Interruption
from strided.training.loading import find_checkpoint
from strided.training.seen_images import are_seen

log = logging.getLogger(__name__)

SHOWN = 5  # images whose classes the terminal shows


def predict(config: Config, folder: Path, results: Results, _: Interruption) -> None:
    """The predict verb: classify `input` with `checkpoint` or `model`, write predictions.csv."""
    if config["batch_size"] < 1:
        raise UserError(f"batch_size={config['batch_size']}; expected 1 or more. Try batch_size=64")
    classifier = chosen_classifier(config)
    if config["input"] is None:
        raise UserError("input=null; expected a file, a folder or a glob. Try input=photos/")
    found = find_images(config["input"])
    log.info("%d images in %s", len(found.files), config["input"])
    rows = predict_files(classifier, found, config["batch_size"])
    file = RunFolder(folder).predictions
    write_predictions(file, rows, classifier.classes)
    failed = sum(row.probabilities is None for row in rows)
    results.update(
        {
            "images": len(rows),
            "inference_precision": classifier.precision,
            "unreadable": failed,
            "ignored_files": sum(found.ignored.values()),
            "ignored_by_ending": found.ignored,
            "classes": classifier.classes,
        }
    )
    if config["checkpoint"] is not None and any(row.label for row in rows):
        results["overlap"] = overlap_of_labelled(classifier, config["checkpoint"], rows)
    report_first(rows, classifier.classes, file)
    unread = f", {failed} unreadable" if failed else ""
    network = words_of(results, "checkpoint", "model")
    say_ending(
        f"{len(rows)} image{'s' if len(rows) > 1 else ''}{unread}",
        predictions=file,
        then=["explain", *network, f"input={config['input']}"] if failed < len(rows) else (),
    )
    if failed == len(rows):
        raise UserError(
            f"none of the {failed} images of input={config['input']} could be read (the first: "
            f"{rows[0].error}); expected at least one. Try input=<a picture that opens elsewhere>"
        )


def report_first(rows: Sequence[Row], classes: Sequence[str], file: Path) -> None:
    """Log the classes of the first images, and where the others are."""
    for row in rows[:SHOWN]:
        if row.probabilities is not None:
            log.info("%s: %s", row.path, most_probable(row.probabilities, classes))
    if more := len(rows[SHOWN:]):
        log.info("... and %d more in %s", more, file.name)


def overlap_of_labelled(
    classifier: Classifier, checkpoint: str, rows: Sequence[Row]
) -> dict[str, Any] | None:
    """Say how many of the images whose folder names their class were seen in training.

    Somebody may count the hits among them. Returns the entry of results.json.
    """
    entries = seen_by(classifier, find_checkpoint(checkpoint))
    if entries is None:
        return None
    digests = [row.digest for row in rows if row.label and row.digest is not None]
    shared = int(are_seen(entries, np.array(digests, dtype=np.uint64), trained=False).sum())
    log.info("%d of %d labelled images were seen in training", shared, len(digests))
    return {"shared": shared, "labelled": len(digests)}
