"""The best checkpoint of a run: loaded, calibrated on held-out images, measured once."""

import logging
from dataclasses import replace
from functools import partial

from strided.data import ImageDataModule
from strided.decision.calibration import Calibration
from strided.decision.decision import VALIDATION, Decision
from strided.errors import UserError
from strided.evaluation.cases import of_split, write_cases
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluate import evaluate
from strided.evaluation.evaluation import Evaluation
from strided.evaluation.fitting import (
    HeldOut,
    describe_fit,
    fit_decision,
    note_decision,
    read_inner,
    validation_of,
    write_held_out,
)
from strided.evaluation.from_features import from_features
from strided.evaluation.gating import fit_gate
from strided.evaluation.outputs import most_validated
from strided.evaluation.overlap import overlap, seen_by
from strided.evaluation.selective import note_selective
from strided.runs.folder import RunFolder
from strided.runs.predictions_csv import write_predictions
from strided.runs.results import by_name
from strided.training.decision_file import store_decision
from strided.training.task import ClassificationTask
from strided.training.trainer import Run

log = logging.getLogger(__name__)


def best_classifier(run: Run, task: ClassificationTask) -> Classifier | None:
    """The best checkpoint; a fast_dev_run's current weights; None if no checkpoint was kept."""
    log.info("training time %.1f s", run.results["train_seconds"])
    if run.quick:
        return Classifier(task, str(task.device))
    if run.checkpoint is None:
        return None
    if run.results["best_epoch"] is None:
        raise UserError(
            f"{run.checkpoint.monitor} was never measured, or never a number, so that no "
            "checkpoint is the best; expected a validation. Try more trainer.max_epochs or "
            "trainer.max_steps, or a smaller trainer.val_check_interval"
        )
    return Classifier.load(run.folder, device=str(task.device))


def as_measured(run: Run, best: Classifier | None, data: ImageDataModule) -> Classifier | None:
    """The best checkpoint as it is measured: on kept features, if it was trained on these."""
    if best is None or run.quick:
        return best
    return from_features(best, data, run.results.get("stages", []), run.results["best_epoch"])


def decide_by_held_out(
    run: Run, best: Classifier | None, data: ImageDataModule
) -> tuple[int, int] | None:
    """Calibrate the best checkpoint on images that it was not trained on, and store how in it.

    Returns the hits among validation images, and the number of these; None if none were looked at.
    """
    if best is None or run.quick:
        return None
    files = RunFolder(run.folder)
    held: HeldOut | None
    if len(data.splits["val"]):
        held = validation_of(best, data, most_validated(run.config, data))
    else:
        held = read_inner(files.inner_logits, data)
    decision = fit_decision(run.config, held, data.classes)
    gate = fit_gate(run.config, best, data)
    best.decision = replace(decision or Decision(Calibration()), gate=gate) if gate else decision
    store_decision(files.best, best.decision)
    if held is None or best.decision is None:
        return None
    run.results["calibration"] = describe_fit(best.decision, held)
    if held.source != VALIDATION:
        return None
    write_held_out(files.val_predictions, best.decision, held, data.classes)
    right = held.logits.argmax(1) == held.labels  # as count_hits has them
    return int(right.sum()), len(right)


def measure_best(run: Run, best: Classifier | None, data: ImageDataModule) -> Evaluation | None:
    """Test the best checkpoint; without a test split, measure it on validation."""
    if "test" in data.splits:
        return test_best(run, best, data)
    log.info("%s has no test split: nothing was tested", data.name)
    if best is None or run.quick or not len(data.splits["val"]):
        return None
    return validate_best(run, best, data)


def test_best(run: Run, best: Classifier | None, data: ImageDataModule) -> Evaluation | None:
    """Test only the best checkpoint, once; a fast_dev_run tests its current weights on a batch."""
    if best is None:
        log.warning("callbacks.checkpoint=null kept no checkpoint: nothing was tested")
        return None
    limit = 1 if run.quick else run.config["trainer"].get("limit_test_batches")
    if limit == 0:
        log.info("trainer.limit_test_batches=0: nothing was tested")
        return None
    evaluation = _evaluate(run, best, data, "test", limit)
    run.results.update(
        {
            "tested": evaluation.count,
            "confusion": evaluation.confusion,
            "overlap": evaluation.overlap(),
        }
    )
    if not run.quick:
        write_predictions(RunFolder(run.folder).predictions, evaluation.rows, data.classes)
        write_cases(run.folder, run.config, evaluation.rows, data.classes, of_split(data, "test"))
    return evaluation


def validate_best(run: Run, best: Classifier, data: ImageDataModule) -> Evaluation:
    """Measure the best checkpoint on the images that it was chosen by.

    It writes no key and no file of a test, so that nothing takes these figures for one. What the
    gate refuses keeps its probabilities: the calibration was fitted on these images too, and an
    ensemble's is.
    """
    limit = run.config["trainer"].get("limit_val_batches")
    evaluation = _evaluate(run, best, data, "val", limit)
    run.results["val_confusion"] = evaluation.confusion
    run.results["val_overlap"] = evaluation.overlap()
    rows = [replace(row, route="") if row.refused else row for row in evaluation.rows]
    write_predictions(RunFolder(run.folder).val_predictions, rows, data.classes)
    return evaluation


def _evaluate(
    run: Run, best: Classifier, data: ImageDataModule, split: str, limit: int | float | None
) -> Evaluation:
    """Evaluate on a split; its metrics go into the results.

    A `limit` leaves so many batches, or so large a part of them, in the split: what comes after it
    shows the images that were measured.
    """
    data.splits = {**data.splits, split: data.limited(split, limit)}
    entries = None if run.quick else seen_by(best, RunFolder(run.folder).best)
    found = partial(overlap, entries, best, data, split)
    evaluation = evaluate(best, data, split, found, whole=limit is None)
    by_name(run.results).update(evaluation.metrics | evaluation.parts())
    note_decision(run.results, best.decision, evaluation)
    note_selective(run.results, best.decision, evaluation, data.classes)
    run.results["inference_precision"] = evaluation.precision
    run.results["views"] = best.views
    run.results["skipped"] = len(data.skipped)
    return evaluation
