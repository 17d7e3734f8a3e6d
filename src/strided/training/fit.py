"""Fit: run the stages one after the other, from where an earlier session stopped."""

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
from strided.training.determinism import try_deterministic
from strided.training.execution import execution_switches
from strided.training.gpu_use import watching_gpu
from strided.training.logistic import is_solved
from strided.training.shared_norms import refuse_shared_norms
from strided.training.task import ClassificationTask
from strided.training.trainer import Run, stage_trainer
from strided.training.transfer.on_features import on_features
from strided.training.transfer.solved_head import solve_head
from strided.training.transfer.stages import (
    Progress,
    StageRun,
    count_from,
    describe_stage,
    load_weights,
    prepare_stage,
    progress_of,
    stages_left,
)
from strided.training.transfer.transfer import Transfer

log = logging.getLogger(__name__)

FEW = 1000  # training images; of 300, a head alone gained 7 points (docs/results.md)


def fit(run: Run, task: ClassificationTask, data: ImageDataModule) -> None:
    """Fit to the end, unless an earlier session did. After an error the results so far are kept."""
    max_epochs, checkpoint, results = run.trainer.max_epochs, run.checkpoint, run.results
    gone = checkpoint is not None and run.resume_from is None  # deleted, so train again
    if results.get("fit_finished") == max_epochs and not gone:
        return
    if run.resume_from:
        log.info("going on from %s", run.resume_from)
    run.recorder.start()
    try:
        with watching_gpu(run.trainer.strategy.root_device, results):
            fit_stages(run, task, data)
        results["fit_finished"] = max_epochs
        if task.measured and checkpoint is not None and checkpoint.monitor not in task.measured:
            log.warning("the last epoch was not validated: its weights cannot be the best")
    except MisconfigurationException as error:  # Lightning finds these once it knows the data
        raise UserError(f"{error} Expected other values. Try another trainer.<key>") from error
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UserError(
            "batch normalisation has one value of each channel to average: the network's maps of "
            f"{data.preprocessing.image_size}-pixel images shrink to 1x1, and data.batch_size="
            f"{data.batch_size}; expected two images or more in a batch. Try data.batch_size=2, or "
            "a larger data.image_size"
        ) from error
    finally:
        if run.target is not None:
            run.target.note(results, solved=is_solved(run.config))
        results["train_seconds"] = round(run.recorder.train_seconds, 3)
        results["images_per_second"] = run.recorder.images_per_second
        results["skipped"] = len(data.skipped)  # more than before, if they are found one by one
        if checkpoint is not None:
            by_name(results)[f"best_{checkpoint.monitor}"] = checkpoint.best_score
            results["best_epoch"] = checkpoint.best_epoch


def fit_stages(run: Run, task: ClassificationTask, data: ImageDataModule) -> None:
    """Fit the stages that are left, one after the other."""
    transfer = Transfer.of(run.config)
    refuse_shared_norms(run.config, run.trainer, task.model)
    try_deterministic(task, run.trainer.strategy.root_device)
    if not transfer.stages and not transfer.from_scratch and run.resume_from is None:
        say_that_all_weights_are_trained(run, len(data.splits["train"]))
    progress = progress_of(run.resume_from)
    earlier = run.resume_from  # the checkpoint, until the first stage has taken it over
    for stage_run in stages_left(transfer, progress, run.trainer):
        trainer = run.trainer
        if transfer.stages:
            trainer = stage_trainer(run, stage_run.stage, stage_run.end)
        if stage_run.resumed:
            warn_if_over(run, stage_run, progress)
            load_weights(task, stage_run.resumed)  # before Lightning: features may be made of them
        else:
            if earlier:
                go_on_between_stages(run, task, earlier)
            if run.target is not None and run.target.ends:
                return
            count_from(trainer, stage_run.start)
            begin_with_best(run, task)
        earlier = None
        prepare_stage(task, stage_run, run.config)
        if transfer.stages:
            describe_stage(task, stage_run, run.results)
        fit_stage(run, stage_run, trainer, task, data)
        progress.epoch, progress.step = trainer.current_epoch, trainer.global_step
    if earlier:  # it was complete, and no stage is left
        go_on_between_stages(run, task, earlier)


def say_that_all_weights_are_trained(run: Run, num_images: int) -> None:
    """Say it where weights were loaded and images are few: many expect only the head to train."""
    model, optimizer = run.config["model"], run.config["optimizer"]
    if num_images < FEW and (model.get("pretrained") or model.get("weights")):
        log.info(
            "all layers are trained from these weights at once (lr %s): with %d images, "
            "transfer=frozen or transfer=two_stage usually does better",
            optimizer.get("lr", "of the optimizer"),
            num_images,
        )


def warn_if_over(run: Run, stage_run: StageRun, progress: Progress) -> None:
    """Say that more epochs were asked for, and that the last stage does not take them."""
    max_epochs = run.trainer.max_epochs
    asked = run.results.get("fit_finished") not in (None, max_epochs)
    if asked and progress.epoch == stage_run.end != max_epochs:
        log.warning(
            "trainer.max_epochs=%s adds nothing: the stages of this run are over, and only a new "
            "run can have longer ones (transfer.stages.<name>.epochs)",
            max_epochs,
        )


def go_on_between_stages(run: Run, task: ClassificationTask, checkpoint: Path) -> None:
    """Restore weights and the run's own state: no Trainer loads a finished stage."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    task.load_state_dict(saved["state_dict"])
    for callback in filter(None, (run.checkpoint, run.recorder, run.target)):
        callback.load_state_dict(saved["callbacks"][callback.state_key])


def begin_with_best(run: Run, task: ClassificationTask) -> None:
    """Start a stage with the best weights so far, and clear the stop of the stage before."""
    if run.checkpoint is None or run.quick:
        return
    run.checkpoint.stopped_early = False
    if from_first(run.checkpoint.best_epoch) is not None:  # it is on the disk
        load_weights(task, RunFolder(run.folder).best)


def fit_stage(
    run: Run,
    stage_run: StageRun,
    trainer: pl.Trainer,
    task: ClassificationTask,
    data: ImageDataModule,
) -> None:
    """Fit one stage, or its rest."""
    results = run.results
    with on_features(run, stage_run, trainer, task, data) as kept:
        macs = results["macs"]
        if kept:
            results["stages"][-1]["features"] = kept.cost
            macs = kept.cost["macs"]
            if run.target is not None:
                run.target.add(2 * kept.cost["computed"] * (results["macs"] - macs))
            if is_solved(run.config) and stage_run.resumed is None:  # else it is in the checkpoint
                solve_head(run, task, data, kept.features["train"], kept.rendered)
        try:
            with (
                data.on_device(trainer.strategy.root_device) as resident,
                run.interruption.deferring() if run.checkpoint else nullcontext(),
                execution_switches(run.config, task, trainer, macs * data.batch_size) as switches,
            ):
                task.precision = str(trainer.precision)
                results["execution"] = {**switches, "resident": resident}
                results["hardware"]["torch_threads"] = torch.get_num_threads()
                trainer.fit(task, data, ckpt_path=stage_run.resumed, weights_only=True)
        finally:
            note_findings(run, trainer)
    if run.checkpoint is not None and run.checkpoint.stopped_early:
        log.info("stopped early, before epoch %d: %s", run.checkpoint.epochs, _why(run, trainer))


def _why(run: Run, trainer: pl.Trainer) -> str:
    """Why a stage has ended before its last epoch."""
    if run.target is not None and run.target.ends:
        return "callbacks.target was reached"
    late = any(isinstance(c, Timer) for c in trainer.callbacks)  # type: ignore[attr-defined]
    return "trainer.max_time may be over" if late else "more epochs change nothing"


def note_findings(run: Run, trainer: pl.Trainer) -> None:
    """Keep the findings of Lightning's learning rate finder and profiler in a stage."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, LearningRateFinder) and callback.found:
            run.results["lr_finder"] = callback.found
    if run.config["trainer"].get("profiler"):  # Lightning's message is switched off
        log.info("%s", trainer.profiler.summary())  # type: ignore[attr-defined]
