"""Repeated measurements in a figure: their mean, and a bar from the lowest to the highest."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any


def draw_means(
    axes: Any, places: Sequence[float], repeats: Sequence[Sequence[float]], label: str
) -> None:
    """Draw a line into matplotlib's `axes`, with the values of `repeats` at each of `places`."""
    means = [fmean(values) for values in repeats]
    below = [mean - min(values) for mean, values in zip(means, repeats, strict=True)]
    above = [max(values) - mean for mean, values in zip(means, repeats, strict=True)]
    axes.errorbar(places, means, [below, above], marker="o", capsize=3, label=label)
