"""How a convolutional network differs from a fully connected one: size, gap, and moved images."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from strided.data import ImageDataModule
from strided.evaluation.classifier import Classifier
from strided.evaluation.held_out import set_up_data
from strided.evaluation.outputs import predicted
from strided.pages.axis import Axis
from strided.pages.chart import COLOURS, Chart
from strided.pages.figure import Figure
from strided.pages.page import bullets, heading, table
from strided.pages.png import write_png
from strided.sweeps.error_bars import draw_repeats
from strided.sweeps.folder import SweepFolder
from strided.sweeps.grouped import Job
from strided.sweeps.page import in_grid
from strided.system.durable import write_json

TITLE = "Size, gap, and moved images"
SHIFTS = (0, 1, 2, 3, 4)  # pixels
MOST = 5000  # test images to move

RowsByModel = dict[str, list[dict[str, Any]]]  # by model: a row for each seed


def section(folder: Path, jobs: Sequence[Job]) -> str:
    """Test the (finished) jobs with all training images on moved test images; show the result."""
    if any("test/acc" not in job.results for job in jobs):
        return f"{heading(TITLE)}<p>Nothing was tested: there are no test images to move.</p>"
    found: RowsByModel = {}
    for job in jobs:
        if float(job.overrides.get("data.train_fraction", 1)) == 1:
            row = {**job.results, "moved": moved(folder / str(job.number))}
            found.setdefault(job.overrides["model"], []).append(row)
    if not found:
        return ""
    figures = SweepFolder(folder).figures
    figures.mkdir(exist_ok=True)
    figure = _figure(found)
    write_png(figure, figures / "moved.png")
    return "\n".join(
        [
            heading(TITLE),
            table(
                ["model", "parameters", "multiply-adds", "test accuracy", "training - validation"]
                + [f"moved {pixels} px" for pixels in SHIFTS[1:]],
                [_row(model, rows) for model, rows in found.items()],
            ),
            in_grid([figure]),
            bullets(reading(found)),
        ]
    )


def moved(run: Path) -> list[float]:
    """Accuracy of a run's best checkpoint on test images moved by each of SHIFTS.

    It is the mean of the four directions, over at most MOST images; pixels that come in are black.
    The result is kept in moved.json of the run.
    """
    file = run / "moved.json"
    if not file.is_file():
        classifier = Classifier.load(run)
        data = set_up_data(classifier, None)
        write_json(file, {"accuracy": [_accuracy(classifier, data, by) for by in SHIFTS]})
    accuracy: list[float] = json.loads(file.read_text())["accuracy"]
    return accuracy


def _accuracy(classifier: Classifier, data: ImageDataModule, pixels: int) -> float:
    right = count = 0
    directions = [(0, 0)] if not pixels else [(pixels, 0), (-pixels, 0), (0, pixels), (0, -pixels)]
    for batch in data.loader("test", data.spread("test", MOST)):
        for down, across in directions:
            found = predicted(classifier, shift(batch.images, down, across))
            right += int((found == batch.labels).sum())
            count += len(batch.labels)
    return right / count


def shift(images: Tensor, down: int, across: int) -> Tensor:
    """Move images (B, C, S, S) by whole pixels; pixels that come in are 0."""
    return F.pad(images, (across, -across, down, -down))  # negative: cut off


def _row(model: str, rows: Sequence[Mapping[str, Any]]) -> list[str | int]:
    return [
        model,
        int(rows[0]["parameters"]["total"]),
        int(rows[0]["macs"]),
        _spread([row["test/acc"] for row in rows]),
        f"{100 * fmean([row['diagnosis']['gap'] for row in rows]):.2f} points",
        *(_spread([row["moved"][i] for row in rows]) for i in range(1, len(SHIFTS))),
    ]


def _spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.2%}"
    return f"{fmean(values):.2%} ({min(values):.2%} to {max(values):.2%})"


def reading(found: RowsByModel) -> list[str]:
    """Say in sentences what the table shows; an order is claimed only if no seed contradicts it."""
    accuracy = {model: [row["test/acc"] for row in rows] for model, rows in found.items()}
    models = sorted(found, key=lambda model: -fmean(accuracy[model]))
    best, second = models[0], models[1] if len(models) > 1 else models[0]
    sentences = []
    if best != second:
        repeated = min(len(accuracy[best]), len(accuracy[second])) > 1
        sure = repeated and min(accuracy[best]) > max(accuracy[second])
        verb = "is ahead of" if sure else "is not shown to be ahead of"
        sentences.append(
            f"With all training images {best} {verb} {second}: {fmean(accuracy[best]):.2%} against "
            f"{fmean(accuracy[second]):.2%} of the test images, with "
            f"{found[best][0]['parameters']['total']:,} parameters against "
            f"{found[second][0]['parameters']['total']:,}, and "
            f"{found[best][0]['macs'] / 1e6:.2f} million multiply-adds an image against "
            f"{found[second][0]['macs'] / 1e6:.2f} million."
        )
    falls = {
        model: fmean([row["moved"][0] - row["moved"][-1] for row in rows])
        for model, rows in found.items()
    }
    order = sorted(falls, key=falls.__getitem__)
    sentences.append(
        f"Moved by {SHIFTS[-1]} pixels, "
        + ", ".join(f"{model} loses {100 * falls[model]:.1f} points" for model in order)
        + ". A fully connected network has a separate weight for every pixel and learns each "
        "place again; a convolution has the same filter everywhere, and pooling loses a little of "
        "the place. The last layers of a convolutional network still know it: it is not invariant."
    )
    return sentences


def _figure(found: RowsByModel) -> Figure:
    """Draw the accuracy over how far the test images were moved, a line for each model."""
    every = [value for rows in found.values() for row in rows for value in row["moved"]]
    x = Axis.over("test images moved by (pixels)", SHIFTS, whole=True)
    chart = Chart("moved images", x, Axis.over("accuracy", every, percent=True))
    for (model, rows), colour in zip(found.items(), COLOURS, strict=False):
        repeats = zip(SHIFTS, zip(*(row["moved"] for row in rows), strict=True), strict=True)
        draw_repeats(chart, list(repeats), model, colour)
    return chart.figure()
