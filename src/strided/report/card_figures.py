"""The tables of a model card: figures with their intervals, as results.json has them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from strided.report.card_parts import Part, Table
from strided.runs.results import Measured, Results, by_name

MOST_CLASSES = 10  # of which all are shown, else the _WORST
_WORST = 5
MOST_SUBGROUPS = 12

Rows = list[list[str]]

# of all classes: the metric, its name, what it says
_OF_ALL = (
    ("acc", "accuracy", "the part of the images that are named rightly"),
    ("balanced_acc", "balanced accuracy", "the same, each class counting alike"),
    ("f1", "F1", "finding a class and being right about it, in one figure; mean over classes"),
    ("auroc", "AUROC", "how well probabilities order images, 0.5 by chance; mean over classes"),
    ("auprc", "AUPRC", "how often a named class is right, over all thresholds; mean over classes"),
)
_OF_CLASS = (
    ("recall", "sensitivity"),
    ("specificity", "specificity"),
    ("precision", "PPV"),
    ("npv", "NPV"),
    ("auroc", "AUROC"),
    ("auprc", "AUPRC"),
)


AREAS = ("f1", "auroc", "auprc")  # figures that are shown as numbers, not in percent


def percent(share: float | None) -> str:
    """A share as text; a dash for one that is not defined."""
    return "-" if share is None else f"{share:.1%}"


def of_all(results: Results, split: str) -> Rows:
    """Metric, value, interval and meaning; of accuracy the interval over groups, if it has one."""
    named = by_name(results)
    rows = []
    for metric, name, meaning in _OF_ALL:
        ends = named.get(f"{split}/{metric}_ci95")
        if metric == "acc":
            ends = named.get(f"{split}/acc_group_ci95") or ends
        show = _number if metric in AREAS else percent
        between = f"{show(ends[0])} to {show(ends[1])}" if ends else "-"
        rows.append([name, show(named.get(f"{split}/{metric}")), between, meaning])
    return rows


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _figure(named: Mapping[str, Any], split: str, metric: str, label: str) -> str:
    """A value with its interval in brackets."""
    value, ends = (named.get(f"{split}/{key}/{label}") for key in (metric, f"{metric}_ci95"))
    return with_ends(metric, value, *(ends or (None, None)))


def with_ends(metric: str, value: float | None, low: float | None, high: float | None) -> str:
    """A figure with its interval in brackets: in percent, or of AREAS as numbers."""
    show = _number if metric in AREAS else percent
    if value is None or low is None or high is None:
        return show(value)
    if metric in AREAS:
        return f"{value:.3f} ({low:.3f}-{high:.3f})"
    return f"{value:.1%} ({100 * low:.1f}-{100 * high:.1f})"


def shown_classes(results: Results, split: str) -> list[str]:
    """All classes in their order, or of many those with the least sensitivity."""
    named, classes = by_name(results), list(results["classes"])
    if len(classes) <= MOST_CLASSES:
        return classes
    known = [name for name in classes if named.get(f"{split}/recall/{name}") is not None]
    return sorted(known, key=lambda name: float(named[f"{split}/recall/{name}"]))[:_WORST]


def by_class(results: Results, found: Measured, shown: Sequence[str]) -> tuple[list[str], Rows]:
    """Heads and a row for each of the classes `shown`: images, and figures with intervals."""
    named = by_name(results)
    images = {
        name: sum(row) for name, row in zip(results["classes"], found.confusion, strict=False)
    }
    rows = [
        [
            label,
            f"{images[label]:,}" if label in images else "-",
            *(_figure(named, found.split, metric, label) for metric, _ in _OF_CLASS),
        ]
        for label in shown
    ]
    return ["class", "images", *(name for _, name in _OF_CLASS)], rows


def operating_point(results: Results, split: str, shown: Sequence[str]) -> Iterator[Part]:
    """The figures of the classes `shown`, each decided at its own threshold."""
    sensitivity = results.get("operating_point")
    if sensitivity is None:
        yield (
            "An image is named as its most probable class. No other operating point was asked for "
            "(evaluation.operating_point)."
        )
        return
    named = by_name(results)
    if not any(f"{split}/threshold_at_op/{label}" in named for label in shown):
        yield (
            f"Each run also decides every class at a sensitivity of {percent(sensitivity)}; what "
            "that gives is on its own card."
        )
        return
    yield (
        f"Each class against the rest, at the threshold of its probability that reached a "
        f"sensitivity of {percent(sensitivity)} on the calibration images:"
    )
    names = ("recall_at_op", "specificity_at_op", "ppv_at_op", "npv_at_op")
    rows = []
    for label in shown:
        threshold = named.get(f"{split}/threshold_at_op/{label}")
        figures = (_figure(named, split, name, label) for name in names)
        rows.append([label, "-" if threshold is None else f"{threshold:.4f}", *figures])
    yield Table(["class", "threshold", "sensitivity", "specificity", "PPV", "NPV"], rows)


def of_subgroups(rows: Sequence[Mapping[str, Any]]) -> tuple[list[str], Rows]:
    """Heads and rows of subgroups, of many those with the least accuracy that are not too small."""
    shown = list(rows)
    if len(rows) > MOST_SUBGROUPS:
        shown = sorted(shown, key=lambda row: (row["small"], row["acc"]))[:MOST_SUBGROUPS]
    cells = [
        [
            f"{row['column']}: {row['value']}{' *' * row['small']}",
            f"{row['images']:,}",
            *(
                with_ends(name, row[name], row[f"{name}_low"], row[f"{name}_high"])
                for name in ("acc", "balanced_acc", "auroc")
            ),
        ]
        for row in shown
    ]
    return ["", "images", "accuracy", "balanced accuracy", "AUROC"], cells


def stress(found: Mapping[str, Any]) -> Rows:
    """Renderings of the same images: right, of how many, right before."""
    return [
        [
            name + " (fitted on it)" * bool(count.get("trained")),
            f"{count['hits']:,}",
            f"{count['images']:,}",
            f"{count['before']:,}",
        ]
        for name, count in found["stress"].items()
    ]
