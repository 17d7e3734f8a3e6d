"""The stages of a run: which ones are left, the layers each trains, and its settings."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import nn

from strided.config.keys import Config, Node
from strided.runs.results import Results
from strided.training.logistic import is_solved
from strided.training.parameter_groups import parameter_counts
from strided.training.recipes import try_recipe
from strided.training.task import ClassificationTask
from strided.training.transfer.parts import batch_norms, freeze, parts
from strided.training.transfer.transfer import Stage, Transfer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageStart:
    """The start of a stage: its number, and the epochs and steps of the run before it.

    Checkpoints hold these three under "stage".
    """

    number: int = 0
    epoch: int = 0
    step: int = 0


@dataclass
class Progress:
    """The progress of a run: its trained epochs and steps, and the state in its checkpoint."""

    epoch: int = 0
    step: int = 0
    checkpoint: Path | None = None
    stage: StageStart = StageStart()  # the stage of the checkpoint
    stopped_early: bool = False
    on_features: bool | None = None  # whether that stage was trained on features; None: not known


@dataclass(frozen=True)
class StageRun:
    """A stage that is left to train.

    `end` is the epoch at which it ends (exclusive), as the Trainer takes it. `resumed` is the
    checkpoint of an earlier session that stopped inside this stage. `on_features` says whether that
    session trained on kept features. The stage then stays so, since features are not augmented as
    images are.
    """

    name: str
    stage: Stage
    start: StageStart
    end: int | None
    resumed: Path | None = None
    on_features: bool | None = None


def progress_of(checkpoint: Path | None) -> Progress:
    """Read the progress of a run from its checkpoint; without one, the run is at its beginning."""
    if checkpoint is None:
        return Progress()
    saved = torch.load(checkpoint, weights_only=True, mmap=True)
    callback = saved["callbacks"].get("Checkpoint", {})
    return Progress(
        epoch=callback.get("epochs", 0),
        step=saved["global_step"],
        checkpoint=checkpoint,
        stage=StageStart(**saved["strided"]["stage"]),
        stopped_early=callback.get("stopped_early", False),
        on_features=saved["strided"].get("on_features"),
    )


def stages_left(transfer: Transfer, progress: Progress, trainer: pl.Trainer) -> Iterator[StageRun]:
    """Yield the stages that are left, until a limit of the whole run is reached.

    Before it asks for the next stage, the caller writes into `progress` how far the last one got.
    `trainer` has the limits of the whole run.
    """
    at = progress.stage.number
    for number, (name, stage) in enumerate(transfer.named()):
        if number == at and progress.checkpoint is not None:
            if resumed := _unfinished(transfer, progress, trainer):
                yield resumed
        elif number >= at:
            start = StageStart(number, progress.epoch, progress.step)
            if trainer.fast_dev_run:  # type: ignore[attr-defined]  # a batch of each stage
                start = StageStart(number)
            end = _last_epoch(transfer, stage, start, trainer.max_epochs)
            if number and (limit := _limit_reached(trainer, start, end)):
                log.info("%s ends the run before stage %s", limit, name)
                return
            yield StageRun(name, stage, start, end)


def _unfinished(transfer: Transfer, progress: Progress, trainer: pl.Trainer) -> StageRun | None:
    """The unfinished stage of the checkpoint; None if it is finished and another one follows."""
    start, stages = progress.stage, transfer.named()
    name, stage = stages[start.number]
    if trainer.fast_dev_run:  # type: ignore[attr-defined]  # a batch of each stage
        start = StageStart(start.number)
    end = _last_epoch(transfer, stage, start, trainer.max_epochs)
    enough = progress.epoch >= (trainer.min_epochs or 0) and progress.step >= (
        trainer.min_steps or 0
    )
    is_over = (progress.stopped_early and enough) or progress.epoch == end
    if is_over and start.number + 1 < len(stages):
        return None
    return StageRun(name, stage, start, end, progress.checkpoint, progress.on_features)


def _last_epoch(
    transfer: Transfer, stage: Stage, start: StageStart, max_epochs: int | None
) -> int | None:
    """The epoch at which a stage ends (exclusive), as the Trainer takes it."""
    if len(transfer.stages) < 2:
        return max_epochs
    assert stage.epochs is not None
    end = start.epoch + stage.epochs
    return end if max_epochs in (None, -1) else min(end, max_epochs)


def _limit_reached(trainer: pl.Trainer, start: StageStart, end: int | None) -> str | None:
    """The limit of the whole run that is reached before a stage there could begin, if any."""
    if start.epoch == end:
        return f"trainer.max_epochs={end}"
    if 0 < trainer.max_steps <= start.step:
        return f"trainer.max_steps={trainer.max_steps}"
    return None


def prepare_stage(task: ClassificationTask, stage_run: StageRun, config: Config) -> None:
    """Freeze what the stage does not train, and set its optimizer and schedule."""
    stage, start = stage_run.stage, stage_run.start
    chosen = parts(task.model, stage.trainable)
    freeze(task.model, chosen)
    task.frozen = chosen.frozen
    task.keeping_statistics = batch_norms(task.model) if stage.keep_statistics else []
    task.train()
    task.stage = vars(start)
    if start.number:  # a resume between two stages draws the same dropout again
        entropy = np.random.SeedSequence([config["seed"], start.number])
        torch.manual_seed(int(entropy.generate_state(1)[0]))
    task.recipe = recipe_of(stage, task.hparams["optimizer"], config)


def recipe_of(stage: Stage, optimizer: Mapping[str, Any], config: Config) -> dict[str, Node]:
    """Return the optimizer and the schedule of a stage: the run's, with what it has of its own."""
    optimizer = dict(optimizer)
    scheduler = dict(stage.scheduler or config["scheduler"])
    if stage.lr is not None and not is_solved(config):
        if "max_lr" in scheduler and "lr" in optimizer and stage.scheduler is None:
            scheduler["max_lr"] *= stage.lr / optimizer["lr"]
        optimizer["lr"] = stage.lr
    if stage.layer_decay is not None and not is_solved(config):
        optimizer["layer_decay"] = stage.layer_decay
    return {"optimizer": optimizer, "scheduler": scheduler}


def try_stages(config: Config, net: nn.Module) -> None:
    """Raise UserError for stages that could not begin: of no such block, or of refused values.

    `net` may have no weights. To be called before any image is decoded, which may take hours.
    """
    for _, stage in Transfer.of(config).named():
        parts(net, stage.trainable)
        try_recipe(recipe_of(stage, config["optimizer"], config))


def count_from(trainer: pl.Trainer, start: StageStart) -> None:
    """Let a Trainer count epochs and steps on from the end of the stage before."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    epochs.ready = epochs.started = epochs.processed = epochs.completed = start.epoch
    loop = trainer.fit_loop.epoch_loop
    steps = loop.automatic_optimization.optim_progress.optimizer.step.total
    steps.ready = steps.completed = start.step


def load_weights(task: ClassificationTask, checkpoint: Path) -> None:
    """Take over the weights of a checkpoint of the run, and nothing else."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    task.load_state_dict(saved["state_dict"])


def describe_stage(task: ClassificationTask, stage_run: StageRun, results: Results) -> None:
    """Log what a stage trains, and add it to the results."""
    name, stage, end = stage_run.name, stage_run.stage, stage_run.end
    counts = parameter_counts(task.model)
    first_epoch = stage_run.start.epoch
    log.info(
        "stage %s (%s): %s of %s parameters are trained, from epoch %d%s, lr %s",
        name,
        stage.trainable,
        f"{counts['trainable']:,}",
        f"{counts['total']:,}",
        first_epoch,
        f" to {end - 1}" if end and end > 0 else " on",
        task.recipe["optimizer"].get("lr", "of the optimizer"),
    )
    known = [entry for entry in results.get("stages", []) if entry["name"] != name]
    row = {
        "name": name,
        "trainable": stage.trainable,
        "first_epoch": first_epoch,
        "parameters": counts,
    }
    results["stages"] = [*known, row]
    results["parameters"] = counts
