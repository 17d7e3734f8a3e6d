"""A CSV file with one image per row: its path, its label, and optionally its split and group."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from strided.data.reading.cells import Cells, read_cells, refuse, same_name
from strided.data.reading.labels import Labels
from strided.data.reading.one_hot import one_hot_columns, one_hot_labels
from strided.data.reading.split_names import SPLIT_FOLDERS
from strided.data.reading.table_labels import check_one_label, is_missing, one_spelling
from strided.errors import UserError, one_line

log = logging.getLogger(__name__)

SPLITS = {**SPLIT_FOLDERS, "training": "train", "testing": "test", "dev": "val"}

_ENDING = re.compile(r"\.[A-Za-z][A-Za-z0-9]{1,4}")


class Row(NamedTuple):
    """One row: split is train, val, test or "" (not given); group is "" without groups.

    subgroups has a value for each of the columns, "" where it is missing.
    """

    line: int
    path: str
    label: str
    split: str
    group: str
    subgroups: tuple[str, ...] = ()


class Columns(NamedTuple):
    """The name of each column; None for one that is not used. labels: one column for each label.

    subgroups are columns that only results are shown by, such as sex and age.
    """

    path: str
    label: str
    split: str | None = "split"
    group: str | None = "group"
    labels: Sequence[str] | None = None
    subgroups: Sequence[str] = ()


def read_table(
    file: Path,
    columns: Columns,
    spelling: Labels | None = None,
    *,
    needs_train: bool = True,
) -> list[Row]:
    """Read a table split by comma, semicolon, tab or |; UserError for unusable rows.

    A split or group column with its default name may be absent; any other must exist. Labels that
    differ only in spelling stop it, unless `spelling` says whether to merge or to keep them.
    """
    cells = read_cells(file, columns.path)
    at = _places(columns, cells, file)
    rows = [_row(line, row, at) for line, row in cells.lines]
    if columns.labels is not None:
        labels = one_hot_labels(cells, [at[f"label {k}"] for k in range(len(columns.labels))], file)
        rows = [row._replace(label=label) for row, label in zip(rows, labels, strict=True)]
    given = {key: cells.header[place] for key, place in at.items() if key in Row._fields}
    if not any(row.split for row in rows):
        given.pop("split", None)
    _check(rows, given, file, needs_train)
    labels = [row.label for row in rows]
    if columns.labels is None:
        check_one_label(labels, [row.line for row in rows], file)
    labels = one_spelling(labels, file, spelling)
    return [
        row._replace(label=label, split=SPLITS.get(row.split, ""))
        for row, label in zip(rows, labels, strict=True)
    ]


def other_columns(file: Path, columns: Columns) -> dict[str, list[str]]:
    """The columns of a readable table that are neither path, label nor split: a value for each row.

    An index column has no name, and is left out.
    """
    cells = read_cells(file, columns.path)
    places = _places(columns, cells, file)
    used = {places[key] for key in places if key.split()[0] in ("path", "label", "split")}
    return {
        name: [row[place].strip() for _, row in cells.lines]
        for place, name in enumerate(cells.header)
        if name and place not in used
    }


def _places(columns: Columns, cells: Cells, file: Path) -> dict[str, int]:
    """Where each column is; UserError for one that is absent or twice there.

    Without a column of that very name, one is taken that differs in case.
    """
    names: dict[str, str | None] = {**columns._asdict()}
    del names["labels"], names["subgroups"]
    if columns.labels is not None:
        del names["label"]
        names.update({f"label {k}": name for k, name in enumerate(columns.labels)})
    names.update({f"subgroup {k}": name for k, name in enumerate(columns.subgroups)})
    at = {}
    for key, name in names.items():
        if name is None:
            continue
        found = [k for k, column in enumerate(cells.header) if column == name] or [
            k for k, column in enumerate(cells.header) if same_name(column) == same_name(name)
        ]
        if len(found) == 1:
            at[key] = found[0]
            if cells.header[found[0]] != name:
                log.info("%s: the column %s is the %s", file.name, cells.header[found[0]], key)
        elif found or Columns._field_defaults.get(key) != name:
            raise _absent(key, name, len(found), columns, cells, file)
    return at


def _absent(
    key: str, name: str, times: int, columns: Columns, cells: Cells, file: Path
) -> UserError:
    expected = f"only one called {name}" if times else f"one called {name}"
    advice = f"data.{key}_column=<the column of the {key}>"
    if key.startswith("subgroup "):
        advice = "data.subgroup_columns=[<columns that are there>]"
    elif key.startswith("label "):
        advice = "data.label_columns=[<the columns of the labels>]"
    elif key == "label" and (several := one_hot_columns(cells, columns)):
        advice = f"data.label_columns=[{one_line(','.join(several))}]: they hold one 1 in each line"
    elif key == "path" and any(_ENDING.fullmatch(_suffix(name)) for name in cells.header):
        advice = "a first line with the names of the columns: path,label"
    elif key == "path" and (images := _columns_of_images(cells)):
        advice = f"data.path_column={one_line(images[0])}"
    return UserError(
        f"data.csv={file} has the columns {', '.join(map(one_line, cells.header[:12]))}; expected"
        f" {expected}. Try {advice}"
    )


def _columns_of_images(cells: Cells) -> list[str]:
    """The columns whose cells end as names of files do."""
    lines = cells.lines[:100]
    return [
        name
        for k, name in enumerate(cells.header)
        if name and lines and all(_ENDING.fullmatch(_suffix(row[k])) for _, row in lines)
    ]


def _suffix(name: str) -> str:
    return PurePosixPath(name.strip()).suffix


def _row(line: int, cells: list[str], at: dict[str, int]) -> Row:
    path, label, split, group = (
        cells[at[key]].strip() if key in at else "" for key in ("path", "label", "split", "group")
    )
    path = PurePosixPath(path).as_posix() if path else ""  # ./a.jpg is a.jpg
    values = (cells[place].strip() for key, place in at.items() if key.startswith("subgroup "))
    subgroups = tuple("" if is_missing(value) else value for value in values)
    return Row(line, path, label, split.lower(), group, subgroups)


def _check(rows: list[Row], given: dict[str, str], file: Path, needs_train: bool) -> None:
    """Raise UserError for rows that lack a value."""
    problems = []
    for row in rows:
        for key, name in given.items():
            value = getattr(row, key)
            if is_missing(value) if key != "path" else not value:
                problems.append(
                    f"line {row.line} has no {key} ({name}{f': {value}' if value else ''})"
                )
        if row.split and row.split not in SPLITS and not is_missing(row.split):
            problems.append(f"line {row.line} has the split {row.split}")
    unused = [f"data.{key}_column=null" for key in ("split", "group") if key in given]
    refuse(
        problems,
        file,
        "every image with its label, and train, val or test for a split",
        " or ".join(["correcting or removing them", *unused]),
    )
    if needs_train and "split" in given and not any(SPLITS[row.split] == "train" for row in rows):
        raise UserError(
            f"data.csv={file} has no line with the split train; expected train and, if there are"
            " any, val and test. Try data.split_column=null to have the images split"
        )
