"""The effect of shortcuts: training error over depth, and how far gradients reach.

He, Zhang, Ren, Sun, "Deep residual learning for image recognition", CVPR 2016, arXiv:1512.03385:
section 4.2 has the networks, figure 6 the error of plain ones, which grows with depth.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import nn

from strided.evaluation.classifier import Classifier
from strided.evaluation.held_out import set_up_data
from strided.models import build_model
from strided.pages.axis import Axis
from strided.pages.chart import COLOURS, Chart
from strided.pages.figure import Figure
from strided.pages.page import bullets, heading, table
from strided.pages.png import write_png
from strided.runs.folder import RunFolder
from strided.runs.gradients_csv import read_gradients
from strided.runs.metrics_csv import read_metrics
from strided.sweeps.folder import SweepFolder
from strided.sweeps.grouped import Job
from strided.sweeps.page import in_grid
from strided.system.durable import write_json

AT_START = (20, 56, 110, 1202)  # depths measured before any training
IMAGES = 16  # of a batch, before any training
KIND = {"true": "residual", "false": "plain"}

Runs = dict[tuple[str, int], list[Path]]  # folders by kind and depth


def section(folder: Path, jobs: Sequence[Job]) -> str:
    """Figures and words on the finished jobs, which vary model.residual and model.depth."""
    runs: Runs = {}
    for job in jobs:
        key = KIND[job.overrides["model.residual"].lower()], int(job.overrides["model.depth"])
        runs.setdefault(key, []).append(folder / str(job.number))
    drawn = {"training": _errors_chart(runs)}
    if trained := {
        key: folders[0]
        for key, folders in runs.items()
        if RunFolder(folders[0]).gradients.is_file()
    }:
        drawn["gradients"] = _gradients_chart(trained)
    start = at_start(folder, next(iter(runs.values()))[0])
    drawn["initialisation"] = _start_chart(start)
    figures = SweepFolder(folder).figures
    figures.mkdir(exist_ok=True)
    for name, figure in drawn.items():
        write_png(figure, figures / f"{name}.png")
    return "\n".join(
        [
            heading("Training error and gradients"),
            table(
                ["network", "depth", "training error", "validation error"],
                [[kind, depth, *_errors(folders)] for (kind, depth), folders in runs.items()],
            ),
            in_grid(drawn.values()),
            bullets([*reading(runs), *reading_of_start(start)]),
        ]
    )


def _errors(folders: Sequence[Path]) -> list[str]:
    return [
        ", ".join(f"{1 - last(folder, f'{split}/acc'):.1%}" for folder in folders)
        for split in ("train", "val")
    ]


def last(run: Path, metric: str) -> float:
    """The metric in a run's last epoch."""
    return read_metrics(RunFolder(run).metrics)[metric][-1]


def reading(runs: Runs) -> list[str]:
    """Say in sentences how depth changes the training error of each kind."""
    sentences = []
    for kind in KIND.values():
        depths = sorted(depth for own, depth in runs if own == kind)
        if len(depths) < 2:
            continue
        error = {d: fmean([1 - last(f, "train/acc") for f in runs[kind, d]]) for d in depths}
        change = 100 * (error[depths[-1]] - error[depths[0]])
        how = "more" if change > 0 else "less"
        sentences.append(
            f"{kind}: from {depths[0]} to {depths[-1]} layers the training error went from "
            f"{error[depths[0]]:.1%} to {error[depths[-1]]:.1%}, {abs(change):.1f} points {how} in "
            "the same number of epochs."
        )
        if kind == "plain" and change > 0:
            sentences.append(
                "A deeper plain network could do what a shallower one does, and is worse at its "
                "own training images: it is harder to train, not overfitted."
            )
    return sentences


def at_start(folder: Path, run: Path) -> list[dict[str, Any]]:
    """Gradient norms of untrained networks on one batch of a run's training images.

    Returns a row for each kind and depth of AT_START: `norms` of its convolutions from the image
    on. The rows are kept in initialisation.json of the sweep.
    """
    file = folder / "initialisation.json"
    if not file.is_file():
        write_json(file, {"networks": _measure_start(run)})
    found: list[dict[str, Any]] = json.loads(file.read_text())["networks"]
    return found


def _measure_start(run: Path) -> list[dict[str, Any]]:
    classifier = Classifier.load(run, device="cpu")
    data = set_up_data(classifier, None)
    batch = next(iter(data.loader("train", data.spread("train", IMAGES))))
    images = classifier.preprocessing.normalise(batch.images)
    found = []
    for depth in AT_START:
        for residual, kind in (("false", "plain"), ("true", "residual")):
            torch.manual_seed(0)
            node = {**classifier.task.hparams["model"], "depth": depth}
            node["residual"] = residual == "true"
            net = build_model(
                node,
                num_classes=len(data.classes),
                in_channels=data.channels,
                image_size=classifier.preprocessing.image_size,
            )
            net.double()  # float32 overflows in a plain network of 1,202 layers
            nn.functional.cross_entropy(net(images.double()), batch.labels).backward()
            norms = [
                module.weight.grad.norm().item()
                for module in net.modules()
                if isinstance(module, nn.Conv2d) and module.weight.grad is not None
            ]
            found.append({"kind": kind, "depth": depth, "norms": norms})
    return found


def reading_of_start(start: Sequence[dict[str, Any]]) -> list[str]:
    """Compare the gradients of the first and last layers of the deepest networks, in a sentence."""
    deepest = max(row["depth"] for row in start)
    ratios = {row["kind"]: first_to_last(row["norms"]) for row in start if row["depth"] == deepest}
    shown = ", ".join(f"{ratio:.2g} ({kind})" for kind, ratio in ratios.items())
    return [
        f"Before training, with {deepest:,} layers, the gradient of the first tenth of the "
        f"convolutions is so many times that of the last tenth: {shown}. Far from 1, no learning "
        "rate suits all layers at once. Batch normalisation is in both kinds."
    ]


def first_to_last(norms: Sequence[float]) -> float:
    """The mean of the first tenth of the layers divided by the mean of the last tenth."""
    tenth = max(1, len(norms) // 10)
    end = fmean(norms[-tenth:])
    return fmean(norms[:tenth]) / end if end else math.inf


def _errors_chart(runs: Runs) -> Figure:
    """Training error over epochs: a colour for each depth, dashed without shortcuts."""
    colours = dict(zip(sorted({depth for _, depth in runs}), COLOURS, strict=False))
    curves = {key: read_metrics(RunFolder(own[0]).metrics) for key, own in sorted(runs.items())}
    errors = {key: [1 - a for a in found["train/acc"]] for key, found in curves.items()}
    epochs = [epoch for found in curves.values() for epoch in found["epoch"]]
    y = Axis.over("training error", [e for own in errors.values() for e in own], percent=True)
    chart = Chart("training error", Axis.over("epoch", epochs, whole=True), y)
    for (kind, depth), own in errors.items():
        points = list(zip(curves[kind, depth]["epoch"], own, strict=True))
        chart.line(points, f"{kind} {depth}", colours[depth], dashed=kind == "plain")
    return chart.figure()


def _gradients_chart(runs: dict[tuple[str, int], Path]) -> Figure:
    """Gradient norms over layers, in the first and last epoch of the deepest networks."""
    deepest = max(depth for _, depth in runs)
    kinds, lines = [kind for kind, depth in sorted(runs) if depth == deepest], []
    for colour, kind in zip(COLOURS, kinds, strict=False):
        rows = read_gradients(RunFolder(runs[kind, deepest]).gradients)
        for epoch, dashed in ((rows[0]["epoch"], True), (rows[-1]["epoch"], False)):
            norms = [row["norm"] for row in rows if row["epoch"] == epoch]
            lines.append((f"{kind}, epoch {epoch}", colour, dashed, norms))
    return _over_layers(f"gradient norms of {deepest} layers", lines)


def _start_chart(start: Sequence[dict[str, Any]]) -> Figure:
    """Gradient norms of untrained networks: a colour for each depth, dashed without shortcuts."""
    return _over_layers(
        "gradient norms before training",
        [
            (
                f"{row['kind']} {row['depth']}",
                COLOURS[AT_START.index(row["depth"])],
                row["kind"] == "plain",
                row["norms"],
            )
            for row in start
        ],
    )


def _over_layers(title: str, lines: Sequence[tuple[str, str, bool, Sequence[float]]]) -> Figure:
    """A line of norms from the first layer to the last for each (name, colour, dashed, norms)."""
    every = [norm for *_, norms in lines for norm in norms]
    x = Axis("layer, from the image (0) to the logits (1)", 0, 1)
    chart = Chart(title, x, Axis.over("norm", every, log=True))
    for name, colour, dashed, norms in lines:
        points = [(x, norm) for x, norm in zip(_places(norms), norms, strict=True) if norm > 0]
        chart.line(points, name, colour, dashed=dashed)
    return chart.figure()


def _places(norms: Sequence[float]) -> list[float]:
    return [index / max(1, len(norms) - 1) for index in range(len(norms))]
