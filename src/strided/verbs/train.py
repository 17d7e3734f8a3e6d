"""The train verb: from a resolved config to a run folder with its best checkpoint tested once."""

import logging
import time
from dataclasses import asdict, replace
from pathlib import Path

import lightning.pytorch as pl
import torch

from strided.config.keys import Config, Views
from strided.data import ImageDataModule
from strided.evaluation.best import as_measured, best_classifier, decide_by_held_out, measure_best
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluation import Evaluation
from strided.evaluation.fitting import refuse_calibration
from strided.evaluation.gating import refuse_gate
from strided.evaluation.selective import policy_of
from strided.evaluation.views import refuse_mirrors, refuse_unfitted
from strided.explain.overlays import overlays
from strided.loggers import StartedRun
from strided.loggers.running import build_loggers, running
from strided.models.summary import summary
from strided.report.card import write_card
from strided.report.contents import Contents, gather_contents
from strided.report.document import write_report
from strided.runs.ending import from_here, say_ending
from strided.runs.folder import RunFolder
from strided.runs.predictions_csv import suspects, write_suspects
from strided.runs.results import Results, by_name
from strided.shortcuts.check import look_for_shortcuts
from strided.shortcuts.external import external_files
from strided.system.processes import first_on_each_machine, is_first
from strided.system.signals import Interruption
from strided.system.verbosity import ONCE, shown_from
from strided.training.determinism import training_switches
from strided.training.execution import refuse_fused_clipping
from strided.training.fit import fit
from strided.training.losses import refuse_two_balances
from strided.training.preparation import (
    build_task,
    check_same_data,
    prepare_data,
    set_seeds,
)
from strided.training.task import ClassificationTask
from strided.training.trainer import Run, prepare_run, without_validation
from strided.training.transfer.solved_head import refuse_no_validation, refuse_unsolvable
from strided.training.transfer.transfer import Transfer

log = logging.getLogger(__name__)


def train(config: Config, folder: Path, results: Results, interruption: Interruption) -> None:
    """Fit, test the best checkpoint once, write the report; continue where `folder` stopped.

    `results` becomes results.json; each result is added as soon as it is known.
    """
    with training_switches(config["trainer"]):
        train_and_test(config, folder, results, interruption)


def train_and_test(
    config: Config, folder: Path, results: Results, interruption: Interruption
) -> None:
    """Train as `train` does, in a process that is set up for it."""
    began = time.perf_counter()
    set_seeds(config["seed"])
    results["seed"] = config["seed"]
    refuse_two_balances(config)
    refuse_fused_clipping(config)
    refuse_unsolvable(config)
    views: Views = (config.get("evaluation") or {}).get("views") or "none"
    refuse_mirrors(views, config["data"])
    refuse_unfitted(views, without_validation=without_validation(config))
    run = prepare_run(
        config, folder, results, interruption
    )  # first: it finds mistakes without data
    callbacks: list[pl.Callback] = run.trainer.callbacks  # type: ignore[attr-defined]
    run.trainer.loggers = build_loggers(config["logger"], callbacks, quick=run.quick)
    with first_on_each_machine():
        data, decided = prepare_data(config, results, run.resume_from)
        task = build_task(config, decided, data, results, fresh=run.resume_from is None)
    refuse_no_validation(config, data)
    external_files(data)  # found now, or refused
    if not run.quick:
        refuse_calibration(config, data)
    refuse_gate(config, task, data)
    policy_of(config, data.classes)
    check_same_data(data)
    report_layers(task)
    begin_seen(run, data)
    started = StartedRun(folder, config, results["git"]["commit"], task.model)
    with running(run.trainer.loggers, started) as loggers:
        fit(run, task, data)
        if not is_first():
            return
        best = best_classifier(run, task)
        measured = as_measured(run, best, data)
        validated = decide_by_held_out(run, measured, data)
        evaluation = measure_best(run, measured, data)
        check_shortcuts(run, measured, evaluation, data, began)
        if not run.quick:
            contents = report_contents(run, measured, evaluation, data, validated)
            write_report(folder, config, results, contents)
            write_card(folder, config, results)
            for logger in loggers:
                logger.finish(folder, results, contents.errors)
    say_end(run, evaluation)


def report_layers(task: ClassificationTask) -> None:
    """Log the layers of the network: of two levels, or all with -v."""
    size = task.preprocessing.image_size
    image = torch.zeros(1, task.preprocessing.channels, size, size, device=task.device)
    task.eval()
    for line in summary(task.model, image, whole=shown_from() <= logging.DEBUG):
        log.log(ONCE, "%s", line)
    task.train()


def begin_seen(run: Run, data: ImageDataModule) -> None:
    """Begin the list of the images that the network sees, or go on with it."""
    if run.checkpoint is None:
        return
    scratch = Transfer.of(run.config).from_scratch
    weights = None if scratch else run.config["model"].get("weights")
    if run.resume_from:
        run.checkpoint.seen.go_on(run.resume_from, weights, data)
    else:
        run.checkpoint.seen.begin(weights)


def check_shortcuts(
    run: Run,
    best: Classifier | None,
    evaluation: Evaluation | None,
    data: ImageDataModule,
    started: float,
) -> None:
    """With shortcuts=true, ask what the classes of the measured images can be told apart by.

    `started` is the time.perf_counter() at which the run, or the rest of it, began.
    """
    if not run.config.get("shortcuts") or run.quick or best is None or evaluation is None:
        return
    before = round(time.perf_counter() - started, 3)
    found = look_for_shortcuts(best, data, evaluation, run.results.get("solved"))
    run.results["shortcuts"] = found = {**found, "run_seconds": before}
    rows = [
        (row.path, row.label, row.probabilities)
        for row in evaluation.rows
        if row.probabilities and not row.refused
    ]
    write_suspects(RunFolder(run.folder).label_suspects, suspects(rows, data.classes))
    verdict = found["verdict"]
    for sentence in verdict["warnings"]:
        log.warning("shortcut: %s", sentence)
    if "why_none" in verdict:
        log.info("no verdict on shortcuts: %s", verdict["why_none"])
    elif not verdict["warnings"]:
        log.info("nothing found speaks for a shortcut. %s", verdict["evidence"][0])


def say_end(run: Run, evaluation: Evaluation | None) -> None:
    """Say what came out, and where it is."""
    headline = evaluation.headline() if evaluation else ""
    if run.quick:
        say_ending(headline, results=run.folder)
        return
    then = []
    if run.checkpoint is not None:
        then = ["predict", f"checkpoint={from_here(run.folder)}", "input=photos/"]
        best = by_name(run.results)[f"best_{run.checkpoint.monitor}"]
        chosen = f"best {run.checkpoint.monitor} {best:.4f}, epoch {run.results['best_epoch']}"
        headline = headline or f"{chosen}; not tested"
    say_ending(headline, report=RunFolder(run.folder).report, then=then)


def report_contents(
    run: Run,
    best: Classifier | None,
    evaluation: Evaluation | None,
    data: ImageDataModule,
    validated: tuple[int, int] | None,
) -> Contents:
    """The contents of the report; its diagnosis is logged here and kept in the results."""
    contents = gather_contents(
        best, evaluation, data, RunFolder(run.folder).metrics, run.config, run.results, validated
    )
    if contents.diagnosis:
        run.results["diagnosis"] = asdict(contents.diagnosis)
        for sentence in contents.diagnosis.evidence:
            log.info("%s", sentence)
    if best is not None and contents.to_overlay:
        contents = replace(contents, overlays=overlays(best, contents.to_overlay))
    return contents
