"""Classifier: a trained network with its preprocessing and class names; eval and predict use it."""

import glob
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from strided.config.targets import trusting
from strided.data.reading.decoding import IMAGE_SUFFIXES, ImageError, as_image
from strided.data.reading.files import is_hidden
from strided.errors import UserError
from strided.pretrained import pretrained_task
from strided.runs.predictions_csv import Row, write_predictions
from strided.system.devices import choose_device
from strided.training.loading import find_checkpoint, load_task
from strided.training.task import ClassificationTask

log = logging.getLogger(__name__)

ImageLike = Image.Image | np.ndarray | str | Path


@dataclass(frozen=True)
class Prediction:
    """The most probable class, and the probability of each class by name (they sum to 1)."""

    label: str
    probabilities: dict[str, float]


class Classifier:
    """Calls a trained network on images: PIL, uint8 arrays (H, W[, C]) or paths."""

    def __init__(self, task: ClassificationTask, device: str = "auto") -> None:
        self.device = choose_device(device)
        self.task = task.to(self.device).eval()
        self.classes = task.classes
        self.preprocessing = task.preprocessing

    @classmethod
    def load(
        cls, run_or_checkpoint: str | Path, *, device: str = "auto", trust: Sequence[str] = ()
    ) -> Self:
        """Load a run folder's best.ckpt, or a .ckpt file. Raises UserError."""
        with trusting(trust):
            return cls(load_task(find_checkpoint(run_or_checkpoint)), device)

    def __call__(
        self, images: ImageLike | Iterable[ImageLike], batch_size: int = 64
    ) -> Prediction | list[Prediction]:
        """Classify one image, giving a Prediction, or several, giving a list of them.

        Raises ImageError, a UserError, for what cannot be read.
        """
        if isinstance(images, Image.Image | np.ndarray | str | Path):
            return self._predictions([images])[0]
        several = list(images)
        starts = range(0, len(several), batch_size)
        return [p for at in starts for p in self._predictions(several[at : at + batch_size])]

    def _predictions(self, images: Sequence[ImageLike]) -> list[Prediction]:
        pixels = np.stack([self.preprocessing.pixels(as_image(image)) for image in images])
        rows = self.logits(torch.from_numpy(pixels)).softmax(1).tolist()
        named = [dict(zip(self.classes, row, strict=True)) for row in rows]
        return [Prediction(max(row, key=row.__getitem__), row) for row in named]

    @torch.inference_mode()
    def logits(self, pixels: Tensor) -> Tensor:
        """Return logits (B, K) on the CPU for preprocessed uint8 pixels (B, C, S, S)."""
        images = self.preprocessing.normalise(pixels.to(self.device))
        return self.task(images).float().cpu()


def find_images(given: str) -> tuple[list[Path], Path | None]:
    """Return the image files of a file, a folder (with subfolders) or a glob, and that folder.

    Raises UserError when there is none.
    """
    path = Path(given).expanduser()
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
    """Classify the files that `given` names; one that cannot be read gets a row with the reason.

    The label is the name of a file's folder where that is one of the classes, else empty.
    """
    files, folder = find_images(given)
    log.info("%d images in %s", len(files), given)
    rows: list[Row] = []
    for at in range(0, len(files), batch_size):
        rows += _predict_batch(classifier, files[at : at + batch_size], folder)
    return rows


def _predict_batch(classifier: Classifier, files: list[Path], folder: Path | None) -> list[Row]:
    pixels, errors = [], {}
    for file in files:
        try:
            pixels.append(classifier.preprocessing.pixels(as_image(file)))
        except ImageError as error:
            errors[file] = str(error)
            log.warning("%s: %s", file, error)
    rows: Iterator[list[float]] = iter(())
    if pixels:
        rows = iter(classifier.logits(torch.from_numpy(np.stack(pixels))).softmax(1).tolist())
    return [
        Row(
            path=file.relative_to(folder).as_posix() if folder else str(file),
            label=file.parent.name if file.parent.name in classifier.classes else "",
            error=errors.get(file, ""),
            probabilities=None if file in errors else next(rows),
        )
        for file in files
    ]


def most_probable(probabilities: Sequence[float], classes: Sequence[str]) -> str:
    """Return `tabby (0.712), ...`: the best five classes, or the best alone of up to five."""
    ranked = sorted(zip(probabilities, classes, strict=True), key=lambda pair: -pair[0])
    count = 5 if len(classes) > 5 else 1
    return ", ".join(f"{name} ({probability:.3f})" for probability, name in ranked[:count])


def predict(config: dict[str, Any], folder: Path, results: dict[str, Any]) -> None:
    """The predict verb: classify `input` with `checkpoint` or `model`, write predictions.csv."""
    if config["batch_size"] < 1:
        raise UserError(f"batch_size={config['batch_size']}; expected 1 or more. Try batch_size=64")
    classifier = (
        Classifier.load(config["checkpoint"], device=config["accelerator"])
        if config["checkpoint"]
        else Classifier(pretrained_task(config["model"]), config["accelerator"])
    )
    if config["input"] is None:
        raise UserError("input=null; expected a file, a folder or a glob. Try input=photos/")
    rows = predict_files(classifier, config["input"], config["batch_size"])
    write_predictions(folder / "predictions.csv", rows, classifier.classes)
    failed = sum(row.probabilities is None for row in rows)
    results.update(images=len(rows), unreadable=failed, classes=classifier.classes)
    for row in rows[:5]:
        if row.probabilities is not None:
            log.info("%s: %s", row.path, most_probable(row.probabilities, classifier.classes))
    log.info(
        "%d images%s: %s",
        len(rows),
        f", {failed} unreadable" if failed else "",
        folder / "predictions.csv",
    )
    if failed == len(rows):
        raise UserError(
            f"none of the {failed} images of input={config['input']} could be read (the first: "
            f"{rows[0].error}); expected at least one. Try input=<a picture that opens elsewhere>"
        )
