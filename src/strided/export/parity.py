"""Proof that the exported network answers as predict does, on real images."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch

from strided.data import ImageDataModule
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.serving.bundle import run_session

BATCHES = (1, 2, 7)
MOST_DIFFERENCE = 1e-3  # of a logit
MOST_MISSED = 1e-4  # of a logit less its bias, by the sum of its shares
_IMAGES = 14  # two batches of the largest size


class Checked(NamedTuple):
    """Images of one split for checks and statistics: uint8 (N, C, S, S), their labels (N,)."""

    split: str
    pixels: np.ndarray
    labels: np.ndarray


def own_images(classifier: Classifier, data: ImageDataModule, most: int) -> Checked:
    """At most `most` validation images, spread over all; without any, training images.

    Never test images: nothing that is chosen or measured here may depend on them.
    """
    split = "val" if len(data.readable("val")) else "train"
    batches = list(classifier.loader(data, split, data.spread(split, most)))
    return Checked(
        split,
        np.concatenate([batch.images.numpy() for batch in batches]),
        np.concatenate([batch.labels.numpy() for batch in batches]),
    )


def parity(classifier: Classifier, session: Any, images: Checked) -> dict[str, Any]:
    """Compare the logits of a session with the classifier's, in batches of three sizes."""
    pixels = images.pixels[np.arange(_IMAGES) % len(images.pixels)]
    expected = classifier.logits(torch.from_numpy(pixels)).numpy()
    differences, classes = [], True
    for size in BATCHES:
        logits = np.concatenate([r[0] for r in _runs(session, pixels, size, ["logits"])])
        differences.append(float(np.abs(logits - expected).max()))
        classes &= bool((logits.argmax(1) == expected.argmax(1)).all())
    return {
        "split": images.split,
        "images": min(_IMAGES, len(images.pixels)),
        "batches": list(BATCHES),
        "largest_difference": max(differences),
        "allowed_difference": MOST_DIFFERENCE,
        "same_classes": classes,
    }


def require_parity(facts: dict[str, Any]) -> None:
    """Raise UserError if a logit differs by more than MOST_DIFFERENCE, or if a class does."""
    found, classes = facts["largest_difference"], facts["same_classes"]
    if not found <= MOST_DIFFERENCE or not classes:  # NaN is no match either
        raise UserError(
            f"the exported network differs from predict by up to {found:.1e} in its logits, in "
            f"batches of 1, 2 and 7{'' if classes else ', and in the class'}; expected at most "
            f"{MOST_DIFFERENCE:g} and the same classes. Nothing was registered. Try another "
            "version of onnxruntime or torch"
        )


def missed_by_shares(session: Any, images: Checked, bias: np.ndarray | None) -> float:
    """The most by which the sum of an output's shares misses the logit less the bias."""
    pixels, missed = images.pixels[:_IMAGES], 0.0
    for logits, heat in _runs(session, pixels, max(BATCHES), ["logits", "heat"]):
        wanted = logits if bias is None else logits - bias
        missed = max(missed, float(np.abs(heat.sum((2, 3), dtype=np.float64) - wanted).max()))
    return missed


def _runs(
    session: Any, pixels: np.ndarray, size: int, names: list[str]
) -> Iterator[list[np.ndarray]]:
    for at in range(0, len(pixels), size):
        yield run_session(session, pixels[at : at + size], names)
