"""A CSV file with one image per row: its path, its label, and optionally its split and group."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from strided.data.reading.folder import SPLIT_FOLDERS
from strided.errors import UserError

_SHOWN = 5  # lines with a problem


class Row(NamedTuple):
    """One row: split is train, val, test or "" (not given); group is "" without groups."""

    line: int
    path: str
    label: str
    split: str
    group: str


class Columns(NamedTuple):
    """The name of each column; None for one that is not used."""

    path: str
    label: str
    split: str | None = "split"
    group: str | None = "group"


def read_table(file: Path, columns: Columns) -> list[Row]:
    """Read a UTF-8 table split by comma, semicolon or tab; UserError for unusable rows.

    A split or group column with its default name may be absent; any other must exist.
    """
    header, lines = _cells(file, columns)
    columns = _present(columns, header, file)
    uneven = [
        f"line {line} has {len(cells)} cells, the header {len(header)}"
        for line, cells in lines
        if len(cells) != len(header)
    ]
    refuse(uneven, file, "as many cells in every line (quoted, where one holds the delimiter)")
    rows = [_row(line, dict(zip(header, cells, strict=True)), columns) for line, cells in lines]
    if not any(row.split for row in rows):
        columns = columns._replace(split=None)
    _check(rows, columns, file)
    return [row._replace(split=SPLIT_FOLDERS.get(row.split, "")) for row in rows]


def refuse(problems: Sequence[str], file: Path, expected: str, advice: str = "") -> None:
    """Raise UserError with the first few problems, if there are any."""
    if problems:
        shown = [f"  {problem}" for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            shown.append(f"  and {len(problems) - _SHOWN} more")
        raise UserError(
            f"data.csv={file} has unusable lines ({len(problems)}); expected {expected}:\n"
            + "\n".join(shown)
            + f"\nTry {advice or 'correcting them'}"
        )


def _cells(file: Path, columns: Columns) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The header, and the cells of each other non-blank line with its number."""
    try:
        text = file.read_text(encoding="utf-8-sig")
        readers = {
            mark: csv.reader(io.StringIO(text, newline=""), delimiter=mark) for mark in ",;\t"
        }
        headers = {m: [name.strip() for name in next(readers[m], [])] for m in readers}
        mark = max(headers, key=lambda m: (columns.path in headers[m], len(headers[m])))
        lines = [(readers[mark].line_num, cells) for cells in readers[mark]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"data.csv={file} cannot be read ({reason}); expected a table in UTF-8 with a header."
            " Try data.csv=<path of your table>, or saving it as CSV in UTF-8"
        ) from error
    return headers[mark], [(line, c) for line, c in lines if any(cell.strip() for cell in c)]


def _present(columns: Columns, header: list[str], file: Path) -> Columns:
    """Drop default columns that the table does not have; UserError for other missing ones."""
    present = columns._asdict()
    for key, name in present.items():
        if name is None or name in header:
            continue
        if Columns._field_defaults.get(key) != name:
            raise UserError(
                f"data.csv={file} has the columns {', '.join(header[:12])}; expected one called"
                f" {name}. Try data.{key}_column=<the column of the {key}>"
            )
        present[key] = None
    return Columns(**present)


def _row(line: int, cell: dict[str, str], columns: Columns) -> Row:
    path, label, split, group = (cell[name].strip() if name else "" for name in columns)
    path = PurePosixPath(path).as_posix() if path else ""  # ./a.jpg is a.jpg
    return Row(line, path, label, split.lower(), group)


def _check(rows: list[Row], columns: Columns, file: Path) -> None:
    """Raise UserError for rows that lack a value, and for images listed twice."""
    line_of: dict[str, int] = {}
    problems = []
    for row in rows:
        for key, name in columns._asdict().items():
            if name and not getattr(row, key):
                problems.append(f"line {row.line} has no {key} ({name})")
        if row.split and row.split not in SPLIT_FOLDERS:
            problems.append(f"line {row.line} has the split {row.split}")
        if row.path and line_of.setdefault(row.path, row.line) != row.line:
            problems.append(f"line {row.line} repeats {row.path} of line {line_of[row.path]}")
    refuse(
        problems,
        file,
        "every image once, with its label, and train, val or test for a split",
        "correcting them, or data.split_column=null or data.group_column=null to do without",
    )
    if columns.split and not any(row.split == "train" for row in rows):
        raise UserError(
            f"data.csv={file} has no line with the split train; expected train and, if there are"
            " any, val and test. Try data.split_column=null to have the images split"
        )
