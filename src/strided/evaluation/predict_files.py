"""The files that input= names, and a row of predictions.csv for each."""

import glob
import logging
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from strided.data.pixels.copies import pixel_digest
from strided.data.reading.decoding import ImageError, as_image
from strided.data.reading.depth import WHITE, brightness, clipped
from strided.data.reading.file_kinds import START_BYTES, ArchiveKind, archive_kind
from strided.data.reading.files import folder_files, head_of
from strided.data.reading.labels import label_of
from strided.data.reading.leavings import is_hidden
from strided.data.reading.pictures import by_ending, contents_of, counted, is_image
from strided.data.reading.signatures import FORMAT_NAMES, ending, is_known_other, is_picture
from strided.decision.calibration import NOT_FINITE
from strided.errors import UserError, printable, sought_from
from strided.evaluation.classifier import Classifier
from strided.runs.predictions_csv import Row

log = logging.getLogger(__name__)


class Found(NamedTuple):
    """The image files that input= names, and the folder if it names one.

    ignored counts other files by ending; closed says which folders could not be opened, and why.
    """

    files: list[Path]
    folder: Path | None
    ignored: dict[str, int]
    closed: dict[str, str]


def find_images(given: str, key: str = "input") -> Found:
    """Find the image files of a file, a folder (with subfolders) or a glob, as `key` names it.

    What machines leave behind is passed over unless it is named itself. Raises UserError if there
    is no image.
    """
    path = Path(os.path.expanduser(given))
    if path.is_file():
        _refuse_other(path, given, key)
        return Found([path], None, {}, {})
    if path.is_dir():
        found = _in_folder(path)
    elif path.exists():
        raise UserError(
            f"{key}={given} is a pipe, socket or device; expected a file, a folder or a glob."
            " Try saving it as a file first"
        )
    elif path.is_symlink():
        raise UserError(
            f"{key}={given} is a link to {printable(os.readlink(path))}, which does not exist; "
            "expected a file, a folder or a glob. Try the place where the images are now"
        )
    else:
        found = _by_glob(path)
    if reason := found.closed.get("") if not found.files else None:
        raise UserError(
            f"{key}={given} cannot be opened ({reason}); expected a folder that you may read. "
            f"Try: ls -ld {given}"
        )
    if found.ignored:
        log.info("files that are no images: %s", counted(found.ignored))
    for name, reason in found.closed.items():
        log.warning("%s: the folder cannot be opened (%s)", name, reason)
    if not found.files:
        others = f" ({counted(found.ignored)})" if found.ignored else ""
        raise UserError(
            f"{key}={given} gives no image{others}{sought_from(path)}; expected a file, a folder"
            f" or a glob of images: {FORMAT_NAMES}. Try {key}='photos/*.jpg'"
        )
    return found


def _refuse_other(file: Path, given: str, key: str) -> None:
    """Raise UserError for an archive, table or text, in place of a row that says it is no image."""
    with suppress(OSError), file.open("rb") as stream:
        start = stream.read(START_BYTES)
        packed = ArchiveKind("a zip", "unzip") if start[:4] == b"PK\3\4" else archive_kind(start)
        if packed:
            raise UserError(
                f"{key}={given} is {packed.name}; expected a file, a folder or a glob of images."
                f" Try unpacking it ({packed.command} {file.name}), and {key}=<that folder>"
            )
        if is_known_other(ending(file.name)) and not is_picture(start):
            raise UserError(
                f"{key}={given} is no image, by its content and its ending; expected a file, a "
                f"folder or a glob of images: {FORMAT_NAMES}. Try {key}=<their folder>; a table of "
                "labelled images is measured by eval, with data=csv data.csv=<the table>"
            )


def _in_folder(folder: Path) -> Found:
    listed = folder_files(folder)
    contents = contents_of(listed)
    files = [folder / inside / name for inside, names in contents.images.items() for name in names]
    ignored = by_ending(contents.others, len(listed.special))
    return Found(sorted(files), folder, ignored, dict(listed.closed))


def _by_glob(pattern: Path) -> Found:
    """The files that a glob names, and those in the folders that it names."""
    fixed = sum(1 for _ in takewhile(lambda part: not glob.has_magic(part), pattern.parts))
    hits = {Path(hit) for hit in glob.iglob(str(pattern), recursive=True)}
    hits = {hit for hit in hits if not is_hidden(hit.parts[fixed:])}
    files = {hit for hit in hits if hit.is_file()}
    folders = {hit for hit in hits if hit.is_dir()}
    images = {file for file in files if is_image(file.name, partial(head_of, file))}
    ignored = Counter(
        by_ending([file.name for file in files - images], len(hits - files - folders))
    )
    closed: dict[str, str] = {}
    for folder in folders if "**" not in pattern.parts else ():  # ** names their files too
        found = _in_folder(folder)
        images.update(found.files)
        ignored.update(found.ignored)
        closed |= {str(folder / name): reason for name, reason in found.closed.items()}
    return Found(sorted(images), None, dict(ignored), closed)


def predict_files(classifier: Classifier, found: Found, batch_size: int) -> list[Row]:
    """Classify files; an unreadable file or folder gets a row with the reason.

    The label is the name of a file's folder if that is one of the classes, else empty.
    """
    rows: list[Row] = []
    for at in range(0, len(found.files), batch_size):
        rows += _predict_batch(classifier, found.files[at : at + batch_size], found.folder)
    return rows + [
        Row(
            path=name, label="", error=f"this folder cannot be opened: {reason}", probabilities=None
        )
        for name, reason in found.closed.items()
    ]


def _predict_batch(classifier: Classifier, files: list[Path], folder: Path | None) -> list[Row]:
    pixels, errors = [], {}
    rows: dict[Path, list[float]] = {}
    said: dict[Path, dict[str, Any]] = {}
    digests: dict[Path, int] = {}
    bright: list[int] = []
    for file in files:
        try:
            image = as_image(file)
            pixels.append(classifier.preprocessing.pixels(image))
            if (value := brightness(image)) is not None:
                bright.append(value)
            digests[file] = int.from_bytes(pixel_digest(image)[:8], "little")
        except ImageError as error:
            errors[file] = str(error)
            log.warning("%s: %s", file, error)
    white = classifier.preprocessing.white or WHITE
    if brighter := [value for value in bright if value > white]:
        log.warning("%s", clipped(len(brighter), len(files), max(brighter), white))
    if pixels:
        read = [file for file in files if file not in errors]
        logits, decided = classifier.answers(torch.from_numpy(np.stack(pixels)))
        usable = logits.isfinite().all(1)
        rows = dict(zip(read, decided.probabilities.tolist(), strict=True))
        for place, (file, finite) in enumerate(zip(read, usable.tolist(), strict=True)):
            if finite and classifier.decision is not None:
                said[file] = decided.said(place, classifier.classes)
            if not finite:
                errors[file] = NOT_FINITE
                log.warning("%s: %s", file, NOT_FINITE)
    return [
        Row(
            path=file.relative_to(folder).as_posix() if folder else str(file),
            label=label if (label := label_of(file.parent.name)) in classifier.classes else "",
            error=errors.get(file, ""),
            probabilities=None if file in errors else rows[file],
            digest=digests.get(file),
            **said.get(file, {}),
        )
        for file in files
    ]


def most_probable(probabilities: Sequence[float], classes: Sequence[str]) -> str:
    """Return `tabby (0.712), ...`: the best five classes, or the best alone of up to five."""
    ranked = sorted(zip(probabilities, classes, strict=True), key=lambda pair: -pair[0])
    count = 5 if len(classes) > 5 else 1
    return ", ".join(f"{name} ({probability:.3f})" for probability, name in ranked[:count])
