"""Pictures of the images that two runs predict differently."""

import logging
from pathlib import Path

from strided.compare.paired_runs import Pair
from strided.data.reading.files import as_text
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.evaluation.held_out import set_up_data
from strided.report.contact_sheet import Captioned, draw_sheet
from strided.runs.predictions_csv import Predictions

log = logging.getLogger(__name__)

MOST = 16  # pictures


def disagreements(pair: Pair, folder: Path) -> list[Captioned]:
    """Return up to 16, as the network with the larger input saw them; draw disagreements.png.

    There are none, with the reason in the log, if the images have changed since.
    """
    try:
        loaded = [
            (Classifier.load(run.checkpoint, device="cpu"), run)
            for run in (pair.first, pair.second)
        ]
        classifier, run = max(loaded, key=lambda entry: entry[0].preprocessing.image_size)
        typed = run.config.get("data") if "checkpoint" in run.config else None  # of an eval
        data = set_up_data(classifier, typed)
        if data.fingerprint != run.results["data_fingerprint"]:
            raise UserError("the data have changed since")
        places = {path: place for place, path in enumerate(data.paths(run.split))}
        one, other = pair.predictions
        captioned = [
            Captioned(
                data.picture(run.split, places[one.paths[at]]),
                [
                    f"true {as_text(one.labels[at])}",
                    f"first: {_predicted(one, at)}",
                    f"second: {_predicted(other, at)}",
                ],
            )
            for at in pair.disagreements()[:MOST]
        ]
    except Exception as error:  # pictures are optional: a fault of checkpoint or data is logged
        log.warning("no pictures of the disagreements: %s", error)
        return []
    if captioned:
        draw_sheet(captioned, folder / "disagreements.png")
    return captioned


def _predicted(predictions: Predictions, at: int) -> str:
    name, probability = predictions.predicted[at], predictions.probabilities[at].max()
    return f"{as_text(name)} ({probability:.2f})"
