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
from strided.pages.page import bullets, picture, table
from strided.runs.folder import RunFolder
from strided.runs.gradients_csv import read_gradients
from strided.runs.metrics_csv import read_metrics
from strided.sweeps.folder import SweepFolder
from strided.sweeps.summary import Job
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
    figures = SweepFolder(folder).figures
    figures.mkdir(exist_ok=True)
    drawn = [_draw_errors(figures / "training.png", runs)]
    if trained := {
        key: folders[0]
        for key, folders in runs.items()
        if RunFolder(folders[0]).gradients.is_file()
    }:
        drawn.append(_draw_gradients(figures / "gradients.png", trained))
    start = at_start(folder, next(iter(runs.values()))[0])
    drawn.append(_draw_start(figures / "initialisation.png", start))
    pictures = "".join(map(picture, drawn))
    return "\n".join(
        [
            "<h2>Training error and gradients</h2>",
            table(
                ["network", "depth", "training error", "validation error"],
                [[kind, depth, *_errors(folders)] for (kind, depth), folders in runs.items()],
            ),
            f'<div class="figures">{pictures}</div>',
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


def _draw_errors(file: Path, runs: Runs) -> Path:
    """Draw training error over epochs: a colour for each depth, dashed without shortcuts."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    figure = Figure(figsize=(5.4, 4), layout="constrained")
    axes = figure.subplots()
    colours = {depth: f"C{i}" for i, depth in enumerate(sorted({depth for _, depth in runs}))}
    for (kind, depth), folders in sorted(runs.items()):
        curves = read_metrics(RunFolder(folders[0]).metrics)
        errors = [1 - accuracy for accuracy in curves["train/acc"]]
        style = "--" if kind == "plain" else "-"
        axes.plot(curves["epoch"], errors, style, color=colours[depth], label=f"{kind} {depth}")
    axes.set(xlabel="epoch", title="training error")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(file, dpi=150)
    return file


def _draw_gradients(file: Path, runs: dict[tuple[str, int], Path]) -> Path:
    """Draw gradient norms over layers, in the first and last epoch of the deepest networks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 4), layout="constrained")
    axes = figure.subplots()
    deepest = max(depth for _, depth in runs)
    for index, kind in enumerate(kind for kind, depth in sorted(runs) if depth == deepest):
        rows = read_gradients(RunFolder(runs[kind, deepest]).gradients)
        for epoch, style in ((rows[0]["epoch"], "--"), (rows[-1]["epoch"], "-")):
            norms = [row["norm"] for row in rows if row["epoch"] == epoch]
            axes.plot(
                _places(norms), norms, style, color=f"C{index}", label=f"{kind}, epoch {epoch}"
            )
    axes.set(
        xlabel="layer, from the image (0) to the logits (1)",
        yscale="log",
        title=f"gradient norms of {deepest} layers",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(file, dpi=150)
    return file


def _draw_start(file: Path, start: Sequence[dict[str, Any]]) -> Path:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 4), layout="constrained")
    axes = figure.subplots()
    for row in start:
        style = "--" if row["kind"] == "plain" else "-"
        colour = f"C{AT_START.index(row['depth'])}"
        label = f"{row['kind']} {row['depth']}"
        axes.plot(_places(row["norms"]), row["norms"], style, color=colour, label=label, lw=1)
    axes.set(
        xlabel="layer, from the image (0) to the logits (1)",
        yscale="log",
        title="gradient norms before training",
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(file, dpi=150)
    return file


def _places(norms: Sequence[float]) -> list[float]:
    return [index / max(1, len(norms) - 1) for index in range(len(norms))]
