"""The start of training: the images, split and decoded, and the task with its first weights."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch

from strided.config.keys import Config, Node
from strided.config.targets import build
from strided.data import BatchAugment, ImageDataModule, Preprocessing
from strided.data.reading.depth import WHITE
from strided.data.reading.files import as_text
from strided.data.reading.pictures import counted
from strided.data.splits import without_images
from strided.errors import UserError
from strided.models import Plan, plan
from strided.runs.results import Results, by_name
from strided.system.processes import gathered
from strided.training.execution import with_fused_step
from strided.training.first_weights import begin_weights
from strided.training.loading import require_own_network
from strided.training.losses import CrossEntropy, FocalLoss, balanced, try_loss
from strided.training.parameter_groups import parameter_counts
from strided.training.seen_images import trained_on
from strided.training.task import ClassificationTask, multiply_adds
from strided.training.transfer.stages import try_stages

log = logging.getLogger(__name__)

_SHOWN_CLASSES = 20
_MAYBE_EXTRA = ", or the data.extra=<table> that it began with"

# the data module's keys for the input; None leaves the choice to the network
INPUT_WISHES = (
    "image_size",
    "resize",
    "crop_fraction",
    "interpolation",
    "equalize",
    "mean",
    "std",
    "published_mean",
    "published_std",
    "default_image_size",
)


def set_seeds(seed: int) -> None:
    """Seed torch, numpy and random. Raises UserError outside 0 .. 2**32 - 1."""
    if not 0 <= seed < 2**32:
        raise UserError(f"seed={seed}; expected 0 to {2**32 - 1}. Try seed=0")
    pl.seed_everything(seed, verbose=False)


def prepare_data(
    config: Config, results: Results, resumed: Path | None = None
) -> tuple[ImageDataModule, Plan]:
    """List the images, decide the input of this (model, data) pair, decode, split.

    `resumed` is the checkpoint to go on from. Raises UserError if its images were others.
    """
    data: ImageDataModule = build(config["data"], "data")
    if resumed:
        require_own_network(config["model"], resumed)
    decided = plan(
        config["model"],
        num_classes=len(data.classes),
        channels=data.channels,
        native_size=data.native_size,
        requested={key: getattr(data, key) for key in INPUT_WISHES},
    )
    report_source(data)
    for note in decided.notes:
        log.info("%s", note)
    augment: BatchAugment = build(config["augment"], "augment")
    try_loss(config["loss"], data.classes, soft_labels=augment.mixes)
    try_stages(config, decided.net)
    known = trained_on(resumed)["split_hashes"] if resumed else None
    wanted = _as_before(decided.preprocessing, resumed) if resumed else decided.preprocessing
    limit = config["trainer"].get("limit_train_batches")
    data.use(wanted, augment, config["seed"], known, limit if isinstance(limit, int) else None)
    data.setup()
    sizes = {split: len(indices) for split, indices in data.splits.items()}
    log.info("images: %s", ", ".join(f"{split} {size}" for split, size in sizes.items()))
    report_fold(data)
    by_name(results).update(data.fold_facts())
    for sentence in without_images(data.splits, data.source.labels, data.classes):
        log.warning("%s", sentence)
    results.update(
        {
            "classes": data.classes,
            "splits": sizes,
            "split_hash": data.split_hash,
            "data_fingerprint": data.fingerprint,
            "preprocessing": data.preprocessing.asdict(),
            "skipped": len(data.skipped),
            "ignored_files": sum(data.source.ignored.values()),
            "ignored_by_ending": dict(data.source.ignored),
            "folders_left_out": dict(data.source.left_out),
            "duplicates": None if data.duplicates is None else len(data.duplicates),
        }
    )
    if data.added is not None:
        results["extra"] = data.added
    if known is not None:
        check_same_split(data, known)
    return data, decided


def report_source(data: ImageDataModule) -> None:
    """Log the classes with their number of images, and the files that are not used."""
    source = data.source
    log.info("%s: %d classes, %d images", data.name, len(source.classes), len(source))
    counts = np.bincount(source.labels, minlength=len(source.classes)).tolist()
    pairs = list(zip(source.classes, counts, strict=True))
    shown = ", ".join(f"{as_text(name)} {count}" for name, count in pairs[:_SHOWN_CLASSES])
    log.info("images of each class: %s%s", shown, ", ..." if pairs[_SHOWN_CLASSES:] else "")
    if source.ignored:
        log.info("files that are not used: %s", counted(source.ignored))


def report_fold(data: ImageDataModule) -> None:
    """Log which fold is the test split, and what became of splits that the data set gives."""
    if data.rule.num_folds is None:
        return
    log.info("the test split is fold %d of 0 to %d", data.rule.fold, data.rule.num_folds - 1)
    if "val" in data.source.split:
        log.info("the images of the data set's own val split are in the folds too")
    if kept_out := int((data.source.split == "test").sum()):
        log.info("%d images of the data set's own test split are in no fold", kept_out)


def _as_before(decided: Preprocessing, checkpoint: Path) -> Preprocessing:
    """With what was measured on the images when the run began; older checkpoints lack white."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    before = Preprocessing.from_dict(saved["hyper_parameters"]["preprocessing"])
    return replace(
        decided,
        white=before.white or WHITE,
        mean=decided.mean or before.mean,
        std=decided.std or before.std,
    )


def check_same_data(data: ImageDataModule) -> None:
    """Raise UserError unless all processes have the same images in the same splits."""
    seen = gathered((data.fingerprint, data.split_hash))
    for rank, other in enumerate(seen):
        if other != seen[0]:
            raise UserError(
                f"process {rank} sees other images than process 0 (data fingerprints "
                f"{other[0][:12]} and {seen[0][0][:12]}); expected the same on every machine. Try "
                "data.root=<a folder that all machines share>"
            )


def check_same_split(data: ImageDataModule, known: Mapping[str, str]) -> None:
    """Raise UserError if the images are split differently than in the run of these hashes."""
    changed = [s for s, own in data.split_hashes.items() if own != known.get(s)]
    if changed:
        raise UserError(
            f"the images of {', '.join(changed)} are not those that this run began with: files of "
            f"{data.name} were added, removed or renamed, or its split was changed; expected the "
            "same, or trained images would be tested. Try restoring them"
            f"{_MAYBE_EXTRA if changed == ['train'] else ''}, or a new run"
        )


def check_moved_data(node: Node, checkpoint: Path) -> None:
    """Raise UserError unless the data are the files that the checkpoint's run began with.

    Nothing is decoded: names, labels and sizes are compared. A damaged checkpoint is left to the
    resume itself.
    """
    try:
        saved = torch.load(checkpoint, weights_only=True, mmap=True)
        known, classes = saved["strided"]["trained_on"], saved["hyper_parameters"]["classes"]
    except Exception:  # of any kind: the bytes may be anything
        return
    data: ImageDataModule = build(node, "data")
    if data.listing_fingerprint == known.get("listing"):
        return
    other = "names, labels or sizes of files differ"
    if data.classes != classes:
        other = f"its classes are {some(data.classes)}, and not {some(classes)}"
    given = " ".join(f"data.{key}={node[key]}" for key in ("csv", "root") if node.get(key))
    raise UserError(
        f"{given} has other images than this run began with: {other}; expected the same files at "
        "another place, or trained images could be tested. Try the place that they were moved to, "
        "or a new run without resume="
    )


def build_task(
    config: Config,
    decided: Plan,
    data: ImageDataModule,
    results: Results,
    *,
    fresh: bool,
) -> ClassificationTask:
    """Build the task; `fresh` weights are initialised, others come from a checkpoint."""
    loss = balanced(config["loss"], data.classes, data.labels("train"))
    untrained = {"pretrained": False} if "pretrained" in decided.model else {}
    set_seeds(config["seed"])  # listing and decoding must not change the initial weights
    task = ClassificationTask(
        model={**decided.model, **untrained, "weights": None},
        classes=data.classes,
        preprocessing=data.preprocessing.asdict(),
        loss=loss,
        optimizer=with_fused_step(config["optimizer"], config["trainer"]),
        scheduler=config["scheduler"],
        data=config["data"],
        channels_last=config["channels_last"],
    )
    task.matmul_precision = config["matmul_precision"]
    task.views = (config.get("evaluation") or {}).get("views") or "none"
    task.trained_on = {
        "fingerprint": data.fingerprint,
        "listing": data.listing_fingerprint,
        "split_hashes": data.split_hashes,
    }
    report_class_weights(task, results)
    begin_weights(task.model, config, data, fresh=fresh)
    counts = parameter_counts(task.model)
    results.update({"parameters": counts, "macs": multiply_adds(task)})
    log.info(
        "parameters: %s, trainable %s; %.4g million multiply-adds an image",
        f"{counts['total']:,}",
        f"{counts['trainable']:,}",
        results["macs"] / 1e6,
    )
    if config["compile"]:
        task.model.compile()  # in place: the names in checkpoints stay the plain network's
    return task


def some(names: Sequence[str]) -> str:
    """Return the first few names of classes."""
    more = ", ..." if len(names) > _SHOWN_CLASSES else ""
    return ", ".join(map(as_text, names[:_SHOWN_CLASSES])) + more


def report_class_weights(task: ClassificationTask, results: Results) -> None:
    """Log the weights of the classes and add them to the results, if the loss has any."""
    criterion = task.criterion
    if not isinstance(criterion, CrossEntropy | FocalLoss) or criterion.weight is None:
        return
    weights = dict(zip(task.classes, criterion.weight.tolist(), strict=True))
    results["class_weights"] = weights
    ends = [choose(weights, key=weights.__getitem__) for choose in (min, max)]
    shown = list(weights) if len(weights) <= 20 else ends
    log.info("class weights: %s", ", ".join(f"{name} {weights[name]:.4g}" for name in shown))
