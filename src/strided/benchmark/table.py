"""benchmark.csv, and the terminal's table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.benchmark.failures import failure_lines
from strided.benchmark.pair import PARTS
from strided.runs.csv_files import write_csv
from strided.system.text_table import text_table

RATIOS = {
    "strided/ceiling": ("strided", "ceiling"),
    "strided/plain": ("strided", "plain"),
    "inference/bare_inference": ("inference", "bare_inference"),
}
SPREAD = {"": "median", "_min": "min", "_max": "max"}  # endings of column names
COLUMNS = (
    "model",
    "data",
    "parameters",
    "macs",
    "batch_size",
    "device",
    *(f"{part}{end}" for part in PARTS for end in SPREAD),
    *(f"{ratio}{end}" for ratio in RATIOS for end in SPREAD),
    *(f"of_peak{end}" for end in SPREAD),
    "peak_flops",
    "bound",
    "peak",
    "error",
)
SHOWN = ("ceiling", "plain", "strided", "inference")  # columns in the terminal, besides the ratios


def csv_row(row: dict[str, Any]) -> dict[str, Any]:
    """The columns of benchmark.csv that this row has."""
    kept = ("model", "data", "macs", "batch_size", "device", "bound", "peak", "error")
    found = {key: row[key] for key in kept if key in row}
    if "parameters" in row:
        found["parameters"] = row["parameters"]["total"]
    spreads = {**row.get("images_per_second", {}), **row.get("ratios", {})}
    if "of_peak" in row:
        spreads["of_peak"] = row["of_peak"]["strided"]
        found["peak_flops"] = float(f"{row['peak_flops']['median']:.5g}")
    for name, spread in spreads.items():
        for end, key in SPREAD.items():
            found[f"{name}{end}"] = float(f"{spread[key]:.5g}")
    return found


def write_table(file: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write benchmark.csv: a row per model; unmeasured cells are empty."""
    write_csv(file, COLUMNS, map(csv_row, rows))


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of a table in columns: medians in images per second, and the ratios."""
    head = ["model", "parameters", "million MACs", *SHOWN, "of ceiling", "of plain", "of peak"]
    measured = [_cells(row) for row in rows if "ratios" in row]
    return text_table([head, *measured]) + failure_lines(rows)


def _cells(row: dict[str, Any]) -> list[str]:
    rates = row["images_per_second"]
    return [
        row["model"],
        f"{row['parameters']['total']:,}",
        f"{row['macs'] / 1e6:.4g}",
        *(f"{rates[part]['median']:.4g}" for part in SHOWN),
        *(ratio(row, name) for name in ("strided/ceiling", "strided/plain", "of_peak")),
    ]


def ratio(row: Mapping[str, Any], name: str) -> str:
    """Return the median and the range, `81 % (77 to 85)`; one repeat has no range: `-`."""
    if len(row["repeats"]) < 2:
        return "-"
    found = row["of_peak"]["strided"] if name == "of_peak" else row["ratios"][name]
    percent = name != "strided/plain"
    factor, digits, unit = (100, 0, " %") if percent else (1, 2, "x")
    median, low, high = (factor * found[key] for key in ("median", "min", "max"))
    return f"{median:.{digits}f}{unit} ({low:.{digits}f} to {high:.{digits}f})"
