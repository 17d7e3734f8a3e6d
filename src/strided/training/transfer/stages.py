"""The stages of a run: what each trains, how, and on what."""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from strided.config.keys import Config
from strided.data import BatchAugment, ImageDataModule
from strided.errors import UserError
from strided.runs.results import Parameters, Results
from strided.system.processes import first_on_each_machine, from_first
from strided.training.task import ClassificationTask, multiply_adds
from strided.training.transfer.cut import Cut, CutError
from strided.training.transfer.features import (
    Features,
    Views,
    features_folder,
    not_worthwhile,
    open_features,
)
from strided.training.transfer.parts import batch_norms, freeze, parts
from strided.training.transfer.transfer import Stage, Transfer

log = logging.getLogger(__name__)

_SAMPLE = 4  # images to check with that a network can be cut


@dataclass(frozen=True)
class Place:
    """Where in a run a stage begins: the number of the stage, and the epochs and steps before."""

    number: int = 0
    epoch: int = 0
    step: int = 0


@dataclass(frozen=True)
class Position:
    """Where a checkpoint stands: the stage it is of, and where the next one would begin."""

    stage: Place
    epoch: int
    step: int
    stopped_early: bool
    on_features: bool | None = None  # None: not known


def position_of(checkpoint: Path | None) -> Position:
    """Read where a run goes on; at its beginning without a checkpoint."""
    if checkpoint is None:
        return Position(Place(), 0, 0, False)
    saved = torch.load(checkpoint, weights_only=True, mmap=True)
    stage = Place(**saved["strided"]["stage"])
    own = saved["callbacks"].get("Checkpoint", {})
    return Position(
        stage,
        own.get("epochs", 0),
        saved["global_step"],
        own.get("stopped_early", False),
        saved["strided"].get("on_features"),
    )


def last_epoch(transfer: Transfer, stage: Stage, begun: int, max_epochs: int | None) -> int | None:
    """Number of the epoch before which a stage ends, as the Trainer takes it."""
    if len(transfer.stages) < 2:
        return max_epochs
    assert stage.epochs is not None
    end = begun + stage.epochs
    return end if max_epochs in (None, -1) else min(end, max_epochs)


def limit_reached(trainer: pl.Trainer, place: Place, end: int | None) -> str | None:
    """What of the whole run leaves nothing to a stage that begins there."""
    if place.epoch == end:
        return f"trainer.max_epochs={end}"
    if 0 < trainer.max_steps <= place.step:
        return f"trainer.max_steps={trainer.max_steps}"
    return None


def begin(task: ClassificationTask, stage: Stage, place: Place, config: Config) -> None:
    """Freeze what the stage does not train, and set its optimizer and schedule."""
    chosen = parts(task.model, stage.trainable)
    freeze(task.model, chosen)
    task.frozen = chosen.frozen
    task.keeping_statistics = batch_norms(task.model) if stage.keep_statistics else []
    task.train()
    task.stage = vars(place)
    if place.number:  # dropout that a resume between two stages draws again
        entropy = np.random.SeedSequence([config["seed"], place.number])
        torch.manual_seed(int(entropy.generate_state(1)[0]))
    optimizer = dict(task.hparams["optimizer"])
    scheduler = dict(stage.scheduler or config["scheduler"])
    if stage.lr is not None:
        if "max_lr" in scheduler and "lr" in optimizer and stage.scheduler is None:
            scheduler["max_lr"] *= stage.lr / optimizer["lr"]
        optimizer["lr"] = stage.lr
    if stage.layer_decay is not None:
        optimizer["layer_decay"] = stage.layer_decay
    task.recipe = {"optimizer": optimizer, "scheduler": scheduler}


def start_at(trainer: pl.Trainer, place: Place) -> None:
    """Let a Trainer count epochs and steps on from an earlier one's."""
    epochs: Any = trainer.fit_loop.epoch_progress.current
    epochs.ready = epochs.started = epochs.processed = epochs.completed = place.epoch
    loop = trainer.fit_loop.epoch_loop
    steps = loop.automatic_optimization.optim_progress.optimizer.step.total
    steps.ready = steps.completed = place.step


def load_weights(task: ClassificationTask, checkpoint: Path) -> None:
    """Take over the weights of a checkpoint of the run, and nothing else."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    task.load_state_dict(saved["state_dict"])


def describe_stage(
    name: str,
    stage: Stage,
    task: ClassificationTask,
    end: int | None,
    results: Results,
) -> None:
    """Say what a stage trains, and add it to the results."""
    counts: Parameters = {
        "total": sum(p.numel() for p in task.model.parameters()),
        "trainable": sum(p.numel() for p in task.model.parameters() if p.requires_grad),
    }
    begun = task.stage["epoch"]
    log.info(
        "stage %s (%s): %s of %s parameters are trained, from epoch %d%s, lr %s",
        name,
        stage.trainable,
        f"{counts['trainable']:,}",
        f"{counts['total']:,}",
        begun,
        f" to {end - 1}" if end and end > 0 else " on",
        task.recipe["optimizer"].get("lr", "of the optimizer"),
    )
    known = [entry for entry in results.get("stages", []) if entry["name"] != name]
    row = {"name": name, "trainable": stage.trainable, "first_epoch": begun, "parameters": counts}
    results["stages"] = [*known, row]
    results["parameters"] = counts


@contextmanager
def on_features(
    config: Config,
    stage: Stage,
    task: ClassificationTask,
    data: ImageDataModule,
    trainer: pl.Trainer,
    macs: int,
    before: bool | None,
) -> Iterator[dict[str, Any] | None]:
    """Train inside on kept features of what is frozen, where that is possible and worth it.

    macs: multiply-adds of an image. `before`: whether a stage that goes on had begun so, which
    stays, since what is kept is not augmented as images are. Yields what the features cost, for
    results.json; None where each epoch computes everything. Raises UserError where
    transfer.cache=true cannot be done.
    """
    transfer, chosen = Transfer.of(config), parts(task.model, stage.trainable)
    if not chosen.frozen or transfer.cache is False or before is False:
        yield None
        return
    # as it is when it goes on from a checkpoint, whose weights bf16-true has rounded
    trainer.precision_plugin.convert_module(task)
    task.to(trainer.strategy.root_device)
    cut = Cut(task.model, chosen)
    views = Views(
        data,
        data.augmentation,
        transfer.cached_views,
        config["seed"],
        str(trainer.precision),
        task.as_input,
        trainer.precision_plugin.forward_context,
    )
    try:
        sample = next(iter(data.loader("train"))).images[:_SAMPLE].to(task.device)
        shape = cut.check(task.as_input(data.preprocessing.normalise(sample)))
        with _taking_features(task, data, cut):
            rest = multiply_adds(task, shape)
        folder = features_folder(cut, shape, views)
        why_not = _impossible(views)
        if transfer.cache == "auto" and not why_not and before is None:
            to_come = _to_come(trainer, task)
            why_not = not_worthwhile(folder, shape, views, macs - rest, *to_come)
    except CutError as error:
        why_not = f"the network cannot be cut there: {error}"
    if why_not := from_first(why_not):
        if transfer.cache is True:
            raise UserError(
                f"transfer.cache=true, but {why_not}; expected a network and images whose features "
                "can be kept. Try transfer.cache=auto"
            )
        log.info("features of the frozen layers are computed in each epoch: %s", why_not)
        yield None
        return
    with first_on_each_machine():
        features = open_features(folder, cut, shape, views)
    _describe(features, shape, views)
    with _taking_features(task, data, cut):
        data.serve({"train": features.train, "val": features.val})
        yield {
            "views": views.number,
            "shape": list(shape),
            "bytes": features.bytes,
            "seconds": features.seconds,
            "macs": rest,
        }


@contextmanager
def _taking_features(task: ClassificationTask, data: ImageDataModule, cut: Cut) -> Iterator[None]:
    """Within this the task takes features in place of images."""
    with cut.passing() if cut.network is task.model else nullcontext():
        task.features_to_logits = [cut.network]
        try:
            yield
        finally:
            task.features_to_logits = []
            data.serve(None)


def _to_come(trainer: pl.Trainer, task: ClassificationTask) -> tuple[float, float]:
    """How many epochs the stage has at most, and how many batches of training one of them."""
    end, limit = trainer.max_epochs, trainer.limit_train_batches
    epochs = math.inf if end in (None, -1) else end - task.stage["epoch"]
    return epochs, limit if isinstance(limit, int) else math.inf


def _impossible(views: Views) -> str | None:
    """Why these images have no features that could be kept."""
    data = views.data
    if data.pipeline == "streaming" and data.on_error == "skip":
        return "images that cannot be read are met in each epoch (data.on_error=skip)"
    if views.augment.mixes:
        return "augment.mixup and augment.cutmix mix images, not their features"
    return None


def _describe(features: Features, shape: tuple[int, ...], views: Views) -> None:
    size = "x".join(map(str, shape))
    log.info(
        "features of the frozen layers: %s numbers an image, %s of training, %.1f MB in %s, "
        "computed in %.1f s",
        size,
        f"{views.number} augmented views" if views.number > 1 else "one view",
        features.bytes / 1e6,
        features.folder,
        features.seconds,
    )
    if views.number == 1 and views.augment != BatchAugment():
        log.info("of images that are not augmented: for that, transfer.cached_views=5")
