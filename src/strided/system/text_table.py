"""A table for the terminal, in columns."""

from collections.abc import Sequence

from strided.errors import one_line


def text_table(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return one line per row: `left` columns to the left, the others (numbers) to the right."""
    rows = [[one_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [
                *map(str.ljust, row[:left], widths[:left]),
                *map(str.rjust, row[left:], widths[left:]),
            ]
        ).rstrip()
        for row in rows
    ]
