"""Repeated measurements in a chart: their mean, and a bar from the lowest to the highest."""

from collections.abc import Sequence
from statistics import fmean

from strided.pages.chart import Chart


def draw_repeats(
    chart: Chart, repeats: Sequence[tuple[float, Sequence[float]]], name: str, colour: str
) -> None:
    """Draw a line through the means of (x, values), with a bar over the values of each x."""
    for x, values in repeats:
        if len(values) > 1:
            chart.interval(x, min(values), max(values), colour)
    chart.line([(x, fmean(values)) for x, values in repeats], name, colour, dots=True)
