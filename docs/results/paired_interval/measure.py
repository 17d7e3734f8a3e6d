"""How often intervals of a paired difference cover it, and contradict McNemar's exact test.

Simulates two classifiers on the same images, 4,000 times a row, at 95 %. `discordant` is the share
of images that one of them alone has right, `lead` by how much of these the first is ahead. Each
cell: coverage, mean width in points, share of contradictions with the test.

    python docs/results/paired_interval/measure.py
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
from scipy.stats import beta

from strided.evaluation.intervals import mcnemar_exact, paired_interval, wilson_interval

REPEATS = 4000
ACCURACY = 0.9  # of the second classifier, about

Interval = Callable[[int, int, int, int], list[float]]  # only first, only second, both, images


def ours(first: int, second: int, _: int, images: int) -> list[float]:
    """strided's."""
    return paired_interval(first, second, images)


def conditional(first: int, second: int, _: int, images: int) -> list[float]:
    """Clopper and Pearson's, of the lead alone: the number of discordant images is a constant."""
    count = first + second
    if not count:
        return [0, 0]
    low = beta.ppf(0.025, first, second + 1) if first else 0.0
    high = beta.ppf(0.975, first + 1, second) if second else 1.0
    return [count / images * (2 * low - 1), count / images * (2 * high - 1)]


def newcombe(first: int, second: int, both: int, images: int) -> list[float]:
    """Newcombe 1998, "Improved confidence intervals for ... paired data", method 10."""
    neither = images - both - first - second
    shares = (both + first) / images, (both + second) / images
    (low_1, high_1), (low_2, high_2) = (wilson_interval(share, images) for share in shares)
    margins = (both + first) * (second + neither) * (both + second) * (first + neither)
    product = both * neither - first * second
    product = max(product - images / 2, 0) if product > 0 else product
    phi = product / math.sqrt(margins) if margins else 0.0

    def half(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))

    difference = shares[0] - shares[1]
    return [
        difference - half(shares[0] - low_1, high_2 - shares[1]),
        difference + half(high_1 - shares[0], shares[1] - low_2),
    ]


def measure(interval: Interval, counts: np.ndarray, images: int, truth: float) -> str:
    """Coverage, width and contradictions over the simulated counts (repeats, 4)."""
    rows, times = np.unique(counts, axis=0, return_counts=True)
    found = []
    for first, second, both, _ in rows.tolist():
        low, high = interval(first, second, both, images)
        apart = low > 0 or high < 0
        contradicts = apart != (mcnemar_exact(first, second) < 0.05)
        found.append((low - 1e-12 <= truth <= high + 1e-12, 100 * (high - low), contradicts))
    covered, width, contradicted = np.average(np.array(found, float), axis=0, weights=times)
    return f"{covered:.1%}, {width:.2f}, {contradicted:.1%}"


def main() -> None:
    """Print the table."""
    noise = np.random.default_rng(0)
    print("| images | discordant | lead | strided's | conditional | Newcombe's |")
    print("|---|---|---|---|---|---|")
    shares, leads = (0.01, 0.05, 0.2), (0.0, 0.4, 0.9)
    for images, discordant, lead in itertools.product((50, 359, 2000, 10_000), shares, leads):
        first = discordant * (1 + lead) / 2
        both = ACCURACY - first
        chances = [first, discordant - first, both, 1 - discordant - both]
        counts = noise.multinomial(images, chances, REPEATS)
        cells = [
            measure(interval, counts, images, discordant * lead)
            for interval in (ours, conditional, newcombe)
        ]
        print(f"| {images} | {discordant} | {lead} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
