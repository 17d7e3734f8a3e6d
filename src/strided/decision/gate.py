"""The gate: is this such an image at all? If not, it gets no answer."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from strided.decision.input_gate import LEAST_SPREAD, groups, looks, num_looks
from strided.decision.novelty import Novelty
from strided.decision.triage import SEPARATOR
from strided.system.plain_data import is_number

REASONS = {
    "unusual_features": "the network's features of it are far from those of the training images",
    "unusual_exposure": "its grey levels are unlike theirs: brighter, darker, or other tones",
    "unusual_contrast": "its contrast is unlike theirs",
    "unusual_sharpness": "it has more or less detail than they have: noise, blur, a tiny picture",
    "unusual_layout": "it is bright and dark in other places than they are",
    "unusual_colour": "its colours are unlike theirs",
    "unusual_picture": "its plain measures are unlike theirs together, though each alone is not",
}
_STANDS_OUT = 3.0  # standard deviations
_LONGEST_NAME = 200  # of a layer, in a file that nobody has checked


@dataclass(frozen=True)
class Images:
    """N images: `features` (N, F) that the last linear layer is given, and `looks` (N, M)."""

    features: np.ndarray
    looks: np.ndarray

    def at(self, places: np.ndarray) -> Self:
        """Those at indices, or where a mask (N,) is true."""
        return type(self)(self.features[places], self.looks[places])


@dataclass(frozen=True)
class Gated:
    """What the gate says of N images.

    `ood` (N,): how far out of the distribution an image is. Above 1 it is refused, and `reasons`
    has one or more of REASONS, joined by |; they are "" for an image of the network's kind.
    """

    ood: np.ndarray
    reasons: list[str]


@dataclass(frozen=True)
class Gate:
    """Refuses an image whose features, or whose looks, are further off than own images' are.

    `features` and `looks` are distances, `limits` the largest that are let through. These were
    chosen on `images` that the distances were not fitted on: a new image of the same kind is
    refused with a probability of about `false_alarms`, as in split conformal prediction (Vovk et
    al. 2005; not exactly, as two limits are chosen on the same images). With `out_of_fold` they
    were images of training that were left out in turn.
    `layer` names the network's last linear layer.
    """

    features: Novelty
    looks: Novelty
    limits: tuple[float, float]
    layer: str
    false_alarms: float
    images: int
    out_of_fold: bool = False

    @classmethod
    def fit(
        cls,
        method: str,
        own: Images,
        labels: np.ndarray,
        held_out: Images | np.ndarray,
        layer: str,
        false_alarms: float,
    ) -> Self:
        """Fit on training images with their labels, and choose limits on `held_out` ones.

        `held_out` is the fold (N,) of each training image if there are no others: each fold is then
        measured by a fit on the rest. Raises ValueError for too few, `least_images` says how many.
        """

        def parts(images: Images, labels: np.ndarray) -> tuple[Novelty, Novelty]:
            of_looks = Novelty.fit("mahalanobis", images.looks, 0 * labels, LEAST_SPREAD)
            return Novelty.fit(method, _unit(images.features), labels), of_looks

        if isinstance(held_out, np.ndarray):
            scores = _out_of_fold(parts, own, labels, held_out)
        else:
            scores = _scores(parts(own, labels), held_out)
        if len(scores) < least_images(false_alarms):
            raise ValueError(f"{len(scores)} images are too few for a share of {false_alarms}")
        limits = _limits(scores, false_alarms)
        out_of_fold = isinstance(held_out, np.ndarray)
        return cls(*parts(own, labels), limits, layer, false_alarms, len(scores), out_of_fold)

    def __call__(self, features: np.ndarray, pixels: np.ndarray) -> Gated:
        """Judge images by features (N, F) and the network's uint8 pixels (N, C, S, S)."""
        return self.of(Images(features, looks(pixels)))

    def of(self, images: Images) -> Gated:
        """Judge images that are measured already."""
        ratios = _scores((self.features, self.looks), images) / np.array(self.limits)
        reasons = [""] * len(ratios)
        for place in np.flatnonzero((ratios > 1).any(1)).tolist():
            found = ["unusual_features"] if ratios[place, 0] > 1 else []
            if ratios[place, 1] > 1:
                found.append(self._why(images.looks[place]))
            reasons[place] = SEPARATOR.join(found)
        return Gated(ratios.max(1, initial=0), reasons)

    def _why(self, looks: np.ndarray) -> str:
        """Return what stands out most in the looks (M,) of an image."""
        apart = np.abs(looks - self.looks.mean) / self.looks.scale
        most = int(apart.argmax())
        return groups(len(looks))[most] if apart[most] > _STANDS_OUT else "unusual_picture"

    def require_sizes(self, features: int, channels: int) -> None:
        """Raise ValueError unless it judges so many features, and pictures of these channels."""
        if len(self.features.mean) != features:
            raise ValueError("its gate is of another network")
        if len(self.looks.mean) != num_looks(channels):
            raise ValueError("its gate is of pictures with other channels")

    def to_dict(self) -> dict[str, Any]:
        """Return its settings, which JSON can hold; `arrays` has the rest."""
        return {
            "method": self.features.method,
            "limits": list(self.limits),
            "layer": self.layer,
            "false_alarms": self.false_alarms,
            "images": self.images,
            "out_of_fold": self.out_of_fold,
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what it was fitted to, in float32, by flat names."""
        parts = {"features": self.features, "looks": self.looks}
        return {
            f"{part}.{name}": values
            for part, novelty in parts.items()
            for name, values in novelty.arrays().items()
        }

    @classmethod
    def of_arrays(cls, settings: Any, arrays: Mapping[str, Any]) -> Self:
        """Take over settings and arrays, which may be a stranger's. Raises ValueError."""
        if not isinstance(settings, dict):
            raise ValueError("its gate is no mapping")
        limits, layer, images = (settings.get(key) for key in ("limits", "layer", "images"))
        if not isinstance(limits, list) or len(limits) != 2 or not all(map(_is_positive, limits)):
            raise ValueError("the limits of its gate are no distances")
        if not isinstance(layer, str) or len(layer) > _LONGEST_NAME:
            raise ValueError("its gate names no layer")
        if not isinstance(images, int) or isinstance(images, bool) or not 0 < images < 1 << 63:
            raise ValueError("its gate was fitted on no number of images")
        share = settings.get("false_alarms")
        if not is_number(share) or not 0 < share < 1:
            raise ValueError("the false alarms of its gate are no share")
        return cls(
            Novelty.of_arrays(str(settings.get("method")), _below(arrays, "features")),
            Novelty.of_arrays("mahalanobis", _below(arrays, "looks")),
            (float(limits[0]), float(limits[1])),
            layer,
            float(share),
            int(images),
            settings.get("out_of_fold") is True,
        )


def least_images(false_alarms: float) -> int:
    """Return how many held-out images it takes: fewer could not show so rare a thing."""
    return math.ceil(1 / false_alarms - 1e-9) - 1


def _scores(parts: tuple[Novelty, Novelty], images: Images) -> np.ndarray:
    """Return both distances (N, 2)."""
    own, of_looks = parts
    return np.stack([own.scores(_unit(images.features)), of_looks.scores(images.looks)], axis=1)


def _unit(features: np.ndarray) -> np.ndarray:
    """Bring features to length 1, which tells strangers better (Mueller & Hein 2025,
    "Mahalanobis++").

    The length says how much is in a picture, and varies widely among own ones.
    """
    lengths = np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    unit: np.ndarray = features / np.maximum(lengths, 1e-12)
    return unit


def _out_of_fold(
    fit: Callable[[Images, np.ndarray], tuple[Novelty, Novelty]],
    own: Images,
    labels: np.ndarray,
    fold_of: np.ndarray,
) -> np.ndarray:
    scores = np.empty((len(labels), 2))
    for fold in np.unique(fold_of).tolist():
        out = fold_of == fold
        scores[out] = _scores(fit(own.at(~out), labels[~out]), own.at(out))
    return scores


def _limits(scores: np.ndarray, false_alarms: float) -> tuple[float, float]:
    """Choose both limits (of distances (n, 2)) so that together they refuse at most that share.

    First each is to refuse half of it; as some images are refused by both, the two are then drawn
    in by one factor.
    """
    each = np.array([_quantile(column, false_alarms / 2) for column in scores.T])
    each = np.maximum(each, 1e-9)
    factor = _quantile((scores / each).max(1), false_alarms)
    return float(each[0] * factor), float(each[1] * factor)


def _quantile(values: np.ndarray, share: float) -> float:
    """Return what a new value exceeds with a probability of at most `share`; else the largest."""
    place = math.ceil((len(values) + 1) * (1 - share) - 1e-9)
    return float(np.sort(values)[min(place, len(values)) - 1])


def _is_positive(value: Any) -> bool:
    return is_number(value) and value > 0


def _below(arrays: Mapping[str, Any], part: str) -> dict[str, Any]:
    start = f"{part}."
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}
