"""What a checkpoint may be evaluated on: its split unchanged, or other data with its classes."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.config.schema import check
from strided.config.targets import build
from strided.config.typed_only import left_out, without_places
from strided.config.unused import refuse_typed
from strided.data import ImageDataModule, Preprocessing, Synthetic
from strided.data.splits import without_images
from strided.errors import UserError
from strided.evaluation.classifier import Classifier

log = logging.getLogger(__name__)

CHANGED = "files were added, removed or renamed, or the split has changed"
# keys of the data that only training reads, and those that a checkpoint decides
OF_TRAINING = " ".join(
    f"data.{key}"
    for key in (
        "horizontal_flip",
        "sampler",
        "drop_last",
        "pin_memory",
        "resident",
        "train_fraction",
        "extra",
        "torn_groups",
        "external",
        "intended_use",
    )
)
OF_CHECKPOINT = " ".join(
    f"data.{key}"
    for key in (
        "image_size",
        "resize",
        "crop_fraction",
        "interpolation",
        "equalize",
        "mean",
        "std",
    )
)


def require_split(data: ImageDataModule, split: str) -> None:
    """Raise UserError unless the data set has this split; name the classes that it lacks."""
    if split not in data.splits:
        raise UserError(
            f"split={split}, but {data.name} has only {', '.join(data.splits)}. "
            "Try split=val, or data=<a data set with a test split>"
        )
    if not len(data.splits[split]):  # as validation is of a head that was solved on all images
        raise UserError(
            f"split={split} of {data.name} has no image; expected some to measure on. "
            f"Try split={'test' if split == 'val' else 'val'}, or data=<a data set with some>"
        )
    for sentence in without_images({split: data.splits[split]}, data.source.labels, data.classes):
        log.warning("%s", sentence)


def set_up_data(
    classifier: Classifier,
    typed: dict[str, Any] | None,
    *,
    new_split: bool = False,
    preprocessing: Preprocessing | None = None,
) -> ImageDataModule:
    """Build and decode the data to evaluate on, with the classifier's preprocessing or another.

    `typed` holds the user's keys of the data, None for the training's data. Classes may be absent.
    Raises UserError for a class that the classifier does not know, and, unless `new_split`, for
    another split of the training images.
    """
    data = build_data(classifier, typed, new_split=new_split)
    data.measure(classifier.classes)
    folds_typed = {"num_folds", "fold"} & (typed or {}).keys()
    if data.rule.num_folds and not folds_typed and not _is_listed_so(classifier, data):
        data.forget_folds()  # of the training's images, which these are not
    known = classifier.task.trained_on.get("split_hashes")
    data.use(preprocessing or classifier.preprocessing, split_hashes=known)
    data.setup()
    return data


def build_data(
    classifier: Classifier, typed: dict[str, Any] | None, *, new_split: bool = False
) -> ImageDataModule:
    """Build the data to evaluate on: the checkpoint's, changed by what was typed.

    Raises UserError, unless `new_split`, if that would split the training data differently:
    training images would then be measured.
    """
    refuse_typed(OF_TRAINING, "eval does not train", "src/train.py")
    refuse_typed(
        OF_CHECKPOINT, "the checkpoint decides the input of its network", "another checkpoint"
    )
    trained_on = _without_folders(classifier, typed or {})
    node = typed if typed and "_target_" in typed else {**trained_on, **(typed or {})}
    check({"data": node})
    data: ImageDataModule = build(node, "data")
    if not isinstance(data, Synthetic):
        refuse_typed("data.channels", "the checkpoint decides the channels", "another checkpoint")
    if new_split or node["_target_"] != trained_on["_target_"]:
        return data
    before: ImageDataModule = build(trained_on, "data")
    if _place(data) == _place(before):
        now, known = data.split_keys(), before.split_keys()
        if changed := [key for key, value in known.items() if now[key] != value]:
            given, right = (_as_words(keys, changed) for keys in (now, known))
            raise UserError(
                f"{given} would split the training data in another way, and "
                f"measure images that were trained on; expected the split of the training. "
                f"Try {right}"
            )
    return data


def _as_words(values: Mapping[str, Any], keys: Sequence[str]) -> str:
    shown = {key: "null" if values[key] is None else values[key] for key in keys}
    return " ".join(f"data.{key}={value}" for key, value in shown.items())


def _without_folders(classifier: Classifier, typed: dict[str, Any]) -> dict[str, Any]:
    """Return the data node of the checkpoint without folders that would be written to."""
    of_file: Any = {"data": dict(classifier.task.hparams["data"])}
    of_file["data"].pop("extra", None)  # only training reads it
    config, left = without_places(of_file)
    if still := {key: value for key, value in left.items() if key.split(".")[1] not in typed}:
        log.warning("%s", left_out(still, "the checkpoint"))
    data = config["data"]
    if "root" in typed:
        data.pop("download", None)
    return data


def require_known_split(classifier: Classifier, data: ImageDataModule, split: str) -> None:
    """Raise UserError if a split carved from the training's data differs from the one in training.

    Only pixels tell whether images that were trained on would be measured: `overlap.without_seen`.
    """
    if not classifier.task.trained_on:
        log.warning("an older checkpoint: it does not say which images it was trained on")
    elif has_changed(classifier, data, split):
        may = "" if classifier.task.trained_on.get("seen") else " Trained images may be among them."
        raise UserError(
            f"split={split} of {data.name} has other images than in training: {CHANGED}.{may} "
            "Expected the split of the training. Try restoring the files, "
            + ("" if may else "overlap=exclude, which leaves out what was trained on, ")
            + "or data.root=<a folder of new images>"
        )


def has_changed(classifier: Classifier, data: ImageDataModule, split: str) -> bool:
    """Whether a split carved from the training's data differs from the one in training.

    Data count as the same if they have the same folder, or the same content anywhere. Official
    splits of a data set do not count.
    """
    known = classifier.task.trained_on.get("split_hashes", {})
    carved = not data.gives(split)
    return carved and data.split_hashes[split] != known.get(split) and _is_same(classifier, data)


def tell_part(classifier: Classifier, data: ImageDataModule, split: str) -> None:
    """Say that of data from elsewhere only a part is measured, where the split is drawn here."""
    if not data.gives(split) and not _is_same(classifier, data):
        log.info(
            "%s has no %s split of its own, so %d of its %d images are measured: all are if they "
            "are in a folder %s/, or have %s in a table's split column",
            *(data.name, split, len(data.splits[split]), len(data.source), split, split),
        )


def _is_same(classifier: Classifier, data: ImageDataModule) -> bool:
    """Whether these are the training's data."""
    known = classifier.task.trained_on
    here = {data.fingerprint, data.listing_fingerprint}  # streaming knows only the latter
    same_content = not here.isdisjoint((known.get("fingerprint"), known.get("listing")))
    return same_content or _same_place(classifier, data)


def _is_listed_so(classifier: Classifier, data: ImageDataModule) -> bool:
    """Whether these are the training's data by their place or their list of files."""
    listed = data.listing_fingerprint == classifier.task.trained_on.get("listing")
    return listed or _same_place(classifier, data)


def _same_place(classifier: Classifier, data: ImageDataModule) -> bool:
    trained_on = classifier.task.hparams["data"]
    if trained_on["_target_"].rpartition(".")[2] != type(data).__name__:
        return False
    before: ImageDataModule = build(trained_on, "data")
    return _place(data) == _place(before)


def _place(data: ImageDataModule) -> tuple[Path, ...]:
    """Where the images are: several tables may name images of one folder."""
    csv = getattr(data, "csv", None)
    return (data.root.resolve(), *([csv.resolve()] if isinstance(csv, Path) else []))
