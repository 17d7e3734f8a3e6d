"""The files that input= names, and a row of predictions.csv for each."""

import glob
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from strided.data.pixels.copies import pixel_digest
from strided.data.reading.decoding import IMAGE_SUFFIXES, ImageError, as_image
from strided.data.reading.files import is_hidden
from strided.errors import UserError
from strided.evaluation.classifier import NOT_FINITE, Classifier
from strided.runs.predictions_csv import Row

log = logging.getLogger(__name__)


def find_images(given: str) -> tuple[list[Path], Path | None]:
    """Return the image files of a file, a folder (with subfolders) or a glob, and that folder.

    Raises UserError if there are none.
    """
    path = Path(os.path.expanduser(given))
    if path.is_file():
        return [path], None
    if path.is_dir():
        hits: Iterable[Path] = path.rglob("*")
    else:
        hits = (Path(hit) for hit in glob.iglob(str(path), recursive=True))
    files = sorted(
        hit
        for hit in hits
        if hit.suffix.lower() in IMAGE_SUFFIXES
        and hit.is_file()
        and not is_hidden(hit.relative_to(path).parts if path.is_dir() else (hit.name,))
    )
    if not files:
        raise UserError(
            f"input={given} gives no image; expected a file, a folder or a glob with "
            f"{', '.join(sorted(IMAGE_SUFFIXES))} files. Try input='photos/*.jpg'"
        )
    return files, path if path.is_dir() else None


def predict_files(classifier: Classifier, given: str, batch_size: int) -> list[Row]:
    """Classify the files that `given` names; an unreadable file gets a row with the reason.

    The label is the name of a file's folder if that is one of the classes, else empty.
    """
    files, folder = find_images(given)
    log.info("%d images in %s", len(files), given)
    rows: list[Row] = []
    for at in range(0, len(files), batch_size):
        rows += _predict_batch(classifier, files[at : at + batch_size], folder)
    return rows


def _predict_batch(classifier: Classifier, files: list[Path], folder: Path | None) -> list[Row]:
    pixels, errors = [], {}
    rows: dict[Path, list[float]] = {}
    digests: dict[Path, int] = {}
    for file in files:
        try:
            image = as_image(file)
            pixels.append(classifier.preprocessing.pixels(image))
            digests[file] = int.from_bytes(pixel_digest(image)[:8], "little")
        except ImageError as error:
            errors[file] = str(error)
            log.warning("%s: %s", file, error)
    if pixels:
        read = [file for file in files if file not in errors]
        logits = classifier.logits(torch.from_numpy(np.stack(pixels)))
        rows = dict(zip(read, logits.softmax(1).tolist(), strict=True))
        for file, finite in zip(read, logits.isfinite().all(1).tolist(), strict=True):
            if not finite:
                errors[file] = NOT_FINITE
                log.warning("%s: %s", file, NOT_FINITE)
    return [
        Row(
            path=file.relative_to(folder).as_posix() if folder else str(file),
            label=file.parent.name if file.parent.name in classifier.classes else "",
            error=errors.get(file, ""),
            probabilities=None if file in errors else rows[file],
            digest=digests.get(file),
        )
        for file in files
    ]


def most_probable(probabilities: Sequence[float], classes: Sequence[str]) -> str:
    """Return `tabby (0.712), ...`: the best five classes, or the best alone of up to five."""
    ranked = sorted(zip(probabilities, classes, strict=True), key=lambda pair: -pair[0])
    count = 5 if len(classes) > 5 else 1
    return ", ".join(f"{name} ({probability:.3f})" for probability, name in ranked[:count])
