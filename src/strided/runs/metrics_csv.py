"""metrics.csv: a row per epoch."""

import math
from pathlib import Path
from typing import Any

from strided.errors import UserError
from strided.runs import csv_files

_MOST = 1e300

LEADING_COLUMNS = (
    "epoch",
    "step",
    "lr",
    "train/loss",
    "train/acc",
    "val/loss",
    "val/acc",
    "epoch_seconds",
    "images_per_second",
)


def read_rows(file: Path) -> list[dict[str, Any]]:
    """Return the rows of metrics.csv with their values as text.

    Raises UserError for a file that cannot be read, or that is no such table.
    """
    rows = csv_files.read_rows(file)
    with file.open("rb") as stream:
        start = stream.read(6)
    numbered = all(row.get("epoch", "").isdecimal() for row in rows)
    if start not in (b"", b"epoch,") or not numbered:
        raise UserError(
            f"{file} is no table with the number of each epoch; expected it as the run wrote it. "
            "Try another copy of the run folder"
        )
    return [dict(row) for row in rows]


def write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write all rows at once: a metric may appear late, and a half-written row must not remain."""
    others = {key for row in rows for key in row} - set(LEADING_COLUMNS)
    csv_files.write_csv(file, [*LEADING_COLUMNS, *sorted(others)], rows)


def read_metrics(file: Path) -> dict[str, list[float]]:
    """Return the columns of metrics.csv; a missing value is NaN."""
    rows = read_rows(file)
    try:
        return {key: [_number(row[key]) for row in rows] for key in (rows[0] if rows else ())}
    except ValueError as error:
        raise UserError(
            f"{file} holds text among its numbers: {error}; expected it as the run wrote it. Try "
            "another copy of the run folder"
        ) from error


def _number(cell: str) -> float:
    value = float(cell or "nan")
    if _MOST < abs(value) < math.inf:  # matplotlib cannot draw it, and no network computes it
        raise ValueError(f"{cell[:20]} is too large")
    return value
