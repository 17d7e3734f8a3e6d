"""Which of the images to measure the network was trained or validated on."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from strided.data import ImageDataModule
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.evaluation.held_out import CHANGED, has_changed
from strided.runs.folder import SEEN
from strided.training.seen_images import are_seen, read_seen

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Overlap:
    """seen bool (N,): which of N images the network has seen; `excluded` ones are not measured."""

    seen: np.ndarray
    excluded: bool = False


def seen_by(classifier: Classifier, checkpoint: Path) -> np.ndarray | None:
    """The entries of the images that the network was trained and validated on.

    None, with a line in the log, if they are not known. Raises UserError for a file that is not
    the one that the checkpoint names.
    """
    known = classifier.task.trained_on
    entries = read_seen(checkpoint, known)
    if entries is None:
        reason = (
            f"{checkpoint.name} does not say which images it was trained on"
            if known.get("seen") is None
            else f"{SEEN} is not beside {checkpoint.name}"
        )
        log.info("overlap with the images of training cannot be checked: %s", reason)
    return entries


def overlap(
    entries: np.ndarray | None, classifier: Classifier, data: ImageDataModule, split: str
) -> Overlap | None:
    """Compare a split's readable images with what the network has seen; None if that is unknown.

    The run's own validation images have been validated on, so they count only if they were trained
    on too.
    """
    if entries is None:
        return None
    trained = split == "val" and is_own(classifier, data, split)
    return Overlap(are_seen(entries, data.digests(split), trained=trained))


def without_seen(
    entries: np.ndarray | None,
    classifier: Classifier,
    data: ImageDataModule,
    split: str,
    *,
    exclude: bool,
) -> Overlap | None:
    """`overlap`, for a split that the network should not know.

    Raises UserError for images from elsewhere than the run's own split that were seen, unless
    `exclude` leaves them out, and if that leaves none.
    """
    found = overlap(entries, classifier, data, split)
    if found is None or not found.seen.any():
        return found
    shared, total = int(found.seen.sum()), len(found.seen)
    if not exclude and is_own(classifier, data, split):
        return found
    if exclude and shared < total:
        return Overlap(found.seen, excluded=True)
    others = f"overlap=exclude, which measures the other {total - shared}"
    why = f" ({CHANGED})" if has_changed(classifier, data, split) else ""
    raise UserError(
        f"{shared} of {total} images of split={split} of {data.name} have the pixels of images "
        f"that were trained on or validated on{why}; expected images that are new to the network. "
        "Try "
        + (f"{others}, or " if shared < total else "")
        + "data.root=<a folder of new images>"
        + ("" if shared < total else "; overlap=exclude would leave none")
    )


def is_own(classifier: Classifier, data: ImageDataModule, split: str) -> bool:
    """Whether a split holds the images that it held in the run: those are measured as they are."""
    known = classifier.task.trained_on
    if data.split_hashes[split] != known.get("split_hashes", {}).get(split):
        return False
    fingerprints = (data.fingerprint, str(known.get("fingerprint")))
    if fingerprints[0] == fingerprints[1]:
        return True
    # streaming knows files and not pixels, and a fingerprint of pixels tells more
    by_pixels = not any(fingerprint.startswith("listing:") for fingerprint in fingerprints)
    return not by_pixels and data.listing_fingerprint == known.get("listing")
