"""Train a stage on kept features of its frozen layers, if possible and worthwhile."""

import logging
import math
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np

from strided.config.unused import refuse_typed
from strided.data import BatchAugment, ImageDataModule
from strided.errors import UserError
from strided.system.devices import float32_products
from strided.system.processes import first_on_each_machine, from_first
from strided.training.logistic import is_solved
from strided.training.task import ClassificationTask, multiply_adds
from strided.training.trainer import Run
from strided.training.transfer.cut import Cut, CutError
from strided.training.transfer.features import (
    FrozenLayers,
    KeptFeatures,
    Views,
    arithmetic,
    features_folder,
    frozen_layers,
)
from strided.training.transfer.parts import parts
from strided.training.transfer.stages import StageRun
from strided.training.transfer.transfer import Transfer

log = logging.getLogger(__name__)

_MACS_PER_BYTE = 4  # computed while a byte of features is read, on a slow disk
_FLOAT32 = 4  # bytes


@dataclass(frozen=True)
class FeaturePlan:
    """How to train a stage on features of `layers`, and in how many views.

    `views` None: one, not augmented, and one in each of the `renderings`. `macs` are the
    multiply-adds of an image that each epoch still has to compute.
    """

    layers: FrozenLayers
    views: Views | None
    macs: int
    renderings: Sequence[str] = ()

    @property
    def number(self) -> int:
        return self.views.number if self.views else 1 + len(self.renderings)

    @property
    def passes(self) -> int:
        """Images that the frozen layers see, if none of their features are kept yet."""
        train, val = (len(self.layers.data.readable(split)) for split in ("train", "val"))
        return self.number * train + val

    @property
    def bytes(self) -> int:
        """Size of the features of all these."""
        return _FLOAT32 * self.passes * math.prod(self.layers.shape)


@dataclass(frozen=True)
class OnFeatures:
    """Kept features by split, those of renderings, and what all cost, for results.json."""

    features: dict[str, KeptFeatures]
    rendered: list[KeptFeatures]
    cost: dict[str, Any]


@contextmanager
def on_features(
    run: Run,
    stage_run: StageRun,
    trainer: pl.Trainer,
    task: ClassificationTask,
    data: ImageDataModule,
) -> Iterator[OnFeatures | None]:
    """Train on kept features of the frozen layers inside the block, if possible and worthwhile.

    Yields None if each epoch computes everything. Raises UserError if transfer.cache=true, or
    optimizer=lbfgs, is impossible.
    """
    plan = plan_features(run, stage_run, trainer, task, data)
    if plan is None:
        yield None
        return
    with first_on_each_machine():
        features, rendered = open_features(plan), open_rendered(plan)
    opened = {*features.values(), *rendered}
    _describe(plan, features["train"], opened)
    with plan.layers.cut.taking_features(task):
        data.serve(features)
        try:
            yield OnFeatures(features, rendered, _cost(plan, opened))
        finally:
            data.serve(None)


def open_features(plan: FeaturePlan) -> dict[str, KeptFeatures]:
    """The features of training and validation images; those that are not kept yet are computed."""
    data = plan.layers.data
    plain = KeptFeatures(plan.layers)
    features = {"train": KeptFeatures(plan.layers, plan.views) if plan.views else plain}
    features["val"] = plain
    train, val = (data.readable(split) for split in ("train", "val"))
    if plan.views is None:
        plain.require(np.concatenate([train, val]))
    else:
        of_views = [view * len(data.source) + train for view in range(plan.number)]
        features["train"].require(np.concatenate(of_views))
        plain.require(val)
    return features


def open_rendered(plan: FeaturePlan) -> list[KeptFeatures]:
    """The features of training images in each rendering. Later, frozen layers are skipped."""
    rendered = [KeptFeatures(plan.layers, rendering=name) for name in plan.renderings]
    for kept in rendered:
        kept.require(plan.layers.data.readable("train"))
    return rendered


def _cost(plan: FeaturePlan, opened: Collection[KeptFeatures]) -> dict[str, Any]:
    return {
        "views": plan.number,
        "shape": list(plan.layers.shape),
        "bytes": plan.bytes,
        "computed": sum(kept.computed for kept in opened),
        "seconds": _seconds(opened),
        "macs": plan.macs,
    }


def _seconds(opened: Collection[KeptFeatures]) -> float:
    return round(sum(kept.seconds for kept in opened), 3)


def plan_features(
    run: Run,
    stage_run: StageRun,
    trainer: pl.Trainer,
    task: ClassificationTask,
    data: ImageDataModule,
) -> FeaturePlan | None:
    """Decide whether a stage is trained on features; None if each epoch computes everything."""
    transfer, chosen = Transfer.of(run.config), parts(task.model, stage_run.stage.trainable)
    known, insisted = stage_run.on_features, transfer.cache is True or is_solved(run.config)
    if not chosen.frozen or transfer.cache is False or known is False:
        return None
    # as after a resume: bf16-true has rounded a checkpoint's weights
    trainer.precision_plugin.convert_module(task)
    task.to(trainer.strategy.root_device)
    number = transfer.cached_views
    views = Views(number, data.augmentation, run.config["seed"]) if number > 1 else None
    plan = None
    try:
        layers = _in_training(run, trainer, task, data, Cut(task.model, chosen))
        with layers.cut.taking_features(task):
            macs = multiply_adds(task, layers.shape)
        plan = FeaturePlan(layers, views, macs, transfer.rendered_as)
        why_not = _impossible(data)
        if not insisted and not why_not and known is None:
            frozen = run.results["macs"] - plan.macs
            why_not = not_worthwhile(plan, frozen, _images_to_come(trainer, task, data))
    except CutError as error:
        why_not = f"the network cannot be cut there: {error}"
    why_not = from_first(why_not)
    if why_not and insisted:
        given, instead = "transfer.cache=true", "transfer.cache=auto"
        if is_solved(run.config):
            given, instead = "optimizer=lbfgs", "optimizer=adam"
        raise UserError(
            f"{given}, but {why_not}; expected a network and images whose features can be kept. "
            f"Try {instead}"
        )
    if not why_not and views is None and data.augmentation != BatchAugment():
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


def _in_training(
    run: Run, trainer: pl.Trainer, task: ClassificationTask, data: ImageDataModule, cut: Cut
) -> FrozenLayers:
    """The layers before a cut, in training's precision. Raises CutError."""
    products, device = run.config["matmul_precision"], task.device

    @contextmanager
    def context() -> Iterator[None]:
        with float32_products(products, device), trainer.precision_plugin.forward_context():
            yield

    own = arithmetic(str(trainer.precision), products, device)
    return frozen_layers(cut, task, data, context, own)


def _images_to_come(trainer: pl.Trainer, task: ClassificationTask, data: ImageDataModule) -> float:
    """The most images that the network can still see in this stage."""
    end, batches = trainer.max_epochs, trainer.limit_train_batches
    epochs = math.inf if end in (None, -1) else end - task.stage["epoch"]
    train, val = (len(data.readable(split)) for split in ("train", "val"))
    if isinstance(batches, int):
        train = min(train, batches * data.batch_size)
    return epochs * (train + val)


def _impossible(data: ImageDataModule) -> str | None:
    """Why features of these images cannot be kept."""
    if data.pipeline == "streaming" and data.on_error == "skip":
        return "images that cannot be read are met in each epoch (data.on_error=skip)"
    if data.augmentation.mixes:
        return "augment.mixup and augment.cutmix mix images, not their features"
    return None


def not_worthwhile(plan: FeaturePlan, macs: int, to_come: float) -> str | None:
    """Why computing the frozen layers in each epoch is the better choice; None if it is not.

    macs: multiply-adds of the frozen layers for an image. to_come: the most images still shown in
    the stage. Disk space counts only for what is not kept yet: the same command trains on the same
    images again.
    """
    data, image_bytes = plan.layers.data, _FLOAT32 * math.prod(plan.layers.shape)
    if plan.passes >= to_come:
        return f"{plan.passes:,} passes would replace {to_come:,.0f}"
    if macs < _MACS_PER_BYTE * image_bytes:
        return "the frozen layers are faster than a disk"
    data.cache_dir.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(data.cache_dir).free
    if plan.bytes > free / 2 and not features_folder(plan.layers, plan.views).exists():
        room = f"{plan.bytes / 1e9:.1f} of {free / 1e9:.1f} GB free in {data.cache_dir}"
        return f"it would take {room}"
    return None


def _describe(plan: FeaturePlan, train: KeptFeatures, opened: Collection[KeptFeatures]) -> None:
    computed = sum(kept.computed for kept in opened)
    views = f"{plan.number} augmented views" if plan.views else "one view"
    if plan.renderings:
        views = f"images as they are and in {len(plan.renderings)} renderings"
    log.info(
        "features of the frozen layers: %s numbers an image, %s of training, %.1f MB in %s; %s",
        "x".join(map(str, plan.layers.shape)),
        views,
        plan.bytes / 1e6,
        train.rows.folder,
        f"{computed:,} computed in {_seconds(opened):.1f} s" if computed else "all kept before",
    )
    if plan.views is None and plan.layers.data.augmentation != BatchAugment():
        log.info("of images that are not augmented: for that, transfer.cached_views=5")
