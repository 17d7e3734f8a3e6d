"""The eval verb: from a checkpoint and data to metrics and predictions.csv."""

from functools import partial
from pathlib import Path

from strided.config.keys import Config
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluate import evaluate
from strided.evaluation.fitting import chosen_decision, note_decision
from strided.evaluation.held_out import (
    require_known_split,
    require_split,
    set_up_data,
    tell_part,
)
from strided.evaluation.overlap import seen_by, without_seen
from strided.runs.ending import say_ending
from strided.runs.folder import RunFolder
from strided.runs.predictions_csv import write_predictions
from strided.runs.results import Results, by_name
from strided.system.signals import Interruption
from strided.training.loading import find_checkpoint


def evaluate_checkpoint(config: Config, folder: Path, results: Results, _: Interruption) -> None:
    """The eval verb: measure `checkpoint` on a split, write metrics and predictions."""
    split = config["split"]
    assert config["checkpoint"] is not None, "check() refuses it"
    classifier = Classifier.load(
        config["checkpoint"], device=config["accelerator"], precision=config["precision"]
    )
    classifier.decision = chosen_decision(classifier.decision, config)
    entries = seen_by(classifier, find_checkpoint(config["checkpoint"]))
    exclude = config["overlap"] == "exclude"
    # a new split is no harm if the images that were trained on are known, and left out
    new_split = exclude and entries is not None
    data = set_up_data(classifier, config.get("data"), new_split=new_split)
    require_split(data, split)
    tell_part(classifier, data, split)
    overlap = partial(without_seen, entries, classifier, data, split, exclude=exclude)
    if data.pipeline == "store":
        overlap()  # refuses before the network runs
    if not new_split:
        require_known_split(classifier, data, split)
    evaluation = evaluate(classifier, data, split, overlap=overlap)
    write_predictions(RunFolder(folder).predictions, evaluation.rows, classifier.classes)
    by_name(results).update(evaluation.metrics | data.fold_facts())
    note_decision(results, classifier.decision, evaluation)
    results.update(
        {
            "inference_precision": evaluation.precision,
            "confusion": evaluation.confusion,
            "classes": classifier.classes,
            "splits": {split: evaluation.count},
            "split_hash": data.split_hash,
            "data_fingerprint": data.fingerprint,
            "skipped": len(data.skipped),
            "overlap": evaluation.overlap(),
        }
    )
    say_ending(
        evaluation.headline(),
        results=folder,
        then=["explain", f"checkpoint={config['checkpoint']}", "input=photos/"],
    )
