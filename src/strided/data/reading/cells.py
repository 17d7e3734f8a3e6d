"""The cells of a table as Excel, pandas and R write it: encoding, delimiter, header, index."""

import csv
import io
import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from strided.data.reading.file_kinds import START_BYTES, archive_kind, other_kind
from strided.errors import UserError, one_line, sought_from

_KEY = "data.csv"  # that names the file, unless another one does
_SHOWN = 5  # lines with a problem
_LONGEST = 300  # letters of one
_MARKS = ",;\t|"
_FIRST = 10  # lines in which a header is looked for
_SEPARATOR = re.compile(r'"?sep=(.)"?\r?\n')  # Excel reads it, and writes it for some


class Cells(NamedTuple):
    """The header, and the cells of each other line that has any, with its number in the file."""

    header: list[str]
    lines: list[tuple[int, list[str]]]


def refuse(
    problems: Sequence[str], file: Path, expected: str, advice: str = "", key: str = _KEY
) -> None:
    """Raise UserError with the first few problems of `key`'s file, if there are any."""
    if problems:
        first = map(one_line, problems[:_SHOWN])
        shown = [f"  {text[:_LONGEST]}{'...' * (len(text) > _LONGEST)}" for text in first]
        if len(problems) > _SHOWN:
            shown.append(f"  and {len(problems) - _SHOWN} more")
        raise UserError(
            f"{key}={file} has unusable lines ({len(problems)}); expected {expected}:\n"
            + "\n".join(shown)
            + f"\nTry {advice or 'correcting them'}"
        )


def same_name(name: str) -> str:
    """What a column's name is compared by: neither case nor Unicode form counts."""
    return unicodedata.normalize("NFC", name.strip()).casefold()


def read_cells(file: Path, column: str, key: str = _KEY) -> Cells:
    """Read a table in UTF-8 or UTF-16; its delimiter is the one that makes `column` a column.

    Index columns have an empty name. Raises UserError for a file that is no such table and for
    lines that are longer or shorter than the header.
    """
    text = _text(file, key)
    separator = _SEPARATOR.match(text)
    text = text[separator.end() :] if separator else text
    try:
        mark = separator[1] if separator else _delimiter(text, column)
        first_line = 2 if separator else 1
        records = list(_records(text, mark, first_line))
        if any("\n" in cell or "\r" in cell for _, cells in records for cell in cells):
            records = list(_records(text, mark, first_line, strict=True))
    except csv.Error as error:  # of a quote, or of a cell that is too long
        raise _unreadable(file, f"{error}: is a quote left open?", key) from error
    if not records:
        raise _unreadable(file, "it is empty", key)
    _refuse_lines_above(records, column, file, key)
    header, lines = _aligned([name.strip() for name in records[0][1]], records[1:])
    uneven = [
        f"line {line} has {len(cells)} cells, the header {len(header)}{_opened(cells)}"
        for line, cells in lines
        if len(cells) != len(header)
    ]
    expected = "as many cells in every line (quoted, where one holds the delimiter)"
    refuse(uneven, file, expected, key=key)
    return Cells(header, lines)


def _opened(cells: Sequence[str]) -> str:
    """What may be wrong with a line that has swallowed the ones below it."""
    swallowed = sum(cell.count("\n") for cell in cells)
    return f" (a quote in it is closed {swallowed} lines below, or never)" if swallowed else ""


def _text(file: Path, key: str) -> str:
    try:
        content = file.read_bytes()
    except OSError as error:
        raise _unreadable(file, error.strerror or str(error), key) from error
    start = content[:START_BYTES]
    archive = archive_kind(start)
    if start and (kind := archive.name if archive else other_kind(start)):
        raise _unreadable(file, f"it is {kind}", key)
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):  # Excel's "Unicode text"
        encoding = "utf-16"
    elif b"\0" in content[:2]:
        encoding = "utf-16-be" if content[:1] == b"\0" else "utf-16-le"
    else:
        encoding = "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        raise _wrongly_encoded(file, content, encoding, error.start, key) from error


def _unreadable(file: Path, reason: str, key: str) -> UserError:
    return UserError(
        f"{key}={file} cannot be read ({reason}){'' if file.exists() else sought_from(file)};"
        f" expected a table in UTF-8 with a header. Try {key}=<path of your table>, or saving it"
        " as CSV in UTF-8"
    )


def _wrongly_encoded(file: Path, content: bytes, encoding: str, place: int, key: str) -> UserError:
    """Which encoding it is instead nobody can know, so no name is guessed."""
    line = content.count(b"\n", 0, place) + 1
    start = max(content.rfind(b"\n", 0, place) + 1, place - 20)
    shown = content[start : place + 20].decode("cp1252", "replace").splitlines()[0]
    return UserError(
        f"{key}={file} cannot be read (line {line} is not in {encoding.removesuffix('-sig')}; in"
        f" Western Europe's cp1252 it would be {shown!r}); expected a table in UTF-8 with a header."
        f" Try saving it as 'CSV UTF-8' in Excel, or: iconv -f cp1252 -t utf-8 {file.name} >"
        f" utf8_{file.name}"
    )


def _delimiter(text: str, column: str) -> str:
    def fitness(mark: str) -> tuple[bool, int]:
        records = list(islice(_records(text, mark), _FIRST))
        return _header(records, column) is not None, len(records[0][1]) if records else 0

    return max(_MARKS, key=fitness)


def _header(records: Sequence[tuple[int, list[str]]], column: str) -> int | None:
    """Which of the first records has a cell called `column`."""
    cells = ([same_name(cell) for cell in cells] for _, cells in records[:_FIRST])
    return next((k for k, names in enumerate(cells) if same_name(column) in names), None)


def _refuse_lines_above(
    records: Sequence[tuple[int, list[str]]], column: str, file: Path, key: str
) -> None:
    if above := _header(records, column):
        line = records[above][0]
        raise UserError(
            f"{key}={file} has its header in line {line}, below {records[0][1][0][:40]!r};"
            f" expected it at the top. Try removing the lines above it"
        )


def _records(
    text: str, mark: str, first_line: int = 1, *, strict: bool = False
) -> Iterator[tuple[int, list[str]]]:
    """The line on which a record begins, and its cells; without blank lines.

    `strict`: csv.Error, with the line, for a cell in quotes that does not end with one. It would
    swallow the lines below, and in the last column no cell would be missing.
    """
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=mark, strict=strict)
    line = first_line
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = first_line + reader.line_num
    except csv.Error as error:
        raise csv.Error(f"line {line}: {error}") from error


def _aligned(
    header: list[str], lines: list[tuple[int, list[str]]]
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Without blank cells behind the last column, and with a name for R's column of row names."""
    while header and not header[-1]:
        header = header[:-1]
    width = len(header)
    lines = [
        (line, cells[:width] if not any(map(str.strip, cells[width:])) else cells)
        for line, cells in lines
    ]
    has_row_names = all(len(cells) == width + 1 for _, cells in lines)
    if lines and has_row_names and len({cells[0] for _, cells in lines}) == len(lines):
        header = ["", *header]
    return header, lines
