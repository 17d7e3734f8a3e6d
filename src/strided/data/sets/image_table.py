"""The user's own images, listed in a CSV file with their labels."""

import logging
import os
from collections import defaultdict
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from strided.data.datamodule import ImageDataModule
from strided.data.reading.files import Files, all_files, is_hidden, listed_files
from strided.data.reading.table import Columns, Row, read_table, refuse
from strided.data.source import Source, digest
from strided.errors import UserError

log = logging.getLogger(__name__)

_SHOWN_GROUPS = 3


class ImageTable(ImageDataModule):
    """Images of the table `csv`; paths are relative to `root`, by default the table's folder.

    root may be a .zip. No group is in two splits unless the table itself puts it there. Split and
    group columns with their default names need not exist; null means not used.
    """

    default_image_size = 224

    def __init__(
        self,
        *,
        csv: str,
        root: str | None = None,
        path_column: str = "path",
        label_column: str = "label",
        split_column: str | None = "split",
        group_column: str | None = "group",
        **kwargs: Any,
    ) -> None:
        self.csv = Path(os.path.expanduser(csv))
        super().__init__(root=str(self.csv.parent) if root is None else root, **kwargs)
        self.name = self.csv.stem
        self.split_column = split_column
        self.group_column = group_column
        self.columns = Columns(path_column, label_column, split_column, group_column)

    def make_source(self) -> Source:
        """Read the table and find its files."""
        rows = read_table(self.csv, self.columns)
        classes = sorted({row.label for row in rows})
        if len(classes) < 2:
            problem = f"only one label, {classes[0]}" if classes else "no images"
            raise UserError(
                f"data.csv={self.csv} has {problem}; expected images of two or more classes."
                " Try data.label_column=<the column of the classes>"
            )
        files, names = self._find(rows)
        listed = [(r.path, r.label, files.stamps[n]) for r, n in zip(rows, names, strict=True)]
        number = {label: index for index, label in enumerate(classes)}
        split = np.array([row.split for row in rows])
        groups = np.array([row.group for row in rows]) if rows[0].group else None
        if groups is not None:
            _report_groups(groups, split)
        return Source(
            classes=classes,
            paths=[row.path for row in rows],
            labels=np.array([number[row.label] for row in rows], dtype=np.int64),
            split=split,
            read=files.reader(names),
            listing=digest("table", listed),
            group=groups,
            sizes=[files.stamps[name][0] for name in names],
        )

    def _find(self, rows: list[Row]) -> tuple[Files, list[str]]:
        """The files, and each row's name among them; UserError for missing ones."""
        names = [row.path for row in rows]
        if self.root.is_dir():
            files = listed_files(self.root, names)
        else:
            files = all_files(self.root)
            parts = [PurePosixPath(name).parts for name in files.stamps]
            tops = {top for top, *inside in parts if not is_hidden((top, *inside))}
            if len(tops) == 1 and names[0] not in files.stamps:  # one enclosing folder is skipped
                names = [f"{min(tops)}/{name}" for name in names]
        missing = [
            f"line {row.line}: {row.path}"
            for row, name in zip(rows, names, strict=True)
            if name not in files.stamps
        ]
        expected = f"their images to be in data.root={self.root}"
        refuse(missing, self.csv, expected, "data.root=<what the paths are relative to>")
        return files, names


def _report_groups(groups: np.ndarray, split: np.ndarray) -> None:
    """Log the number of groups; warn of groups that the table puts into several splits."""
    splits_of: dict[str, set[str]] = defaultdict(set)
    for group, name in zip(groups.tolist(), split.tolist(), strict=True):
        splits_of[group].add(name)
    log.info("%d images of %d groups", len(groups), len(splits_of))
    divided = sorted(group for group, names in splits_of.items() if len(names) > 1)
    if divided:
        log.warning(
            "%d groups are in more than one split of the table, so val and test do not measure new"
            " groups: %s%s",
            len(divided),
            ", ".join(divided[:_SHOWN_GROUPS]),
            ", ..." if len(divided) > _SHOWN_GROUPS else "",
        )
