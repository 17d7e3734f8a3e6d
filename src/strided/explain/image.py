"""Explain one image: prediction, feature maps, heatmaps, and what depends on the weights."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from strided.data.reading.decoding import ImageError
from strided.errors import UserError
from strided.explain.figures import Explained, draw_heatmap
from strided.explain.heatmaps import CAMS, METHODS, UNITS, Heatmap, heatmaps
from strided.explain.inputs import Source, pixels_of, safe_names
from strided.explain.maps import draw_maps, feature_maps
from strided.explain.sanity import DEPENDS, hardly_depends, rank_correlation
from strided.explain.subject import Subject
from strided.runs.folder import RunFolder

log = logging.getLogger(__name__)

NUM_SHOWN = 5  # classes listed, the most probable first


@dataclass(frozen=True)
class FigureSettings:
    """The folder of a run's figures and the settings to draw them with."""

    run_folder: Path
    num_maps: int
    batch_size: int

    def relative(self, file: Path) -> str:
        """The name of a figure in results.json."""
        return file.relative_to(self.run_folder).as_posix()


def explain_image(
    subject: Subject, source: Source, settings: FigureSettings
) -> tuple[dict[str, Any], list[Explained]]:
    """Draw all figures of one image; return its entry of results.json and its rows of the sheet.

    The entry of an unreadable image holds the reason.
    """
    classifier = subject.classifier
    try:
        pixels = pixels_of(source, classifier.preprocessing)
    except ImageError as error:
        log.warning("%s: %s", source.path, error)
        return {"path": source.path, "error": str(error)}, []
    given = torch.from_numpy(np.stack([pixels]))  # a copy: PIL's pixels are read-only
    image = classifier.task.as_input(
        classifier.preprocessing.normalise(given.to(classifier.device))
    )
    logits, decided = classifier.answers(given)
    if not logits.isfinite().all():
        raise UserError(
            f"the network's logits of {source.path} are no numbers; expected trained weights "
            "without NaN. Try another checkpoint"
        )
    probabilities = decided.probabilities[0].tolist()
    folder = RunFolder(settings.run_folder).figures / source.name
    folder.mkdir()
    entry = _prediction(source, probabilities, classifier.classes)
    refused = ""
    if why := decided.refusal(0):  # the heatmaps may show what the network took it for
        entry["refused"], refused = why, f", but the gate refuses it ({why})"
    log.info("%s: %s (%.3f)%s", source.path, entry["predicted"], entry["probability"], refused)
    if subject.maps:
        maps = feature_maps(subject.net, subject.maps, image)[0]
        file = draw_maps(maps, settings.num_maps, subject.maps, source.path, folder / "maps.png")
        entry["maps"] = settings.relative(file)
    rows = class_heatmaps(subject, source, pixels, image, probabilities, settings.batch_size)
    entry["explanations"] = _draw_explanations(subject, rows, folder, settings)
    return entry, [row for row, _ in rows]


def _prediction(source: Source, probabilities: list[float], classes: list[str]) -> dict[str, Any]:
    ranked = sorted(zip(probabilities, classes, strict=True), key=lambda pair: -pair[0])
    return {
        "path": source.path,
        "predicted": ranked[0][1],
        "probability": ranked[0][0],
        "top5": {name: probability for probability, name in ranked[:NUM_SHOWN]},
        "maps": None,
        "explanations": [],
    }


def class_heatmaps(
    subject: Subject,
    source: Source,
    pixels: np.ndarray,
    image: Tensor,
    probabilities: list[float],
    batch_size: int,
) -> list[tuple[Explained, dict[str, Heatmap]]]:
    """The image's heatmaps for each class; beside them, the random network's by method, if any.

    pixels: uint8 (C, S, S) as the network saw them; image: the same, normalised, (1, C, S, S).
    """
    classes = subject.classifier.classes
    best = max(range(len(classes)), key=probabilities.__getitem__)
    targets = subject.targets or [best]

    def heatmaps_of(net: nn.Module) -> list[dict[str, Heatmap]]:
        found = []
        for at in range(0, len(targets), batch_size):
            indices = torch.tensor(targets[at : at + batch_size])
            images = image.expand(len(indices), -1, -1, -1)
            found += heatmaps(net, subject.methods, subject.cam, images, indices, batch_size)
        return found

    found = heatmaps_of(subject.net)
    random = heatmaps_of(subject.random) if subject.random else [{} for _ in targets]
    picture = np.broadcast_to(pixels, (3, *pixels.shape[1:])).transpose(1, 2, 0)
    return [
        (
            Explained(
                source.path,
                np.ascontiguousarray(picture),
                classes[best],
                probabilities[best],
                classes[target],
                probabilities[target],
                own,
            ),
            random_heatmaps,
        )
        for target, own, random_heatmaps in zip(targets, found, random, strict=True)
    ]


def _draw_explanations(
    subject: Subject,
    rows: list[tuple[Explained, dict[str, Heatmap]]],
    folder: Path,
    settings: FigureSettings,
) -> list[dict[str, Any]]:
    """Draw the heatmaps of one image; return their entries of results.json, by class."""
    found = []
    for (row, random), name in zip(rows, safe_names(r.target for r, _ in rows), strict=True):
        entries: dict[str, Any] = {}
        for method, heat in row.heatmaps.items():
            of = f" of {subject.cam}" if method in CAMS else ""
            file = draw_heatmap(row, method, of, folder / f"{method}-{name}.png")
            correlation = None
            if method in random:
                correlation = rank_correlation(heat.values, random[method].values)
            entries[method] = {
                "figure": settings.relative(file),
                "largest": float(heat.values.max()),
                "smallest": float(heat.values.min()),
                "unit": UNITS[method],
                "completeness_error": heat.completeness_error,
                "rank_correlation": correlation,
                "hardly_depends": hardly_depends(correlation),
            }
        _warn_of_random(row, entries)
        found.append({"target": row.target, "probability": row.probability, "heatmaps": entries})
    return found


def _warn_of_random(row: Explained, entries: dict[str, Any]) -> None:
    """Warn of heatmaps that do not explain this network."""
    hardly = [
        f"{METHODS[method]} ({entry['rank_correlation']:.2f})"
        for method, entry in entries.items()
        if entry["hardly_depends"]
    ]
    if hardly:
        log.warning(
            "%s, %s: hardly depends on what was learnt (rank correlation with random weights above "
            "%s in absolute value): %s",
            row.path,
            row.target,
            DEPENDS,
            ", ".join(hardly),
        )
