"""What a report begins with: the figures to be seen first, each with what it says."""

import html
from collections.abc import Mapping
from typing import Any

from strided.data.reading.files import as_text
from strided.pages.page import bullets, heading, tile, tiles
from strided.report.diagnosis import Diagnosis
from strided.report.outcome import worst_class
from strided.report.shortcuts import warning
from strided.runs.results import Measured, Results, by_name, measured

VERDICTS = {  # of a diagnosis: as it is shown, and its kind of tile
    "chance": ("nothing learned", "bad"),
    "overfitting": ("overfitting", "bad"),
    "underfitting": ("underfitting", "bad"),
    "generalises": ("generalises", "good"),
    "between": ("some overfitting", "warn"),
    "undecided": ("undecided", "warn"),
    "unlearned": ("no better than guessing", "bad"),
}


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


def first_figures(results: Results, diagnosis: Diagnosis | None) -> str:
    """The tiles at the top of a report, and what must be known before they are believed."""
    found = measured(results)
    if found is None:
        return f'<p class="headline">Nothing was tested.</p>{tiles(_verdict(diagnosis))}'
    shown = [
        _accuracy_tile(results, found),
        *_verdict(diagnosis),
        *_worst(results, found),
        *_trust(results),
        *_shortcut(results),
    ]
    warnings = [_overlap(found).strip(), warning(results.get("shortcuts")).strip()]
    if found.split == "val":
        warnings.insert(0, "Nothing was tested: these are figures of validation, and flatter.")
    told = "".join(f'<p class="warning">{html.escape(one)}</p>' for one in warnings if one)
    return f"{tiles(shown)}{told}"


def _accuracy_tile(results: Results, found: Measured) -> str:
    values = by_name(results)
    low, high = values[f"{found.split}/acc_ci95"]
    note = f"95 % interval {low:.2%} to {high:.2%}"
    if found.confusion:
        support = [sum(row) for row in found.confusion]
        images, always = sum(support), max(support) / max(1, sum(support))
        unseen = found.overlap is not None and not found.overlap["shared"]
        note += f"; {images:,} images{', none of them seen in training' if unseen else ''}"
        note += f". Naming the largest class always: {always:.1%}"
    name = "Test accuracy" if found.split == "test" else "Validation accuracy"
    return tile(name, f"{values[f'{found.split}/acc']:.2%}", note)


def _verdict(diagnosis: Diagnosis | None) -> list[str]:
    if diagnosis is None:
        return []
    word, kind = VERDICTS[diagnosis.verdict]
    low, high = diagnosis.gap_ci95
    note = (
        f"Training is {100 * diagnosis.gap:.1f} points above validation "
        f"(95 % interval {100 * low:.1f} to {100 * high:.1f})"
    )
    if diagnosis.verdict == "undecided":
        note += ": too few images to tell"
    return [tile("Over- or underfitting?", word, note, kind)]


def _worst(results: Results, found: Measured) -> list[str]:
    classes = [as_text(name) for name in results["classes"]]
    worst = worst_class(found.confusion)
    if worst is None or len(classes) < 2:
        return []
    row = found.confusion[worst]
    wrong = [0 if k == worst else count for k, count in enumerate(row)]
    most = max(range(len(row)), key=lambda k: wrong[k])
    note = (
        f"{row[worst]:,} of {sum(row):,} right ({row[worst] / sum(row):.1%}); most often named "
        f"{classes[most]} ({wrong[most]:,})"
    )
    return [tile("Fails most", classes[worst], note)]


def _trust(results: Results) -> list[str]:
    """Whether a probability is how often it is right, judged by what chance would show."""
    about = results.get("calibration")
    if not about or "measured" not in about:
        return []
    ece, chance = about["measured"]["after"]["ece"], about["measured"]["floor"]["ece"]["p95"]
    word, kind = ("they hold", "good") if ece <= chance else ("they are off", "warn")
    note = (
        f"{100 * ece:.1f} points from how often they are right, on average; up to "
        f"{100 * chance:.1f} would be chance"
    )
    return [tile("Its probabilities", word, note, kind)]


def _shortcut(results: Results) -> list[str]:
    found = results.get("shortcuts")
    if not found:
        asks = "shortcuts=true asks what gives the classes away beside their subject"
        return [tile("A shortcut?", "not checked", asks)]
    verdict = found["verdict"]
    if "why_none" in verdict:
        return [tile("A shortcut?", "not known", verdict["why_none"], "warn")]
    if verdict["warnings"]:
        return [tile("A shortcut?", "likely", "See below what gives the classes away", "bad")]
    return [tile("A shortcut?", "none found", "Images of another source would tell", "good")]


def diagnosis_section(found: Diagnosis | None) -> str:
    """The verdict with its evidence, and beside it what to try."""
    if found is None:
        return ""
    advice = f"<div><h3>What to try</h3>{bullets(found.advice)}</div>" if found.advice else ""
    evidence = f"<div><h3>What it shows</h3>{bullets(found.evidence)}</div>"
    return f'{heading("Over- or underfitting?")}<div class="halves">{evidence}{advice}</div>'


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
