"""An audit as a file for people: CSV, or a JSON object a line."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from strided.audit.row import COLUMNS
from strided.runs.csv_files import escaped

Rows = Iterable[Mapping[str, Any]]


def as_csv(rows: Rows) -> Iterator[str]:
    """The lines of a CSV file; no cell of it is a formula."""
    yield _csv_line(COLUMNS)
    for row in rows:
        yield _csv_line(["" if row[name] is None else row[name] for name in COLUMNS])


def as_jsonl(rows: Rows) -> Iterator[str]:
    """A line a row, without what is empty: hashes can be taken of it anew."""
    for row in rows:
        yield json.dumps({key: value for key, value in row.items() if value is not None}) + "\n"


FORMATS: dict[str, Callable[[Rows], Iterator[str]]] = {"csv": as_csv, "jsonl": as_jsonl}


def _csv_line(cells: Iterable[Any]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(map(escaped, cells))
    return text.getvalue()
