"""gradients.csv: a row per epoch and layer, with the norm of the layer's gradient."""

import math
from pathlib import Path
from typing import Any

from strided.runs.csv_files import read_rows, write_csv

COLUMNS = ("epoch", "layer", "index", "norm")


def read_gradients(file: Path) -> list[dict[str, Any]]:
    """Rows of gradients.csv: epoch, layer, index (from the image on), norm; none without a file."""
    if not file.is_file():
        return []
    return [
        {
            "epoch": int(row["epoch"]),
            "layer": row["layer"],
            "index": int(row["index"]),
            "norm": float(row["norm"] or math.nan),
        }
        for row in read_rows(file)
    ]


def write_gradients(file: Path, rows: list[dict[str, Any]]) -> None:
    """Write all rows of gradients.csv at once, with the keys of `read_gradients`."""
    write_csv(file, COLUMNS, rows)
