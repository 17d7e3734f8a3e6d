"""The sections of a report on probabilities and prediction sets."""

import html
from collections.abc import Mapping
from typing import Any

from strided.data.reading.files import as_text
from strided.decision.gate import REASONS
from strided.pages.page import table
from strided.runs.results import Results

_NAMES = {
    "ece": "ECE, 15 bins of equal width",
    "ece_mass": "ECE, 15 bins of equally many images",
    "nll": "negative log-likelihood",
    "brier": "Brier score",
}
_IMAGES = {"validation": "validation images", "inner folds": "training images left out of a fit"}


def calibration_section(results: Results) -> str:
    """How far probabilities can be trusted, before and after calibration; nothing if unknown."""
    found = results.get("calibration")
    if not found or "measured" not in found:
        return ""
    measured: Mapping[str, Any] = found["measured"]
    before = measured.get("before")
    heads = ["error of the probabilities", *(["before"] if before else []), "after", "by chance"]
    rows = []
    for name, words in _NAMES.items():
        floor = measured["floor"].get(name)
        by_chance = f"{floor['mean']:.4f}, at most {floor['p95']:.4f}" if floor else ""
        values = [f"{errors[name]:.4f}" for errors in (before, measured["after"]) if errors]
        rows.append([words, *values, by_chance])
    if not before:
        heads[1] = ""
    note = (
        "By chance: what a perfectly calibrated network with these confidences would show on as "
        "many images, on average and in 95 of 100 cases."
    )
    parts = [f"<h3>Calibration</h3><p>{html.escape(_how(found))}</p>", table(heads, rows)]
    return "\n".join([*parts, f'<p class="note">{note}</p>'])


def _how(found: Mapping[str, Any]) -> str:
    if found["method"] == "none":  # there may have been no image to fit anything on
        return "The probabilities are those of the network: they were not calibrated."
    images = f"{found['images']:,} {_IMAGES[found['fitted_on']]}"
    if (temperature := found.get("temperature")) is not None:
        way = "too sure" if temperature > 1 else "not sure enough"
        return (
            f"The logits are divided by a temperature of {temperature:.3f}, fitted on {images}: "
            f"the network was {way} there."
        )
    return f"The probabilities are calibrated ({found['method']}), fitted on {images}."


def sets_section(results: Results) -> str:
    """What the prediction sets hold, of all images and of each class; nothing without sets."""
    found = results.get("sets")
    if not found:
        return ""
    measured = found["measured"]
    rows = [["all", *_covered(measured)]]
    rows += [[as_text(row["class"]), *_covered(row)] for row in measured["classes"]]
    said = (
        f"A set holds the classes that fit ({found['method'].upper()}, chosen on "
        f"{found['images']:,} images to hold the right one in {found['coverage']:.0%} of cases). "
        f"It has {measured['size']:.2f} classes on average: one in {measured['single']:.1%} of "
        f"cases, none in {measured['empty']:.1%}. The promise is of all images together, and of "
        "images like those: not of each class, nor of another source."
    )
    heads = ["class", "images", "right one in the set", "95 % interval"]
    return f"<h3>Prediction sets</h3><p>{html.escape(said)}</p>{table(heads, rows)}"


def gate_section(results: Results) -> str:
    """How many images were refused, and why; nothing without a gate."""
    found = results.get("gate")
    if not found:
        return ""
    measured = found["measured"]
    low, high = measured["share_ci95"]
    said = (
        f"{measured['refused']:,} of {measured['images']:,} images were refused: "
        f"{measured['share']:.1%} (95 % interval {low:.1%} to {high:.1%}), where "
        f"{found['false_alarms']:.1%} of own images may be. All figures are of the others. The "
        f"gate ({found['method']}) knows what training images are like; it does not know whether "
        "an answer is right."
    )
    rows = [[REASONS[name], f"{count:,}"] for name, count in measured["reasons"].items()]
    listed = table(["why an image was refused", "images"], rows) if rows else ""
    return f"<h3>Refused images</h3><p>{html.escape(said)}</p>{listed}"


def _covered(row: Mapping[str, Any]) -> list[str]:
    if not row["images"]:
        return ["0", "", ""]
    interval = f"{row['low']:.1%} to {row['high']:.1%}"
    return [f"{row['images']:,}", f"{row['coverage']:.1%}", interval]
