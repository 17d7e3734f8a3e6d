"""gate=: a new version beside the one that answers now, on the same test images."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from strided.data import ImageDataModule, Preprocessing
from strided.data.renderings import STRESS, rendered
from strided.decision.calibration import BINS, bin_of
from strided.errors import UserError, one_line
from strided.evaluation.classifier import Classifier
from strided.evaluation.held_out import set_up_data
from strided.evaluation.intervals import holm, holm_levels, mcnemar_exact, paired_interval
from strided.serving.bundle import Bundle

log = logging.getLogger(__name__)

RESAMPLES = 2_000
_MOST_STRESSED = 1_000  # images that are shown differently, in eight ways
_BATCH = 32


class Contender:
    """A bundle on the test images: `probabilities` (N, K) in the order of `classes`, `labels` (N,).

    `stressed` are the pixels of at most _MOST_STRESSED of them, each `step`-th.
    """

    def __init__(self, bundle: Bundle, classes: list[str], data: ImageDataModule) -> None:
        self._bundle = bundle
        self._order = [bundle.classes.index(name) for name in classes]
        self.step = -(-len(data.splits["test"]) // _MOST_STRESSED)
        found, stressed, labels, seen = [], [], [], 0
        for batch in data.loader("test"):
            pixels = batch.images.numpy()
            found.append(self.answer(pixels))
            stressed.append(pixels[-seen % self.step :: self.step])
            labels.append(batch.labels.numpy())
            seen += len(pixels)
        self.probabilities, self.stressed = np.concatenate(found), np.concatenate(stressed)
        self.labels = np.concatenate(labels)

    def answer(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities (B, K) of pixels (B, C, S, S)."""
        parts = [pixels[at : at + _BATCH] for at in range(0, len(pixels), _BATCH)]
        logits = np.concatenate([self._bundle.outputs(part).logits for part in parts])
        return self._bundle.probabilities(logits)[:, self._order]

    def right(self) -> np.ndarray:
        """Whether each image's class is right (N,)."""
        found: np.ndarray = self.probabilities.argmax(1) == self.labels
        return found


def compare(
    bundle: Bundle,
    active: Bundle,
    classifier: Classifier,
    data: ImageDataModule,
    typed: dict[str, Any] | None,
) -> dict[str, Any]:
    """Compare a classifier's bundle with the active version on the test split of `data`.

    `typed` are the keys of the data that were typed. Returns the figures, with the names of what is
    surely worse in `worse`. Raises UserError for bundles of other classes.
    """
    _require_same_classes(bundle, active)
    other = active.manifest.preprocessing
    theirs = data
    if _geometry(other) != _geometry(bundle.manifest.preprocessing):
        theirs = set_up_data(classifier, typed, preprocessing=Preprocessing.from_dict(other))
    new = Contender(bundle, bundle.classes, data)
    old = Contender(active, bundle.classes, theirs)
    accuracy = paired(new.right(), old.right())
    ece = _calibration(new.probabilities, old.probabilities, new.labels)
    stress = _stressed(new, old)
    is_worse = {
        "accuracy": accuracy["interval"][1] < 0,
        "calibration": ece["interval"][0] > 0,
        **{row["rendering"]: row["interval"][1] < 0 for row in stress},
    }
    return {
        "name": active.manifest.name,
        "version": active.manifest.version,
        "images": len(new.labels),
        "same_split": _same_split(data, active),
        "accuracy": accuracy,
        "ece": ece,
        "stress": stress,
        "worse": [name for name, found in is_worse.items() if found],
    }


def require_no_worse(found: Mapping[str, Any], force: bool) -> None:
    """Raise UserError for a version that is worse than the active one, unless it is forced."""
    accuracy, ece = found["accuracy"], found["ece"]
    low, high = accuracy["interval"]
    told = (
        f"accuracy {accuracy['new']:.4f} against {accuracy['active']:.4f} of "
        f"{one_line(found['name'])} {found['version']} on {found['images']} test images (95 % "
        f"interval of the difference {low:+.4f} to {high:+.4f}), ECE {ece['new']:.4f} against "
        f"{ece['active']:.4f}"
    )
    log.info("%s", told)
    if not found["worse"]:
        return
    listed = ", ".join(found["worse"])
    if force:
        log.warning("worse than the active version in %s: force=true registers it", listed)
        return
    raise UserError(
        f"worse than the active version in {listed}: {told}; expected no less than it has. Nothing "
        "was registered. Try force=true to register it all the same"
    )


def _require_same_classes(bundle: Bundle, active: Bundle) -> None:
    if sorted(bundle.classes) != sorted(active.classes):
        raise UserError(
            f"gate={one_line(active.manifest.name)} has the classes "
            f"{one_line(', '.join(active.classes))[:200]}, and the checkpoint "
            f"{one_line(', '.join(bundle.classes))[:200]}; expected the same. Try without gate="
        )


def _same_split(data: ImageDataModule, active: Bundle) -> bool | None:
    """Whether the active version was tested on these very images; None if that is unknown."""
    own, other = data.split_hashes["test"], active.manifest.split_hashes.get("test")
    if other is None:
        return None
    if own != other:
        log.warning("the active version was trained with another split: test images may flatter it")
    return own == other


def _geometry(preprocessing: Mapping[str, Any]) -> dict[str, Any]:
    """What the pixels depend on; mean and std are within the network."""
    return {key: value for key, value in preprocessing.items() if key not in ("mean", "std")}


def paired(new: np.ndarray, old: np.ndarray, level: float = 0.95) -> dict[str, Any]:
    """Two accuracies on the same images, and the interval of new - active."""
    only_new, only_old = int((new & ~old).sum()), int((old & ~new).sum())
    interval = paired_interval(only_new, only_old, len(new), level)
    return {"new": float(new.mean()), "active": float(old.mean()), "interval": interval}


def _stressed(new: Contender, old: Contender) -> list[dict[str, Any]]:
    """Accuracies on pictures shown differently, tested for all of them together (Holm 1979)."""
    right, labels = [], new.labels[:: new.step]
    for name in STRESS:
        pair = [one.answer(rendered(one.stressed, name)) for one in (new, old)]
        right.append([probabilities.argmax(1) == labels for probabilities in pair])
    p_values = [mcnemar_exact(int((a & ~b).sum()), int((b & ~a).sum())) for a, b in right]
    adjusted, levels = holm(p_values), holm_levels(p_values)
    return [
        {"rendering": name, "p": p, **paired(ours, theirs, level)}
        for name, p, (ours, theirs), level in zip(STRESS, adjusted, right, levels, strict=True)
    ]


def _calibration(new: np.ndarray, old: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Two ECEs on the same images, and the 95 % interval of new - active by resampling."""
    generator = np.random.default_rng(0)
    gaps = [_gaps(probabilities, labels) for probabilities in (new, old)]
    differences = []
    for _ in range(RESAMPLES):
        weight = np.bincount(generator.integers(0, len(labels), len(labels)), minlength=len(labels))
        differences.append(_ece(gaps[0], weight) - _ece(gaps[1], weight))
    low, high = np.quantile(differences, (0.025, 0.975))
    ones = np.ones(len(labels))
    return {
        "new": _ece(gaps[0], ones),
        "active": _ece(gaps[1], ones),
        "interval": [float(low), float(high)],
    }


def _gaps(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The bin of confidence of each image, and its confidence less 1 if it is right."""
    confidence = probabilities.max(1)
    gap = confidence - (probabilities.argmax(1) == labels)
    return bin_of(confidence, BINS, "width"), gap


def _ece(gaps: tuple[np.ndarray, np.ndarray], weight: np.ndarray) -> float:
    bins, gap = gaps
    return float(np.abs(np.bincount(bins, gap * weight, BINS)).sum() / weight.sum())
