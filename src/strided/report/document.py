"""report.html: a run in one file that opens without a network, and its figures as PNG."""

import html
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from strided.config.keys import Config
from strided.evaluation.examples import Example
from strided.evaluation.metrics import class_table
from strided.pages.page import bullets, page, photo, picture, table
from strided.report.advice import is_augmented
from strided.report.card import card_section
from strided.report.contents import Contents
from strided.report.curves import draw_curves, draw_rates
from strided.report.decisions import calibration_section, gate_section, sets_section
from strided.report.diagnosis import Diagnosis
from strided.report.gallery import draw_examples, draw_samples
from strided.report.key_figures import key_figures
from strided.report.outcome import MOST_CLASSES, draw_confusion, draw_reliability, most_confused
from strided.report.ranking import against_the_rest, draw_ranking
from strided.report.shortcuts import section, warning
from strided.report.triage import draw_risk, triage_section
from strided.runs.folder import RunFolder
from strided.runs.metrics_csv import read_metrics
from strided.runs.results import Git, Measured, Results, by_name, measured
from strided.system.durable import write_text

NOT_FACTS = (
    *("confusion", "val_confusion", "lr_finder", "diagnosis", "data_card", "shortcuts"),
    *("calibration", "sets", "gate", "selective", "triage"),
)


def write_report(
    folder: Path, config: Config, results: Results, contents: Contents | None = None
) -> None:
    """Write figures/*.png and report.html from metrics.csv, results and contents."""
    contents = contents or Contents()
    figures = RunFolder(folder).figures
    figures.mkdir(exist_ok=True)
    for old in figures.glob("*.png"):  # of an earlier session
        old.unlink()
    write_text(RunFolder(folder).report, render(folder, config, results, contents))


def render(folder: Path, config: Config, results: Results, contents: Contents) -> str:
    """Draw the figures, and return the page."""
    figures = RunFolder(folder).figures
    sections = [
        f'<p class="headline">{headline(results)}</p>',
        key_figures(results),
        _diagnosis(contents.diagnosis),
        _curves(folder, config, results),
        _measured(figures, results, contents),
        section(results.get("shortcuts")),
        _examples(figures, results, contents),
        _data(figures, contents),
        card_section(config, results),
        _repeat(config, results),
    ]
    return page(str(config["name"]), "\n".join(filter(None, sections)))


def headline(results: Results) -> str:
    """Return test accuracy with its interval, or that nothing was tested."""
    found = measured(results)
    if found is None:
        return "Nothing was tested."
    start = "Test" if found.split == "test" else "Nothing was tested. Validation"
    told = warning(results.get("shortcuts"))
    return f"{start} accuracy {_accuracy(results, found.split)}.{_overlap(found)}{told}"


def _accuracy(metrics: Mapping[str, Any], split: str) -> str:
    low, high = metrics[f"{split}/acc_ci95"]
    return f"{metrics[f'{split}/acc']:.2%} (95 % interval {low:.2%} to {high:.2%})"


def _overlap(found: Measured) -> str:
    """What must be said of measured images that were seen in training."""
    if not found.overlap or not found.overlap["shared"]:
        return ""
    others = found.overlap["without"]
    told = f" {found.overlap['shared']:,} of the images were seen in training; without them "
    return f"{told}{_accuracy(others, found.split)}." if others else f"{told}none are left."


def flatters(results: Results) -> str:
    """Why figures of validation are better than those of new images would be."""
    monitor = next((key[5:] for key in results if key.startswith("best_val/")), None)
    why = (
        f"These images chose the weights: the epoch with their best {monitor} was kept"
        if monitor
        else "Whoever compares runs by these images chooses by them"
    )
    return (
        f"{why}. So these figures flatter: expect more errors on new images. For a figure that "
        "holds for those, give the data a test split, such as a folder test/ beside val/."
    )


def _diagnosis(found: Diagnosis | None) -> str:
    if found is None:
        return ""
    advice = f"<p>What to try:</p>{bullets(found.advice)}" if found.advice else ""
    return f"<h2>Over- or underfitting?</h2>{bullets(found.evidence)}{advice}"


def _curves(folder: Path, config: Config, results: Results) -> str:
    figures, metrics = RunFolder(folder).figures, RunFolder(folder).metrics
    curves = read_metrics(metrics) if metrics.is_file() else {}
    drawn: list[Path] = []
    if curves:
        drawn = draw_curves(curves, results.get("stages", []), results.get("best_epoch"), figures)
    if "lr_finder" in results:
        drawn.append(draw_rates(results["lr_finder"], figures))
    if not drawn:
        return ""
    images = "of augmented images and " if is_augmented(config, results.get("stages", [])) else ""
    note = (
        f"Training values are means over an epoch, {images}while the weights changed. Validation "
        "values were measured at its end."
    )
    pictures = "".join(map(picture, drawn))
    return f'<h2>Curves</h2><div class="figures">{pictures}</div><p class="note">{note}</p>'


def _measured(figures: Path, results: Results, contents: Contents) -> str:
    found = measured(results)
    if found is None:
        return ""
    drawn = []
    classes = results["classes"]
    if found.confusion and len(classes) <= MOST_CLASSES:
        drawn.append(draw_confusion(found.confusion, classes, figures))
    if contents.reliability:
        ece = by_name(results)[f"{found.split}/ece"]
        drawn.append(draw_reliability(contents.reliability, ece, figures))
    if "selective" in results:
        drawn.append(draw_risk(results["selective"], figures))
    parts = ["<h2>Test</h2>"]
    if found.split == "val":
        parts = [f"<h2>Validation</h2><p>{html.escape(flatters(results))}</p>"]
    parts.append(f'<div class="figures">{"".join(map(picture, drawn))}</div>')
    parts.append(table(["metric", ""], overall(results, found.split)))
    columns, rows = class_table(results, found.split, found.confusion)
    if rows:
        parts += ["<h3>Each class</h3>", table(columns, rows)]
    ranking = draw_ranking(contents.curves, figures) if contents.curves else None
    parts.append(against_the_rest(results, found, ranking))
    sections = (calibration_section, sets_section, triage_section, gate_section)
    parts += [part(results) for part in sections]
    if confused := most_confused(found.confusion, classes):
        heads = ["true", "taken for", "images", "of the class"]
        cells = [(*row[:3], f"{row[3]:.1%}") for row in confused]
        parts += ["<h3>Most frequent errors</h3>", table(heads, cells)]
    return "\n".join(parts)


def overall(results: Results, split: str) -> list[tuple[str, float | None]]:
    """The metrics of a split that do not belong to single classes."""
    return [
        (key.removeprefix(f"{split}/"), value)
        for key, value in by_name(results).items()
        if key.startswith(f"{split}/") and key.count("/") == 1 and "ci95" not in key
    ]


def _examples(figures: Path, results: Results, contents: Contents) -> str:
    parts, found = [], measured(results)
    where = " (validation)" if found and found.split == "val" else ""
    for title, name, examples in (
        ("Wrong, and most sure of it", "misclassified", contents.errors),
        ("Right, and least certain", "least_certain", contents.hits),
    ):
        if examples:
            draw_examples(examples, figures / f"{name}.png")
            shown = "".join(_shown(example, contents.overlays) for example in examples)
            parts.append(f'<h2>{title}{where}</h2><div class="gallery">{shown}</div>')
    if contents.overlays:
        parts.append(
            '<p class="note">Below some: the evidence for the predicted class, by Grad-CAM '
            "(Selvaraju et al. 2017), the strongest in red. It shows where the network looked, not "
            "that it was right to look there.</p>"
        )
    return "\n".join(parts)


def _shown(example: Example, overlays: Mapping[int, np.ndarray]) -> str:
    words = f"{example.label} as {example.predicted} ({example.probability:.2f}) {example.path}"
    overlay = overlays.get(example.position)
    below = "" if overlay is None else photo(overlay, "Grad-CAM")
    return f"<div>{photo(example.picture, words)}{below}</div>"


def _data(figures: Path, contents: Contents) -> str:
    parts = ["<h2>Data</h2>"] if contents.card or contents.samples else []
    if contents.card:
        parts.append(_card(contents.card))
    if contents.samples:
        drawn = picture(draw_samples(contents.samples, figures / "samples.png"))
        words = "Training images as they are, and below as the augmentation may change them."
        if not any(sample.augmented is not None for sample in contents.samples):
            words = "Training images as the network is given them: they are not augmented."
        parts.append(f'{drawn}<p class="note">{words}</p>')
    return "\n".join(parts)


def _card(card: Mapping[str, Any]) -> str:
    facts = [("name", card["name"]), ("size of the files", card["sizes"])]
    if card["fold"] is not None:
        facts.append(("test split", card["fold"]))
    if card["groups"] is not None:
        facts.append(("groups", card["groups"]))
    facts.append(("files ignored, by ending", card["ignored"]))
    facts.append(("images unreadable", str(card["skipped"])))
    if card["left_out"]:
        facts.append(("folders left out", "; ".join(card["left_out"])))
    if card["duplicates"] is None:
        facts.append(("duplicates", "not looked for"))
    else:
        pairs = f": {'; '.join(card['pairs'])}" if card["pairs"] else ""
        facts.append(("same pixels in two splits", f"{card['duplicates']} images{pairs}"))
    if card["missing"]:
        facts.append(("classes without images", "; ".join(card["missing"])))
    totals = [sum(counts[i] for _, counts in card["counts"]) for i in range(len(card["splits"]))]
    rows = [[name, *counts] for name, counts in card["counts"]] + [["all", *totals]]
    counts = table(["class", *card["splits"]], rows)
    if len(card["counts"]) > MOST_CLASSES:
        counts = f"<details><summary>{len(card['counts'])} classes</summary>{counts}</details>"
    return table(["", ""], facts) + counts


def _repeat(config: Config, results: Results) -> str:
    command = html.escape(shlex.join(["python", "src/train.py", *results["command"]]))
    git: Git = results.get("git") or {}
    commit = git.get("commit")
    words = f"On commit <code>{html.escape(commit)}</code>" if commit else ""
    words += " with changes that are not committed" if git.get("dirty") else ""
    if resumed := [word for changes in results.get("resumed_with", []) for word in changes]:
        words += f", continued with <code>{html.escape(shlex.join(resumed))}</code>"
    facts = {k: v for k, v in results.items() if "/" not in k and k not in NOT_FACTS}
    return f"""<h2>To repeat it</h2>
<p>{words}</p><pre>{command}</pre>
<details><summary>Facts: versions, hardware, fingerprints</summary>
<pre>{_yaml(facts)}</pre></details>
<details><summary>Config</summary>
<pre>{_yaml(config)}</pre></details>
"""


def _yaml(values: Mapping[str, Any]) -> str:
    return html.escape(yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True))
