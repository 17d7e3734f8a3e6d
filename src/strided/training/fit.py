"""Fit: the stages of a run, one after the other, from where an earlier sitting stopped."""

import logging
from contextlib import nullcontext
from pathlib import Path

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Timer

from strided.data import ImageDataModule
from strided.errors import UserError
from strided.runs.folder import RunFolder
from strided.runs.results import by_name
from strided.system.processes import from_first
from strided.training.callbacks.lr_finder import LearningRateFinder
from strided.training.execution import executed
from strided.training.task import ClassificationTask
from strided.training.trainer import Run, stage_trainer
from strided.training.transfer.parts import parts
from strided.training.transfer.stages import (
    Place,
    Position,
    begin,
    describe_stage,
    last_epoch,
    limit_reached,
    load_weights,
    on_features,
    position_of,
    start_at,
)
from strided.training.transfer.transfer import Transfer

log = logging.getLogger(__name__)


def fit(run: Run, task: ClassificationTask, data: ImageDataModule) -> None:
    """Fit to the end, unless an earlier sitting did. The results keep what an error leaves."""
    max_epochs, checkpoint, results = run.trainer.max_epochs, run.checkpoint, run.results
    gone = checkpoint is not None and run.resume_from is None  # deleted, to train again
    if results.get("fit_finished") == max_epochs and not gone:
        return
    if run.resume_from:
        log.info("going on from %s", run.resume_from)
    run.recorder.start()
    try:
        fit_stages(run, task, data)
        results["fit_finished"] = max_epochs
        if task.measured and "val/loss" not in task.measured:
            log.warning("the last epoch was not validated: its weights cannot be the best")
    except MisconfigurationException as error:  # found by Lightning once it knows the data
        raise UserError(f"{error} Expected other values. Try another trainer.<key>") from error
    finally:
        results["train_seconds"] = round(run.recorder.train_seconds, 3)
        results["images_per_second"] = run.recorder.images_per_second
        results["skipped"] = len(data.skipped)  # more than before, where they are met one by one
        if checkpoint is not None:
            by_name(results)[f"best_{checkpoint.monitor}"] = checkpoint.best_score
            results["best_epoch"] = checkpoint.best_epoch


def fit_stages(run: Run, task: ClassificationTask, data: ImageDataModule) -> None:
    """Fit one stage after the other, from the one that the run's checkpoint is of."""
    transfer = Transfer.of(run.config)
    position = position_of(run.resume_from)
    for stage in transfer.stages.values():  # not after hours of the stages before
        parts(task.model, stage.trainable)
    begun = False  # in this sitting
    for number, (name, stage) in enumerate(transfer.named()):
        resumed = run.resume_from if number == position.stage.number else None
        place = position.stage if resumed else Place(number, position.epoch, position.step)
        if run.quick:  # a batch of each stage
            place = Place(number)
        end = last_epoch(transfer, stage, place.epoch, run.trainer.max_epochs)
        is_over = resumed and (position.stopped_early or position.epoch == end)
        if number < position.stage.number or (is_over and number + 1 < len(transfer.stages)):
            continue
        if number and not resumed and (limit := limit_reached(run.trainer, place, end)):
            log.info("%s ends the run before stage %s", limit, name)
            return
        trainer = stage_trainer(run, stage, end) if transfer.stages else run.trainer
        if resumed:
            load_weights(task, resumed)  # before Lightning does: features may be made of them
        else:
            if run.resume_from and not begun:
                go_on_between_stages(run, task, run.resume_from)
            start_at(trainer, place)
            begin_with_best(run, task)
        begun = True
        begin(task, stage, place, run.config)
        if transfer.stages:
            describe_stage(name, stage, task, end, run.results)
        before, macs = position.on_features if resumed else None, run.results["macs"]
        with on_features(run.config, stage, task, data, trainer, macs, before) as cost:
            if cost:
                run.results["stages"][-1]["features"] = cost
            fit_stage(run, trainer, task, data, cost["macs"] if cost else macs, resumed)
        position = Position(Place(number), trainer.current_epoch, trainer.global_step, False)
    if not begun and run.results.get("fit_finished") not in (None, run.trainer.max_epochs):
        log.warning(
            "trainer.max_epochs=%s adds nothing: the stages of this run are over, and only a new "
            "run can have longer ones (transfer.stages.<name>.epochs)",
            run.trainer.max_epochs,
        )


def go_on_between_stages(run: Run, task: ClassificationTask, checkpoint: Path) -> None:
    """Take over weights and what spans the run: no Trainer loads a stage that is over."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    task.load_state_dict(saved["state_dict"])
    for callback in filter(None, (run.checkpoint, run.recorder)):
        callback.load_state_dict(saved["callbacks"][callback.state_key])


def begin_with_best(run: Run, task: ClassificationTask) -> None:
    """Have a stage begin with the best weights of those before, and not end as the last one did."""
    if run.checkpoint is None or run.quick:
        return
    run.checkpoint.stopped_early = False
    if from_first(run.checkpoint.best_epoch) is not None:  # it is on the disk
        load_weights(task, RunFolder(run.folder).best)


def fit_stage(
    run: Run,
    trainer: pl.Trainer,
    task: ClassificationTask,
    data: ImageDataModule,
    macs: int,
    resume_from: Path | None,
) -> None:
    """Fit one stage, of so many multiply-adds an image, or what is left of it."""
    checkpoint, results = run.checkpoint, run.results
    try:
        with (
            run.interruption.deferring() if checkpoint else nullcontext(),
            executed(run.config, task, trainer, macs * data.batch_size) as switches,
        ):
            results["execution"] = switches
            results["hardware"]["torch_threads"] = torch.get_num_threads()
            trainer.fit(task, data, ckpt_path=resume_from, weights_only=True)
    finally:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, LearningRateFinder) and callback.found:
                results["lr_finder"] = callback.found
        if run.config["trainer"].get("profiler"):  # Lightning's own message is switched off
            log.info("%s", trainer.profiler.summary())  # type: ignore[attr-defined]
    if checkpoint is not None and checkpoint.stopped_early:
        late = any(isinstance(c, Timer) for c in trainer.callbacks)  # type: ignore[attr-defined]
        why = "trainer.max_time may be over" if late else "more epochs change nothing"
        log.info("stopped early, before epoch %d: %s", checkpoint.epochs, why)
