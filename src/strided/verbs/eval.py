"""The eval verb: from a checkpoint, or several that answer as one, to metrics and predictions."""

from pathlib import Path

from strided.config.keys import Config
from strided.config.overrides import listed
from strided.evaluation.cases import of_split, write_cases
from strided.evaluation.ensemble import measure
from strided.evaluation.fitting import note_decision
from strided.evaluation.members import members
from strided.evaluation.selective import note_selective
from strided.report.card import write_card
from strided.runs.ending import say_ending
from strided.runs.folder import RunFolder
from strided.runs.predictions_csv import write_predictions
from strided.runs.results import Results, by_name
from strided.system.signals import Interruption


def evaluate_checkpoint(config: Config, folder: Path, results: Results, _: Interruption) -> None:
    """The eval verb: measure `checkpoint` on a split, write metrics and predictions."""
    split, given = config["split"], config["checkpoint"]
    assert given is not None, "check() refuses it"
    checkpoints = members(given)
    evaluation, judge, data, ensemble = measure(checkpoints, config)
    write_predictions(RunFolder(folder).predictions, evaluation.rows, judge.classes)
    by_name(results).update(evaluation.metrics | evaluation.parts() | data.fold_facts())
    write_cases(folder, config, evaluation.rows, judge.classes, of_split(data, split))
    note_decision(results, judge.decision, evaluation)
    note_selective(results, judge.decision, evaluation, judge.classes)
    results.update(
        {
            "inference_precision": evaluation.precision,
            "views": judge.views,
            "confusion": evaluation.confusion,
            "classes": judge.classes,
            "splits": {split: evaluation.count},
            "split_hash": data.split_hash,
            "data_fingerprint": data.fingerprint,
            "skipped": len(data.skipped),
            "overlap": evaluation.overlap(),
        }
    )
    if ensemble is not None:
        results["ensemble"] = ensemble
    used = {"_target_": type(data).__name__, "intended_use": data.intended_use}
    write_card(folder, {**config, "data": used}, results)
    then = ["explain", f"checkpoint={given}", "input=photos/"]
    if isinstance(given, list) or len(checkpoints) > 1:
        then = ["predict", f"checkpoint={_as_typed(given)}", "input=photos/"]
    say_ending(evaluation.headline(), results=folder, then=then)


def _as_typed(given: str | list[str]) -> str:
    return given if isinstance(given, str) else listed(given)
