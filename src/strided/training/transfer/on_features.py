"""Train a stage on kept features of its frozen layers, if possible and worthwhile."""

import logging
import math
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from strided.config.unused import refuse_typed
from strided.data import BatchAugment, ImageDataModule
from strided.errors import UserError
from strided.system.processes import first_on_each_machine, from_first
from strided.training.task import ClassificationTask, multiply_adds
from strided.training.trainer import Run
from strided.training.transfer.cut import Cut, CutError
from strided.training.transfer.features import Features, Views, features_folder, open_features
from strided.training.transfer.parts import parts
from strided.training.transfer.stages import StageRun
from strided.training.transfer.transfer import Transfer

log = logging.getLogger(__name__)

_SAMPLE = 4  # images to test a cut with
_MACS_PER_BYTE = 4  # computed while a byte of features is read, on a slow disk
_FLOAT32 = 4  # bytes


@dataclass(frozen=True)
class FeaturePlan:
    """How to train a stage on features: of `shape` an image, kept in `folder`.

    `macs` are the multiply-adds of an image that each epoch still has to compute.
    """

    cut: Cut
    views: Views
    shape: tuple[int, ...]
    folder: Path
    macs: int


@contextmanager
def on_features(
    run: Run,
    stage_run: StageRun,
    trainer: pl.Trainer,
    task: ClassificationTask,
    data: ImageDataModule,
) -> Iterator[dict[str, Any] | None]:
    """Train on kept features of the frozen layers inside the block, if possible and worthwhile.

    Yields the cost of the features, for results.json; None if each epoch computes everything.
    Raises UserError if transfer.cache=true is impossible.
    """
    plan = plan_features(run, stage_run, trainer, task, data)
    if plan is None:
        yield None
        return
    with first_on_each_machine():
        features = open_features(plan.folder, plan.cut, plan.shape, plan.views)
    _describe(features, plan.shape, plan.views)
    with _taking_features(task, data, plan.cut):
        data.serve({"train": features.train, "val": features.val})
        yield {
            "views": plan.views.number,
            "shape": list(plan.shape),
            "bytes": features.bytes,
            "seconds": features.seconds,
            "macs": plan.macs,
        }


def plan_features(
    run: Run,
    stage_run: StageRun,
    trainer: pl.Trainer,
    task: ClassificationTask,
    data: ImageDataModule,
) -> FeaturePlan | None:
    """Decide whether a stage is trained on features; None if each epoch computes everything."""
    transfer, chosen = Transfer.of(run.config), parts(task.model, stage_run.stage.trainable)
    known = stage_run.on_features
    if not chosen.frozen or transfer.cache is False or known is False:
        return None
    # as after a resume: bf16-true has rounded a checkpoint's weights
    trainer.precision_plugin.convert_module(task)
    task.to(trainer.strategy.root_device)
    views = _views(run, trainer, task, data)
    plan = None
    try:
        plan = _cut(task, Cut(task.model, chosen), views)
        why_not = _impossible(views)
        if transfer.cache == "auto" and not why_not and known is None:
            frozen = run.results["macs"] - plan.macs
            why_not = not_worthwhile(plan, frozen, _images_to_come(trainer, task, data))
    except CutError as error:
        why_not = f"the network cannot be cut there: {error}"
    why_not = from_first(why_not)
    if why_not and transfer.cache is True:
        raise UserError(
            f"transfer.cache=true, but {why_not}; expected a network and images whose features "
            "can be kept. Try transfer.cache=auto"
        )
    if not why_not and views.number == 1 and views.augment != BatchAugment():
        refuse_idle_augmentation(transfer)
    if why_not:
        log.info("features of the frozen layers are computed in each epoch: %s", why_not)
    return None if why_not else plan


def refuse_idle_augmentation(transfer: Transfer) -> None:
    """Raise UserError for a typed augmentation, unless some stage trains on the images."""
    if all(stage.trainable != "all" for stage in transfer.stages.values()):
        refuse_typed(
            "augment augment.* data.horizontal_flip",
            "features are kept, of images that are not augmented",
            "transfer.cached_views=5, or transfer.cache=false",
        )


def _views(run: Run, trainer: pl.Trainer, task: ClassificationTask, data: ImageDataModule) -> Views:
    return Views(
        data,
        data.augmentation,
        Transfer.of(run.config).cached_views,
        run.config["seed"],
        str(trainer.precision),
        task.as_input,
        trainer.precision_plugin.forward_context,
    )


def _cut(task: ClassificationTask, cut: Cut, views: Views) -> FeaturePlan:
    """Try the cut with a few images. Raises CutError."""
    data = views.data
    sample = next(iter(data.loader("train"))).images[:_SAMPLE].to(task.device)
    shape = cut.check(task.as_input(data.preprocessing.normalise(sample)))
    with _taking_features(task, data, cut):
        macs = multiply_adds(task, shape)
    return FeaturePlan(cut, views, shape, features_folder(cut, shape, views), macs)


@contextmanager
def _taking_features(task: ClassificationTask, data: ImageDataModule, cut: Cut) -> Iterator[None]:
    """Let the task take features instead of images inside the block."""
    with cut.passing() if cut.network is task.model else nullcontext():
        task.features_to_logits = [cut.network]
        try:
            yield
        finally:
            task.features_to_logits = []
            data.serve(None)


def _images_to_come(trainer: pl.Trainer, task: ClassificationTask, data: ImageDataModule) -> float:
    """The most images that the network can still see in this stage."""
    end, batches = trainer.max_epochs, trainer.limit_train_batches
    epochs = math.inf if end in (None, -1) else end - task.stage["epoch"]
    train, val = (len(data.readable(split)) for split in ("train", "val"))
    if isinstance(batches, int):
        train = min(train, batches * data.batch_size)
    return epochs * (train + val)


def _impossible(views: Views) -> str | None:
    """Why features of these images cannot be kept."""
    data = views.data
    if data.pipeline == "streaming" and data.on_error == "skip":
        return "images that cannot be read are met in each epoch (data.on_error=skip)"
    if views.augment.mixes:
        return "augment.mixup and augment.cutmix mix images, not their features"
    return None


def not_worthwhile(plan: FeaturePlan, macs: int, to_come: float) -> str | None:
    """Why computing the frozen layers in each epoch is the better choice; None if it is not.

    macs: multiply-adds of the frozen layers for an image. to_come: the most images still shown in
    the stage. Disk space counts only if the folder does not exist: the same command trains on the
    same images again.
    """
    data, image_bytes = plan.views.data, _FLOAT32 * math.prod(plan.shape)
    train, val = (len(data.readable(split)) for split in ("train", "val"))
    passes = plan.views.number * train + val
    if passes >= to_come:
        return f"{passes:,} passes would replace {to_come:,.0f}"
    if macs < _MACS_PER_BYTE * image_bytes:
        return "the frozen layers are faster than a disk"
    needed = passes * image_bytes
    data.cache_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(data.cache_dir).free
    if needed > free / 2 and not plan.folder.exists():
        return f"it would take {needed / 1e9:.1f} of {free / 1e9:.1f} GB free in {data.cache_dir}"
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
