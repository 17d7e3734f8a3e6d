"""The user's own images, listed in a CSV file with their labels."""

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from strided.config.unused import refuse_typed
from strided.data.datamodule import ImageDataModule
from strided.data.preprocessing import check_one_of
from strided.data.reading.cells import refuse
from strided.data.reading.files import as_text
from strided.data.reading.finding import Found, find_files
from strided.data.reading.labels import Labels
from strided.data.reading.near_files import Near, in_one_folder, remedy
from strided.data.reading.table import Columns, Row, other_columns, read_table
from strided.data.source import Source, digest
from strided.errors import UserError

log = logging.getLogger(__name__)


class ImageTable(ImageDataModule):
    """Images of the table `csv`; paths are relative to `root`, by default the table's folder.

    No group is in two splits; a table that puts one there is refused. Split and group columns with
    their default names need not exist.

    Args:
        csv: The table, with a header line; comma, semicolon, tab or | between its columns.
        root: The folder or .zip that the paths are relative to; null: the table's folder.
        path_column: The column of the images' paths.
        path_suffix: Added to paths that do not end so, such as .jpg.
        label_column: The column of the classes.
        label_columns: In its place one column for each class, with one 1 in each row.
        labels: Of labels that differ only in case, blanks or zeros, make one class or keep two.
        split_column: The column that says train, val or test; null: split here.
        group_column: The column of the patient, camera or day, never in two splits; null: none.
        torn_groups: allow: train although the table has a group in two splits.
        subgroup_columns: Such as [sex,age]: kept beside each prediction, for compare's pool.
    """

    default_image_size = 224

    def __init__(
        self,
        *,
        csv: str,
        root: str | None = None,
        path_column: str = "path",
        path_suffix: str | None = None,
        label_column: str = "label",
        label_columns: list[str] | None = None,
        labels: Labels | None = None,
        split_column: str | None = "split",
        group_column: str | None = "group",
        torn_groups: Literal["refuse", "allow"] = "refuse",
        subgroup_columns: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        check_one_of("labels", labels, get_args(Labels))
        check_one_of("torn_groups", torn_groups, ("refuse", "allow"))
        _check_suffix(path_suffix)
        _check_label_columns(label_columns)
        if label_columns is not None:
            why = "data.label_columns has the labels"
            refuse_typed("data.label_column", why, "data.label_columns=null with it")
        self.csv = Path(os.path.expanduser(csv))
        super().__init__(root=str(self.csv.parent) if root is None else root, **kwargs)
        self.name = self.csv.stem
        self.split_column = split_column
        self.group_column = group_column
        self.torn_groups = torn_groups
        self.path_suffix = path_suffix
        self.spelling = labels
        self.subgroup_columns = subgroup_columns or []
        self.columns = Columns(
            path_column,
            label_column,
            split_column,
            group_column,
            label_columns,
            self.subgroup_columns,
        )

    def split_keys(self) -> dict[str, Any]:
        """The keys that decide val and test: here some of the columns do too."""
        columns = {"split_column": self.split_column, "group_column": self.group_column}
        return super().split_keys() | columns

    def make_source(self) -> Source:
        """Read the table and find its files."""
        to_train = self.known_classes is None
        rows = read_table(self.csv, self.columns, self.spelling, needs_train=to_train)
        classes = sorted({row.label for row in rows})
        if len(classes) < (2 if to_train else 1):
            problem = f"only one label, {as_text(classes[0])}" if classes else "no images"
            advice = (
                "data.label_column=<the column of the classes>" if classes else "a line for each"
            )
            raise UserError(
                f"data.csv={self.csv} has {problem}; expected images of two or more classes."
                f" Try {advice}"
            )
        found = self._find(rows)
        names, stamps = [name for name in found.names if name is not None], found.files.stamps
        listed = [
            (path, row.label, stamps[name])
            for path, row, name in zip(found.paths, rows, names, strict=True)
        ]
        number = {label: index for index, label in enumerate(classes)}
        split = np.array([row.split for row in rows])
        groups = np.array([row.group for row in rows]) if rows[0].group else None
        if groups is not None:
            log.info("%d images of %d groups", len(groups), len(np.unique(groups)))
        return Source(
            classes=classes,
            paths=found.paths,
            labels=np.array([number[row.label] for row in rows], dtype=np.int64),
            split=split,
            read=found.files.reader(names),
            listing=digest("table", listed),
            group=groups,
            subgroups={
                name: [row.subgroups[k] for row in rows]
                for k, name in enumerate(self.subgroup_columns)
            },
            sizes=[stamps[name][0] for name in names],
        )

    def metadata(self) -> Mapping[str, Sequence[str]]:
        """See ImageDataModule: the columns that are neither path, label nor split."""
        return other_columns(self.csv, self.columns)

    def _find(self, rows: list[Row]) -> Found:
        """The files of the rows; UserError for missing ones, and for a file in two rows."""
        paths = [row.path + self._suffix_of(row.path) for row in rows]
        found = find_files(self.root, paths)
        if missing := [k for k, name in enumerate(found.names) if name is None]:
            self._refuse_missing(missing, rows, found)
        first: dict[str | None, int] = {}
        refuse(
            [
                f"line {row.line} repeats {row.path} of line {first[name]}"
                for row, name in zip(rows, found.names, strict=True)
                if first.setdefault(name, row.line) != row.line
            ],
            self.csv,
            "every image once",
            "removing the repeated lines",
        )
        return found

    def _suffix_of(self, path: str) -> str:
        suffix = self.path_suffix or ""
        return "" if path.lower().endswith(suffix.lower()) else suffix

    def _refuse_missing(self, missing: list[int], rows: list[Row], found: Found) -> None:
        near = {k: found.near(rows[k].path) for k in missing}
        problems = []
        for k in missing:
            problems.append(f"line {rows[k].line}: {rows[k].path}{self._there(near[k])}")
        expected = f"their images to be in data.root={self.root}"
        refuse(problems, self.csv, expected, self._advice(list(near.values()), rows, missing))

    def _there(self, near: Near | None) -> str:
        if near is None:
            return ""
        usable = not self.root.is_dir() or (self.root / near.name).is_file()
        kind = "" if usable else ", a pipe, a device or a link that leads nowhere"
        return f" (there is {as_text(near.name)}{kind})"

    def _advice(self, near: list[Near | None], rows: list[Row], missing: list[int]) -> str:
        """What would find all images, if data.root or data.path_suffix would."""
        change = remedy(near) or in_one_folder(near)
        if change is None or len(missing) < len(rows):
            return "data.root=<what the paths are relative to>, or correcting the paths"
        suffix = [f"data.path_suffix={change.suffix}"] if change.suffix else []
        if remedy(near) is None:
            words = ["moving all images into one folder, and data.root=<that folder>", *suffix]
            return " ".join(words)
        if change.folder and not self.root.is_dir():
            return f"unzipping {self.root.name}, and data.root=<the folder {change.folder} in it>"
        return " ".join([f"data.root={self.root / change.folder}"] * bool(change.folder) + suffix)


def _check_suffix(suffix: str | None) -> None:
    if suffix is not None and (not suffix.strip() or set(suffix) & set("/\\")):
        raise UserError(
            f"data.path_suffix={suffix!r}; expected what the files' names have and the paths lack."
            " Try data.path_suffix=.jpg"
        )


def _check_label_columns(columns: list[str] | None) -> None:
    if columns is not None and (len(columns) < 2 or len(set(columns)) < len(columns)):
        raise UserError(
            f"data.label_columns=[{','.join(columns)}]; expected two or more columns, one for each"
            " class. Try data.label_columns=[cat,dog], or data.label_column=<one column of labels>"
        )
