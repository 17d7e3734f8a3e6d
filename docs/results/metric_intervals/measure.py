"""How often the intervals of a run's metrics cover the truth, beside percentiles of a bootstrap.

Simulates networks whose logits are normal, with a shift for the true class. In groups of 5: images
of a group share 90 % of their noise. The truth is the figure of 200,000 images. Each cell:
coverage, mean width. The bootstrap has 300 resamples, in fewer repeats since it is slow.

    python docs/results/metric_intervals/measure.py
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from bootstrap import intervals

from strided.evaluation.metric_intervals import metric_intervals
from strided.evaluation.metrics import classification_metrics

SHOWN = ("recall/", "f1/", "auroc/", "auprc/", "balanced_acc", "f1", "auroc", "auprc", "nll")
NOISE = np.random.default_rng(1)

Found = Mapping[str, list[float] | None]
Counts = defaultdict[str, list[float]]


def draw(
    sizes: Sequence[int], shift: float, per: int, shared: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels and groups of `per` images, which share a part of their variance."""
    logits, labels, groups, first = [], [], [], 0
    for k, size in enumerate(sizes):
        count = size // per
        own = NOISE.normal(size=(count, 1, len(sizes))) * np.sqrt(shared)
        own = own + NOISE.normal(size=(count, per, len(sizes))) * np.sqrt(1 - shared)
        own[:, :, k] += shift
        logits.append(own.reshape(-1, len(sizes)))
        labels.append(np.full(count * per, k))
        groups.append(first + np.repeat(np.arange(count), per))
        first += count
    p = np.exp(np.concatenate(logits))
    return p / p.sum(1, keepdims=True), np.concatenate(labels), np.concatenate(groups)


def note(counts: Counts, found: Found, truth: Mapping[str, float | None]) -> None:
    """Count whether each interval covers the truth; the classes' figures together."""
    for name, ends in found.items():
        if ends is not None:
            value = truth[name]
            assert value is not None
            metric, slash, _ = name.partition("/")
            counts[metric + slash].append(float(ends[0] <= value <= ends[1]))
            counts[f"width of {metric}{slash}"].append(ends[1] - ends[0])


def lines(closed: Counts, drawn: Counts) -> Iterable[str]:
    """A row of the table for each metric."""
    for name in SHOWN:
        cells = [
            f"{np.mean(counts[name]):.1%}, {np.mean(counts[f'width of {name}']):.3f}"
            if counts[name]
            else "-"
            for counts in (closed, drawn)
        ]
        words = f"{name[:-1]} of a class" if name.endswith("/") else name
        yield f"| {words} | {' | '.join(cells)} |"


def measure(
    title: str,
    sizes: Sequence[int],
    shift: float,
    repeats: int,
    bootstraps: int,
    per: int = 1,
    shared: float = 0.0,
) -> None:
    """Print the table of one kind of data."""
    classes = [str(k) for k in range(len(sizes))]
    scale = int(200_000 / sum(sizes)) + 1
    p, labels, _ = draw([size * scale for size in sizes], shift, per, shared)
    truth = classification_metrics(torch.tensor(p), torch.tensor(labels), classes)
    closed, drawn = Counts(list), Counts(list)
    for repeat in range(repeats):
        p, labels, groups = draw(sizes, shift, per, shared)
        given = (p, labels, classes, groups if per > 1 else None)
        note(closed, metric_intervals(*given), truth)
        if repeat < bootstraps:
            note(drawn, intervals(*given, resamples=300), truth)
    print(f"\n**{title}**: acc {truth['acc']:.3f}, auroc {truth['auroc']:.4f}\n")
    print("| | closed form | bootstrap |\n|---|---|---|")
    print("\n".join(lines(closed, drawn)), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    measure("225 images, classes of 25, 100 and 100", (25, 100, 100), 2.5, 1000, 300)
    measure("The same in groups of 5", (25, 100, 100), 2.5, 1000, 300, 5, 0.9)
    measure("10 classes of 36", (36,) * 10, 4, 300, 40)
    measure("30 classes of 8", (8,) * 30, 3.5, 300, 0)
    measure("5 classes of 5", (5,) * 5, 3.5, 500, 0)
