"""Labelled images that join the training split: the table of `data.extra`.

They stand behind the images of the data set, which is split as without them. So test and
validation stay what they were, and so do the fingerprints of the data set.
"""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from strided.data.assignment import Assignment
from strided.data.groups import joined
from strided.data.pixels.copies import first_copies
from strided.data.reading.cells import Cells, read_cells, refuse, same_name
from strided.data.reading.files import as_text
from strided.data.reading.finding import find_files
from strided.data.reading.labels import label_of
from strided.data.reading.table_labels import is_missing
from strided.data.source import EXTRA, Source, digest
from strided.errors import UserError, one_line
from strided.runs.csv_files import plain

log = logging.getLogger(__name__)

_KEY = "data.extra"
_SHOWN_CLASSES = 10


class Case(NamedTuple):
    """A labelled row of the table; group is "" without that column."""

    line: int
    path: str
    label: str
    group: str


@dataclass(frozen=True)
class JoinedReader:
    """Reads the images of `first`, and from the index `start` on those of `second`."""

    first: Callable[[int], Image.Image]
    second: Callable[[int], Image.Image]
    start: int

    def __call__(self, index: int) -> Image.Image:
        return self.first(index) if index < self.start else self.second(index - self.start)

    def sides(self, index: int) -> tuple[int, int]:
        """Width and height as the file's header says; both readers are of files then."""
        own = index < self.start
        reader, place = (self.first, index) if own else (self.second, index - self.start)
        found: tuple[int, int] = reader.sides(place)  # type: ignore[attr-defined]
        return found


def check_extra(extra: str | None, pipeline: str) -> None:
    """Raise UserError for extra images whose pixels cannot be compared."""
    if extra is not None and pipeline != "store":
        raise UserError(
            f"{_KEY}={extra} with data.pipeline={pipeline}, which does not know the pixels before"
            " it trains; expected to compare them, since copies of test images must not be trained"
            " on. Try data.pipeline=store"
        )


def with_extra(source: Source, file: Path) -> Source:
    """Return the source with the labelled images of a table behind its own.

    The table has the columns path and label, and group if the data set has groups; paths are
    relative to its folder, or absolute. Rows without a label are passed over. Raises UserError for
    a table that cannot be used, and for classes that the data set does not have.
    """
    cases = _cases(file, source)
    found = find_files(file.parent, [case.path for case in cases])
    _refuse_unfound(cases, found.names, file)
    _refuse_repeated(cases, file)
    names = [name for name in found.names if name is not None]
    stamps = [found.files.stamps[name] for name in names]
    number = {label_of(known): index for index, known in enumerate(source.classes)}
    labels = [number[label_of(case.label)] for case in cases]
    listed = list(zip(found.paths, labels, stamps, strict=True))
    groups = [case.group for case in cases]
    return replace(
        source,
        paths=[*source.paths, *found.paths],
        labels=np.concatenate([source.labels, np.array(labels, dtype=np.int64)]),
        split=np.concatenate([source.split, np.full(len(cases), EXTRA)]),
        read=JoinedReader(source.read, found.files.reader(names), len(source)),
        listing=digest(EXTRA, source.listing, listed),
        group=None if source.group is None else np.concatenate([source.group, np.array(groups)]),
        sizes=None if source.sizes is None else [*source.sizes, *(stamp[0] for stamp in stamps)],
        subgroups={name: [*own, *[""] * len(cases)] for name, own in source.subgroups.items()},
        extra=len(cases),
    )


def _cases(file: Path, source: Source) -> list[Case]:
    """The labelled rows. Raises UserError."""
    cells = read_cells(file, "path", _KEY)
    path, label = (_place(name, cells, file) for name in ("path", "label"))
    group = None if source.group is None else _place("group", cells, file)
    rows = [(line, [cell.strip() for cell in row]) for line, row in cells.lines]
    cases = [
        Case(line, row[path], plain(row[label]), "" if group is None else row[group])
        for line, row in rows
        if not is_missing(row[label])
    ]
    if not cases:
        raise UserError(
            f"{_KEY}={file} has no label in any of its {len(rows)} rows; expected images with their"
            " classes. Try filling in the column label, and leaving it empty where nobody knows"
        )
    if unlabelled := len(rows) - len(cases):
        log.info("%s: %d rows without a label are passed over", file.name, unlabelled)
    _refuse_unknown(cases, source, file)
    return cases


def _place(name: str, cells: Cells, file: Path) -> int:
    found = [k for k, column in enumerate(cells.header) if same_name(column) == name]
    if len(found) == 1:
        return found[0]
    why = ", since the images of a group may not be in two splits" if name == "group" else ""
    raise UserError(
        f"{_KEY}={file} has the columns {', '.join(map(one_line, cells.header[:12]))}; expected one"
        f" called {name}{why}. Try a table with the columns path,label"
        f"{',group' * (name == 'group')}"
    )


def _refuse_unknown(cases: Sequence[Case], source: Source, file: Path) -> None:
    known = {label_of(label) for label in source.classes}
    names = ", ".join(map(as_text, source.classes[:_SHOWN_CLASSES]))
    more = ", ..." if len(source.classes) > _SHOWN_CLASSES else ""
    refuse(
        [
            f"line {case.line} has the label {case.label}"
            for case in cases
            if label_of(case.label) not in known
        ],
        file,
        f"the classes of the data set: {names}{more}",
        "correcting these labels, or leaving them empty",
        _KEY,
    )
    if source.group is not None:
        refuse(
            [f"line {case.line} has no group" for case in cases if is_missing(case.group)],
            file,
            "the group of every labelled image, since no group may be in two splits",
            "filling in their groups, or leaving their labels empty",
            _KEY,
        )


def _refuse_unfound(cases: Sequence[Case], names: Sequence[str | None], file: Path) -> None:
    refuse(
        [
            f"line {case.line}: {case.path}"
            for case, name in zip(cases, names, strict=True)
            if name is None
        ],
        file,
        f"images that are there, by paths from {file.parent}",
        "correcting the paths, or moving the images there",
        _KEY,
    )


def _refuse_repeated(cases: Sequence[Case], file: Path) -> None:
    """Each file is read once: a table that lists one a million times would fill the disk."""
    first: dict[str, Case] = {}
    refuse(
        [
            f"line {case.line}: {case.path} is in line {before.line} too"
            for case in cases
            if (before := first.setdefault(os.path.normpath(file.parent / case.path), case))
            is not case
        ],
        file,
        "each image once, with one label",
        "leaving out all lines of an image but one",
        _KEY,
    )


def admitted(
    assigned: Assignment, source: Source, digests: np.ndarray, unreadable: Sequence[int]
) -> tuple[Assignment, dict[str, int]]:
    """Add the extra images to the training split, but for those that would spoil the others.

    Left out are images with the pixels of another one of the data set, in whichever split it is,
    or of an earlier extra one, and images of a group of validation or test. Groups that share an
    image count as one, as in the splits. digests are (N,) of all images. Returns how many are
    `added`, and why others are left out. Raises UserError if none is added.
    """
    start = len(source) - source.extra
    extra = np.setdiff1d(np.arange(start, len(source)), unreadable)
    held_out = np.concatenate(
        [assigned.splits.get(split, extra[:0]) for split in ("val", "test")]
    ).astype(np.int64)
    first = first_copies(digests)
    first[unreadable] = unreadable  # they have no pixels in common
    copied = first[extra] != extra
    of_held_out = np.isin(first[extra], first[held_out])
    grouped = np.zeros(len(extra), dtype=bool)
    if source.group is not None:
        together = joined(source.group, first)
        grouped = np.isin(together[extra], together[held_out])
    joining = extra[~copied & ~grouped]
    facts = {
        "added": len(joining),
        "copies_of_val_or_test": int(of_held_out.sum()),
        "other_copies": int((copied & ~of_held_out).sum()),
        "groups_of_val_or_test": int((grouped & ~copied).sum()),
        "unreadable": source.extra - len(extra),
    }
    _report(facts, source, first[extra[copied]], extra[copied])
    splits = {**assigned.splits, "train": np.concatenate([assigned.splits["train"], joining])}
    found = Assignment.of(splits, source)
    return replace(found, partition_hash=assigned.partition_hash), facts


def _report(facts: dict[str, int], source: Source, first: np.ndarray, copies: np.ndarray) -> None:
    left = {what.replace("_", " "): n for what, n in facts.items() if what != "added" and n}
    told = "; left out: " + ", ".join(f"{what} {n}" for what, n in left.items()) if left else ""
    if not facts["added"]:
        raise UserError(
            f"{_KEY}: none of its {source.extra} labelled images is new{told}; expected images that"
            " are neither in the data set nor of its groups for validation and test. Try labelling"
            " other images"
        )
    log.info("%s: %d images join train%s", _KEY, facts["added"], told)
    if other := int((source.labels[first] != source.labels[copies]).sum()):
        log.warning(
            "%s: %d images that are left out as copies have another label than the image that"
            " stays, whose label counts",
            _KEY,
            other,
        )
