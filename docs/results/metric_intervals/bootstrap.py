"""95 % percentile intervals of every metric, by drawing images or whole groups of them again.

The groups (patients) are drawn with replacement, each with all of its images: an image of a patient
whose other images are known tells less than one of a new patient (Davison and Hinkley 1997,
"Bootstrap Methods and their Application", section 3.8).
"""

from collections.abc import Iterator, Sequence

import numpy as np

RESAMPLES = 2_000  # enough for percentiles (Efron and Tibshirani 1993, section 13.3)
_AT_ONCE = 4_000_000  # weights in memory

Values = dict[str, np.ndarray]


def intervals(
    probabilities: np.ndarray,
    labels: np.ndarray,
    classes: Sequence[str],
    groups: np.ndarray | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, list[float] | None]:
    """The two ends of an interval of each metric, by its name as in `classification_metrics`.

    probabilities are (N, K), labels (N,) are places in `classes`, groups (N,) are equal for images
    that belong together. None for a metric that fewer than half of the resamples have, because they
    lack the class. There is none of `ece`: drawing images again raises it. A single group has no
    interval at all: each resample would be the group itself.
    """
    generator = np.random.default_rng(seed)
    groups = np.arange(len(labels)) if groups is None else groups
    _, group_of = np.unique(groups, return_inverse=True)
    if not group_of.any():
        return {}
    found: dict[str, list[np.ndarray]] = {}
    for weights in _drawn(group_of, resamples, generator):
        for name, values in weighted(probabilities, labels, weights, classes).items():
            found.setdefault(name, []).append(values)
    return {name: _percentiles(np.concatenate(values)) for name, values in found.items()}


def _drawn(
    group_of: np.ndarray, resamples: int, generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield weights (R, N): how often each image is in each of R resamples of the groups."""
    count = int(group_of.max()) + 1
    rows = max(1, _AT_ONCE // len(group_of))
    for at in range(0, resamples, rows):
        drawn = [
            np.bincount(generator.integers(0, count, count), minlength=count)
            for _ in range(min(rows, resamples - at))
        ]
        yield np.stack(drawn)[:, group_of].astype(float)


def _percentiles(values: np.ndarray) -> list[float] | None:
    known = values[~np.isnan(values)]
    if 2 * len(known) < len(values):
        return None
    low, high = np.quantile(known, (0.025, 0.975))
    return [float(low), float(high)]


def weighted(
    probabilities: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    classes: Sequence[str],
) -> Values:
    """Metrics (R,) of images (N) that count as often as `weights` (R, N) say; NaN: undefined.

    With weights of 1 they are those of `classification_metrics`.
    """
    num_classes = len(classes)
    total = weights.sum(1)
    places = np.arange(len(labels))
    of_label = probabilities[places, labels].clip(1e-12)
    distance = np.square(probabilities - np.eye(num_classes)[labels]).sum(1) / 2
    values: Values = {
        "acc": weights @ (probabilities.argmax(1) == labels) / total,
        "nll": weights @ -np.log(of_label) / total,
        "brier": weights @ distance / total,
    }
    if num_classes > 5:
        top5 = np.argpartition(-probabilities, 4, axis=1)[:, :5]
        values["acc_top5"] = weights @ (top5 == labels[:, None]).any(1) / total
    values |= _selective(probabilities, labels, weights)
    each = _per_class(probabilities, labels, weights)
    for name, own in each.items():
        values[name] = _mean_of_known(own)
        values |= {f"{name}/{label}": own[:, k] for k, label in enumerate(classes)}
    values["balanced_acc"] = values["recall"]
    return values


def _selective(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Values:
    """AURC (R,) and the accuracy of the surest 80 %, equal confidences as one threshold."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    order = np.argsort(-confidence, kind="stable")
    last = np.flatnonzero(np.append(np.diff(confidence[order]), -1))
    own = weights[:, order]
    decided = np.cumsum(own, axis=1)[:, last]
    errors = np.cumsum(own * ~right[order], axis=1)[:, last]
    total = decided[:, -1]
    most = np.round(0.8 * total).clip(1)
    missed = [
        np.interp(number, [0, *counts], [0, *wrong])
        for number, counts, wrong in zip(most, decided, errors, strict=True)
    ]
    risk = errors / decided.clip(1e-12)
    return {
        "aurc": (np.diff(decided / total[:, None], axis=1, prepend=0) * risk).sum(1),
        "acc_at_80": 1 - np.array(missed) / most,
    }


def _mean_of_known(values: np.ndarray) -> np.ndarray:
    """The mean over classes (R, K) without those that are NaN; NaN if all are."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = np.where(known, values, 0).sum(1) / known.sum(1)
    return mean


def _per_class(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> Values:
    """Metrics (R, K) of each class against the rest; NaN for a class without images."""
    num_classes = probabilities.shape[1]
    predicted = probabilities.argmax(1)
    total = weights.sum(1)[:, None]
    support, named, hits = (
        np.stack([np.bincount(where, own, num_classes) for own in counted])
        for where, counted in (
            (labels, weights),
            (predicted, weights),
            (labels, weights * (predicted == labels)),
        )
    )
    present = np.where(support > 0, 1.0, np.nan)
    apart = np.where((support > 0) & (support < total), 1.0, np.nan)
    misses = support - hits
    by_image = np.ascontiguousarray(weights.T)
    ranking = [
        _ranking(probabilities[:, k], labels == k, by_image) * apart[:, k]
        for k in range(num_classes)
    ]
    auroc, auprc = np.stack(ranking, axis=2)
    return {
        "precision": hits / named.clip(1e-12) * present,
        "recall": hits / support.clip(1e-12) * present,
        "f1": 2 * hits / (support + named).clip(1e-12) * present,
        "specificity": (1 - (named - hits) / (total - support).clip(1e-12)) * apart,
        "npv": (total - named - misses) / (total - named).clip(1e-12) * apart,
        "auroc": auroc,
        "auprc": auprc,
    }


def _ranking(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC and average precision (2, R) of scores (N,); weights are (N, R). NaN without positives.

    Equal scores are one threshold. Only those of positives count (there are few of a class among
    many), so the others are added up between them: in bin 2k + 1 those equal to the k-th level, in
    bin 2k those below it and above the one before.
    """
    levels, own = np.unique(scores[positive], return_inverse=True)
    if not len(levels):
        return np.full((2, weights.shape[1]), np.nan)
    place = np.searchsorted(levels, scores)
    bins = 2 * place + (levels[np.minimum(place, len(levels) - 1)] == scores)
    hits = _sums(weights, np.flatnonzero(positive), own, len(levels))
    others = _sums(weights, np.flatnonzero(~positive), bins[~positive], 2 * len(levels) + 1)
    alarms = others[::-1].cumsum(0)[::-1]  # at this bin or above
    found, above = hits[::-1].cumsum(0)[::-1], alarms[2::2]
    recall = hits / found[0].clip(1e-12)  # what each level adds to it
    fall_out = (alarms[1::2] + above) / 2 / alarms[0].clip(1e-12)
    precision = found / (found + alarms[1::2]).clip(1e-12)
    return np.stack([(recall * (1 - fall_out)).sum(0), (recall * precision).sum(0)])


def _sums(weights: np.ndarray, chosen: np.ndarray, bins: np.ndarray, count: int) -> np.ndarray:
    """Add the rows (R,) of the chosen images up by their bin: (count, R)."""
    from scipy.sparse import csr_array

    shape = count, len(weights)
    added: np.ndarray = csr_array((np.ones(len(chosen)), (bins, chosen)), shape) @ weights
    return added
