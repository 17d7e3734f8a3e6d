"""The explain verb: what a network looks at, in figures and on a page."""

import logging
from pathlib import Path
from typing import Any

from strided.config.keys import Config
from strided.config.unused import refuse_typed
from strided.errors import UserError
from strided.evaluation.imagenet import chosen_classifier
from strided.explain.attribution import COMPLETE, STEPS, occlusion_window
from strided.explain.document import render
from strided.explain.figures import Explained, draw_sheet
from strided.explain.filters import draw_filters
from strided.explain.heatmaps import CAMS
from strided.explain.image import FigureSettings, explain_image
from strided.explain.inputs import sources
from strided.explain.subject import Subject, choose, layers_of, list_layers
from strided.runs.ending import say_ending, words_of
from strided.runs.folder import RunFolder
from strided.runs.results import Results
from strided.system.durable import write_text
from strided.system.signals import Interruption

log = logging.getLogger(__name__)


def explain(config: Config, folder: Path, results: Results, _: Interruption) -> None:
    """Explain the images of `input`: figures/, explain.html, results.json. Raises UserError."""
    check_explain(config)
    classifier = chosen_classifier(config)
    if config["layer"] == "?":
        layers = layers_of(classifier)
        list_layers(classifier.task.model, layers)
        results["layers"] = {name: str(layer) for name, layer in layers.items()}
        return
    found, total = sources(config["input"], config["max_images"])
    subject = choose(classifier, config)
    results.update(_facts(subject, config))
    results.update({"images": [], "images_found": total})
    if total > len(found):
        log.warning("the first %d of %d images; max_images= for more", len(found), total)
    settings = FigureSettings(folder, config["maps"], config["batch_size"])
    draw_network(subject, settings, results)
    rows: list[Explained] = []
    for source in found:
        with classifier.as_in_training():
            entry, own = explain_image(subject, source, settings)
        results["images"].append(entry)
        rows += own
    _require_some(rows, results["images"], config["input"])
    sheet = draw_sheet(rows, RunFolder(folder).figures / "sheet.png")
    results["figures"]["sheet"] = settings.relative(sheet)
    page = folder / "explain.html"
    write_text(page, render(config, results, folder, rows))
    number = sum("error" not in entry for entry in results["images"])
    say_ending(
        f"{number} image{'s' if number > 1 else ''} explained",
        report=page,
        then=["explain", *words_of(results, "checkpoint", "model"), "layer=?"],
    )


def check_explain(config: Config) -> None:
    """Raise UserError for a config that cannot be drawn, before anything is loaded."""
    for key in ("max_images", "maps", "batch_size"):
        if config[key] < 1:
            raise UserError(f"{key}={config[key]}; expected 1 or more. Try {key}=16")
    if config["input"] is None and config["layer"] != "?":
        raise UserError(
            "input has no value; expected a file, a folder, a glob or an http(s) address. "
            "Try input=photo.jpg"
        )
    methods = config["methods"]
    if config["layer"] == "?":
        drawn = "max_images target methods maps cam_layer sanity seed batch_size"
        refuse_typed(drawn, "layer=? lists the layers and draws nothing", "layer=<one of them>")
    if not set(methods) & set(CAMS):
        refuse_typed("cam_layer", "no method is a class activation map", "methods=[grad_cam]")
    if not config["sanity"]:
        refuse_typed("seed", "sanity=false randomises no weights", "sanity=true")
    if not methods or len(set(methods)) < len(methods):
        raise UserError(
            f"methods=[{','.join(methods)}]; expected one or more, each once. "
            "Try methods=[grad_cam,occlusion]"
        )


def draw_network(subject: Subject, settings: FigureSettings, results: Results) -> None:
    """Draw the filters, which are the same for every image."""
    folder = RunFolder(settings.run_folder).figures
    folder.mkdir()
    drawn = draw_filters(subject.filters, folder) if subject.filters else []
    results["figures"] = {"filters": [settings.relative(file) for file in drawn]}


def _facts(subject: Subject, config: Config) -> Results:
    """The decisions, for results.json."""
    size = subject.classifier.preprocessing.image_size
    patch, stride = occlusion_window(size)
    return {
        "classes": subject.classifier.classes,
        "layers": {
            "filters": subject.filters.name if subject.filters else None,
            "maps": subject.maps,
            "cam": subject.cam,
        },
        "methods": subject.methods,
        "refused": subject.refused,
        "parameters_used": {
            "image_size": size,
            "baseline": "mean colour",
            "integrated_gradients_steps": list(STEPS),
            "completeness": COMPLETE,
            "occlusion_patch": patch,
            "occlusion_stride": stride,
            "sanity": config["sanity"],
            "seed": config["seed"],
        },
    }


def _require_some(rows: list[Explained], entries: list[dict[str, Any]], given: str) -> None:
    if not rows:
        raise UserError(
            f"none of the {len(entries)} images of input={given} could be read (the first: "
            f"{entries[0]['error']}); expected at least one. Try input=<a picture that opens "
            "elsewhere>"
        )
