"""Labels as a column for each class, with 1 in the column of an image's class."""

import logging
from collections.abc import Sequence
from pathlib import Path

from strided.data.reading.cells import Cells, refuse

log = logging.getLogger(__name__)

_BITS = {"true": 1.0, "false": 0.0, "": 0.0}


def one_hot_labels(cells: Cells, places: Sequence[int], file: Path) -> list[str]:
    """Each line's label: the name of its column that holds 1; UserError unless exactly one does."""
    labels, problems = [], []
    for line, row in cells.lines:
        bits = [_bit(row[place]) for place in places]
        chosen = [cells.header[place] for place, bit in zip(places, bits, strict=True) if bit]
        labels.append(chosen[0] if chosen else "")
        if None in bits:
            place = places[bits.index(None)]
            problems.append(f"line {line} has {row[place]!r} in {cells.header[place]}")
        elif len(chosen) != 1:
            several = f": {', '.join(chosen[:8])}" if chosen else ""
            problems.append(f"line {line} has {len(chosen)} labels{several}")
    refuse(
        problems,
        file,
        "1 in one of data.label_columns and 0 in the others",
        "removing these lines, or other data.label_columns",
    )
    if absent := {cells.header[place] for place in places} - set(labels):
        log.warning("%s: no line has 1 in %s: no class", file.name, ", ".join(sorted(absent)))
    return labels


def one_hot_columns(cells: Cells, others: Sequence[object]) -> list[str]:
    """The columns that could be data.label_columns; none if they are no such columns."""
    places = [
        k
        for k, name in enumerate(cells.header)
        if name and name not in others and all(_bit(row[k]) is not None for _, row in cells.lines)
    ]
    names = [cells.header[k] for k in places]
    single = all(sum(_bit(row[k]) or 0 for k in places) == 1 for _, row in cells.lines)
    return names if cells.lines and single and not any(set(",'\"") & set(n) for n in names) else []


def _bit(cell: str) -> float | None:
    """0 or 1, as programs write them (1, 1.0, True); None for anything else."""
    text = cell.strip().lower()
    if text in _BITS:
        return _BITS[text]
    try:
        number = float(text)
    except ValueError:
        return None
    return number if number in (0, 1) else None
