"""The labels of a table as people type them: missing, in several spellings, several in a cell."""

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from strided.data.reading.cells import refuse
from strided.data.reading.labels import Labels, label_of, spellings
from strided.errors import UserError, one_line

log = logging.getLogger(__name__)

# what pandas, R, databases and Excel write for a missing value; "None" and "N/A" can be classes
_MISSING = frozenset({"nan", "NaN", "NAN", "NA", "<NA>", "null", "Null", "NULL", "#N/A"})
_SHOWN = 5  # groups of spellings


def is_missing(cell: str) -> bool:
    """Whether a cell is blank or holds what programs write for a missing value."""
    return not cell or cell in _MISSING


def one_spelling(labels: Sequence[str], file: Path, choice: Labels | None) -> list[str]:
    """The labels, one for each class; UserError for labels that differ only in spelling.

    Unicode forms look the same, and are. For the rest choice decides: `merge` takes the most
    frequent spelling, `keep` leaves them apart.
    """
    forms = {label: label_of(label) for label in set(labels)}
    if len(set(forms.values())) < len(forms):
        log.info("%s: labels in several Unicode forms are taken as one class", file.name)
    labels = [forms[label] for label in labels]
    counts = Counter(labels)
    groups = [] if choice == "keep" else spellings(counts)
    if not groups:
        return labels
    shown = "; ".join(
        ", ".join(f"{one_line(label)} ({counts[label]})" for label in group)
        for group in groups[:_SHOWN]
    )
    shown += f"; and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
    if choice is None:
        raise UserError(
            f"data.csv={file} has labels that differ only in case, blanks or zeros (with their"
            f" images): {shown}; expected one spelling for each class. Try data.labels=merge if"
            " these are one class, or data.labels=keep if they are two"
        )
    log.warning("data.labels=merge: one class each, by the first name: %s", shown)
    first = {label: group[0] for group in groups for label in group}
    return [first.get(label, label) for label in labels]


def check_one_label(labels: Sequence[str], lines: Sequence[int], file: Path) -> None:
    """Raise UserError if some cells hold several labels: a|b, a;b, [a, b], or a, b.

    A mark may belong to a name. So one of its parts, for a comma all, must occur elsewhere too.
    """
    cells = Counter(labels)
    parts_of = {label: parts for label in cells if len(parts := _parts(label)) > 1}
    uses = Counter(part for parts in parts_of.values() for part in set(parts))
    several = set()
    for label, parts in parts_of.items():
        known = [part in cells or uses[part] > 1 for part in parts]
        if _is_list(label) or (any(known) if "|" in label or ";" in label else all(known)):
            several.add(label)
    refuse(
        [
            f"line {line} has {len(parts_of[label])} labels, {label}"
            for line, label in zip(lines, labels, strict=True)
            if label in several
        ],
        file,
        "one label for each image",
        "removing these lines, keeping one label in each, or data.label_column=<another column>",
    )


def _parts(label: str) -> list[str]:
    inner = label[1:-1] if _is_list(label) else label
    mark = next((mark for mark in "|;," if mark in inner), None)
    parts = [part.strip(" '\"") for part in inner.split(mark)] if mark else [inner]
    return [part for part in parts if part]


def _is_list(label: str) -> bool:
    return label[:1] + label[-1:] in ("[]", "{}", "()")
