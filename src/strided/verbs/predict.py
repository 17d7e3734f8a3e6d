"""The predict verb: from a checkpoint or ImageNet weights, and files, to predictions.csv."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from strided.config.keys import Config
from strided.errors import UserError, one_line
from strided.evaluation.cases import of_files, write_cases
from strided.evaluation.gating import refusals_of
from strided.evaluation.imagenet import chosen_classifier
from strided.evaluation.members import members
from strided.evaluation.predict_files import find_images, most_probable
from strided.evaluation.predict_together import predict_alone, predict_together
from strided.evaluation.selective import note_routes
from strided.runs.ending import say_ending, words_of
from strided.runs.folder import RunFolder
from strided.runs.predictions_csv import Row, write_predictions
from strided.runs.results import Results
from strided.system.signals import Interruption

log = logging.getLogger(__name__)

SHOWN = 5  # images whose classes the terminal shows


def predict(config: Config, folder: Path, results: Results, _: Interruption) -> None:
    """The predict verb: classify `input` with `checkpoint` or `model`, write predictions.csv."""
    if config["batch_size"] < 1:
        raise UserError(f"batch_size={config['batch_size']}; expected 1 or more. Try batch_size=64")
    checkpoints = members(config["checkpoint"]) if config["checkpoint"] else []
    classifier = None if len(checkpoints) > 1 else chosen_classifier(config)
    if config["input"] is None:
        raise UserError("input=null; expected a file, a folder or a glob. Try input=photos/")
    found = find_images(config["input"])
    if classifier is None:
        answered = predict_together(checkpoints, found, config)
    else:
        own = checkpoints[0] if checkpoints else None
        answered = predict_alone(classifier, own, found, config["batch_size"])
    rows, file = answered.rows, RunFolder(folder).predictions
    write_predictions(file, rows, answered.classes)
    write_cases(folder, config, rows, answered.classes, of_files(found.files))
    note_routes(results, rows)
    failed = sum(row.probabilities is None for row in rows)
    refusals = refusals_of(rows)
    results.update(
        {
            "images": len(rows),
            "inference_precision": answered.precision,
            "views": answered.views,
            "unreadable": failed,
            "ignored_files": sum(found.ignored.values()),
            "ignored_by_ending": found.ignored,
            "classes": answered.classes,
        }
    )
    if refusals is not None:
        results["refusals"] = refusals
    if checkpoints and any(row.label for row in rows):
        results["overlap"] = overlap_of_labelled(answered.seen)
    report_first(rows, answered.classes, file)
    unread = f", {failed} unreadable" if failed else ""
    if refusals is not None:
        unread += f", {refusals['refused']} refused"
    network = words_of(results, "checkpoint", "model")
    verb = "predict" if len(checkpoints) > 1 else "explain"  # one network can be looked into
    say_ending(
        f"{len(rows)} image{'s' if len(rows) > 1 else ''} in {one_line(config['input'])}{unread}",
        predictions=file,
        then=[verb, *network, f"input={config['input']}"] if failed < len(rows) else (),
    )
    if failed == len(rows):
        raise UserError(
            f"none of the {failed} images of input={config['input']} could be read (the first: "
            f"{rows[0].error}); expected at least one. Try input=<a picture that opens elsewhere>"
        )


def report_first(rows: Sequence[Row], classes: Sequence[str], file: Path) -> None:
    """Log the classes of the first images, and where the others are."""
    for row in rows[:SHOWN]:
        if row.refused:
            log.info("%s: refused (%s)", row.path, row.reasons)
        elif row.probabilities is not None:
            log.info("%s: %s", row.path, most_probable(row.probabilities, classes))
    if more := len(rows[SHOWN:]):
        log.info("... and %d more in %s", more, file.name)


def overlap_of_labelled(seen: np.ndarray | None) -> dict[str, Any] | None:
    """Say how many of the images whose folder names their class were seen in training.

    Somebody may count the hits among them. Returns the entry of results.json.
    """
    if seen is None:
        return None
    shared = int(seen.sum())
    log.info("%d of %d labelled images were seen in training", shared, len(seen))
    return {"shared": shared, "labelled": len(seen)}
