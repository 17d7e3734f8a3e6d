"""CSV files as strided writes and reads all of its own: whole, and without formulas.

A spreadsheet runs text as a formula if it begins with `=`, `+`, `-`, `@`, a tab or a carriage
return, and names of files and classes may be a stranger's. Such text gets an apostrophe in front,
as one types it there; the readers take it away again.
"""

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.errors import UserError
from strided.system.durable import write_text

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"'+[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)", re.IGNORECASE)


def write_csv(
    file: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any] | Sequence[Any]]
) -> None:
    """Write a whole CSV file. A row has its values by column, or all of them in order.

    A column that a row does not have stays empty; one that the file does not have is a ValueError.
    """
    text = io.StringIO(newline="")
    # with \n for the end of a line, the writer would not quote a cell that holds a \r
    writer = csv.writer(_LineFeeds(text), lineterminator="\r\n")
    writer.writerow(map(escaped, columns))
    for row in rows:
        if isinstance(row, Mapping):
            if unknown := set(row) - set(columns):
                raise ValueError(f"the file has no columns {', '.join(sorted(unknown))}")
            row = [row.get(column, "") for column in columns]
        writer.writerow(map(escaped, row))
    write_text(file, text.getvalue())


class _LineFeeds:
    """Ends each line of a CSV writer with \\n alone."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    def write(self, line: str) -> int:
        """Write a whole line, as csv.writer does."""
        return self._stream.write(line.removesuffix("\r\n") + "\n")


def read_csv(file: Path) -> tuple[list[str], list[list[str]]]:
    """Return the columns and the rows of a file of `write_csv`, as they were given to it.

    Raises ValueError for a file without a first line, csv.Error for one that is no CSV.
    """
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        lines = [[plain(cell) for cell in cells] for cells in csv.reader(stream) if cells]
    if not lines:
        raise ValueError("it is empty")
    return lines[0], lines[1:]


def read_rows(file: Path) -> list[dict[str, str]]:
    """Return the rows of a file of `write_csv` by column; a cell that a row lacks is empty.

    Raises UserError for a file that cannot be read.
    """
    try:
        columns, rows = read_csv(file) if file.stat().st_size else ([], [])
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(
            f"{file} cannot be read: {error}; expected it as the run wrote it. Try another copy of "
            "the run folder"
        ) from error
    return [dict(zip(columns, [*row, *[""] * len(columns)], strict=False)) for row in rows]


def escaped(value: Any) -> Any:
    """Return a cell as it is written: text that a spreadsheet would run gets an apostrophe."""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


def plain(cell: str) -> str:
    """Return a cell as it was before `escaped`."""
    return cell[1:] if _ESCAPED.match(cell) else cell
