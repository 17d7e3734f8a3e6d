"""Statistics of own images, to which a service compares what it is sent: no row of an image.

Few images have no means, nor has a class of few: that of one image would be the image's features.
"""

from typing import Any

import numpy as np

from strided.data.renderings import as_picture
from strided.export.parity import Checked
from strided.serving.bundle import Bundle

LEVELS = np.arange(1, 20) / 20  # 5 to 95 %; the ends would be single images
LEAST_IMAGES = 20  # of a class, for a mean of its own; of all, for quantiles
_MOST_FEATURES = 512  # with a whole covariance; more have their largest components
_COMPONENTS = 128
_BATCH = 16

Arrays = dict[str, np.ndarray]


def reference(bundle: Bundle, images: Checked) -> Arrays:
    """Arrays by name, float32, of what a bundle gives for these images.

    Of too few images there are only the shares of the classes, and means of classes that are NaN.
    """
    features, probabilities, heat = _answers(bundle, images.pixels)
    count, classes = probabilities.shape
    predicted = probabilities.argmax(1)
    found: dict[str, Any] = {
        "images": np.array(count),
        "levels": LEVELS,
        "class_predicted": np.bincount(predicted, minlength=classes) / count,
        "class_labelled": np.bincount(images.labels, minlength=classes) / count,
        "class_feature_mean": _means_of_classes(features, images.labels, classes),
    }
    if count >= LEAST_IMAGES:
        found["feature_mean"] = features.mean(0, dtype=np.float64)
        found["class_probability"] = probabilities.mean(0)
        found |= _quantiles(images.pixels, features, probabilities) | _spread(features)
        found |= {} if heat is None else _of_heat(*heat, count)
    return {name: np.asarray(value, np.float32) for name, value in found.items()}


def _answers(
    bundle: Bundle, pixels: np.ndarray
) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray] | None]:
    """Features (N, F), probabilities (N, K), the sums of the images' heat and its square."""
    features, logits, heat = [], [], None
    for at in range(0, len(pixels), _BATCH):
        outputs = bundle.outputs(pixels[at : at + _BATCH], heat=True)
        features.append(outputs.features)
        logits.append(outputs.logits)
        if outputs.heat is not None:
            own = outputs.heat.astype(np.float64)
            before = (0.0, 0.0) if heat is None else heat
            heat = before[0] + own.sum(0), before[1] + (own**2).sum(0)
    return np.concatenate(features), bundle.probabilities(np.concatenate(logits)), heat


def _of_heat(total: np.ndarray, of_squares: np.ndarray, count: int) -> Arrays:
    """The mean at each place (K, h, w), and the deviation from it (K,) over images and places."""
    mean = total / count
    variance = (of_squares / count - mean**2).mean((1, 2))
    return {"heat_mean": mean, "heat_deviation": np.sqrt(variance.clip(0))}


def _means_of_classes(features: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """The mean features of each class (K, F); NaN for a class of too few images."""
    means = np.full((classes, features.shape[1]), np.nan)
    for label in range(classes):
        own = features[labels == label]
        if len(own) >= LEAST_IMAGES:
            means[label] = own.mean(0, dtype=np.float64)
    return means


def _quantiles(pixels: np.ndarray, features: np.ndarray, probabilities: np.ndarray) -> Arrays:
    logs = np.log(probabilities.clip(1e-30))
    grey = [np.asarray(as_picture(picture).convert("L")) for picture in pixels]
    values: dict[str, Any] = {
        "feature": features,
        "confidence": probabilities.max(1),
        "entropy": -(probabilities * logs).sum(1),
        "probability": probabilities,
        "brightness": [picture.mean() for picture in grey],
        "contrast": [picture.std() for picture in grey],
    }
    return {f"{name}_quantiles": np.quantile(of, LEVELS, axis=0) for name, of in values.items()}


def _spread(features: np.ndarray) -> Arrays:
    """The covariance (F, F); of many features its largest components (R, F), and what is left."""
    centred = features.astype(np.float64) - features.mean(0, dtype=np.float64)
    free = max(1, len(features) - 1)
    if features.shape[1] <= _MOST_FEATURES:
        return {"feature_covariance": centred.T @ centred / free}
    _, singular, rows = np.linalg.svd(centred, full_matrices=False)
    variances = singular**2 / free
    kept = min(_COMPONENTS, len(features) // 4)
    return {
        "feature_components": rows[:kept],
        "feature_component_variances": variances[:kept],
        "feature_variance": centred.var(0) * len(features) / free,
    }
