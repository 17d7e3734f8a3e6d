"""A table for the terminal, in columns."""

from collections.abc import Sequence

from strided.errors import one_line


def text_table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return one line per row: the first column to the left, the others (numbers) to the right."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
