"""Inner folds of the training images: what a solved head gives for those left out of its fit."""

import logging
from pathlib import Path

import numpy as np
from torch import Tensor

from strided.data import ImageDataModule
from strided.data.folds import fold_of_each
from strided.data.groups import joined
from strided.data.pixels.copies import first_copies
from strided.errors import UserError
from strided.runs.folder import RunFolder
from strided.runs.predictions_csv import Row, write_predictions
from strided.system.durable import put
from strided.training.trainer import Run

log = logging.getLogger(__name__)


def inner_folds(data: ImageDataModule, indices: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold (0 to folds - 1) of each of these images, whole by group and by copies.

    Raises UserError for a class with too few.
    """
    labels, together = data.source.labels[indices], belonging_together(data, indices)
    pairs = np.unique(np.stack([together, labels]), axis=1)
    having = np.bincount(pairs[1], minlength=len(data.classes))
    scarce, least = int(having.argmin()), max(folds, 4)
    if having[scarce] < least:
        raise UserError(
            f"optimizer.folds={folds}, but training has {having[scarce]} images or groups of class "
            f"{data.classes[scarce]}; expected {least} or more to choose optimizer.l2 by. Try one "
            "number, optimizer.l2=0.1"
        )
    generator = np.random.default_rng([seed, folds])
    return fold_of_each(labels, together, data.classes, folds, generator)


def belonging_together(data: ImageDataModule, indices: np.ndarray) -> np.ndarray:
    """Equal numbers (N,) for images of one group, and for copies, which no fold may part."""
    group, each = data.source.group, np.arange(len(indices))
    # as the splits know them: of streamed images whose features are kept, no pixels were read
    first = each if data.copies is None else first_copies(data.copies[indices])
    return joined(each if group is None else group[indices], first)


def folds_if_possible(
    data: ImageDataModule, indices: np.ndarray, folds: int, seed: int
) -> np.ndarray | None:
    """Inner folds only to calibrate on; None, and that is said, where a class has too few."""
    try:
        return inner_folds(data, indices, folds, seed)
    except UserError:
        log.info("too few images of a class for inner folds: probabilities are not calibrated")
        return None


def keep_inner(run: Run, data: ImageDataModule, indices: np.ndarray, logits: Tensor) -> None:
    """Write what training images (indices, of the source) got that were left out of the fit.

    Without a validation split, their logits are kept to calibrate on.
    """
    if run.quick:
        return
    paths, labels = data.source.paths, data.source.labels[indices]
    rows = [
        Row(paths[index], data.classes[label], probabilities=row)
        for index, label, row in zip(
            indices.tolist(), labels.tolist(), logits.softmax(1).tolist(), strict=True
        )
    ]
    files = RunFolder(run.folder)
    write_predictions(files.inner_predictions, rows, data.classes)
    if not len(data.splits["val"]) and run.checkpoint is not None:
        _write_logits(files.inner_logits, logits.numpy(), labels, indices)


def _write_logits(file: Path, logits: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> None:
    file.parent.mkdir(exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    with unfinished.open("wb") as stream:
        np.savez(stream, logits=logits, labels=labels, indices=indices)
    put(unfinished, file)
