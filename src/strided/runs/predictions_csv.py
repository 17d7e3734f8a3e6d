"""predictions.csv: a row per image, written by predict, eval and train, and read by compare."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np

from strided.errors import UserError
from strided.runs.csv_files import read_csv, write_csv

REFUSED = "refused"  # the route of what is no such image
SEPARATOR = "|"  # of the classes of a prediction set
_PROBABILITY, _SUBGROUP = "prob/", "subgroup/"  # beginnings of columns


@dataclass(frozen=True)
class Row:
    """A line of predictions.csv; `probabilities` is None for an unreadable image.

    digest, if it was taken, is of the image's pixels, and is not written. group is the number of
    the image's group in its table, subgroups has the value of each of `data.subgroup_columns`.

    The rest is what a Decision says: the names of the prediction set, the entropy (nats), the score
    of another kind of image, the route and its reasons. A refused image has probabilities, which
    are not written.
    """

    path: str
    label: str = ""
    error: str = ""
    probabilities: Sequence[float] | None = None
    digest: int | None = None
    group: str = ""
    subgroups: Mapping[str, str] = field(default_factory=dict)
    prediction_set: Sequence[str] | None = None
    entropy: float | None = None
    ood: float | None = None
    route: str = ""
    reasons: str = ""

    @property
    def refused(self) -> bool:
        """Whether it has no answer, as it is no such image."""
        return self.route == REFUSED


def write_predictions(file: Path, rows: Iterable[Row], classes: Sequence[str]) -> None:
    """Write predictions.csv: path, label, predicted, error, and prob/<class> of each class.

    The columns prediction_set, entropy, ood, route, reasons, group and subgroup/<column> follow,
    each if any row has it. A refused image has neither a class nor probabilities.
    """
    rows = list(rows)
    further = _further(rows)
    columns = ["path", "label", "predicted", "error", *(f"{_PROBABILITY}{c}" for c in classes)]
    write_csv(
        file,
        [*columns, *further],
        ([*_values(row, classes), *(cell(row) for cell in further.values())] for row in rows),
    )


def _further(rows: Sequence[Row]) -> dict[str, Callable[[Row], str]]:
    """The columns after the probabilities that some row has, each with its text of a row."""
    columns: dict[str, Callable[[Row], str]] = {
        "prediction_set": lambda row: SEPARATOR.join(row.prediction_set or ()),
        "entropy": lambda row: "" if row.entropy is None else f"{row.entropy:.6f}",
        "ood": lambda row: "" if row.ood is None else f"{row.ood:.6g}",
        "route": lambda row: row.route,
        "reasons": lambda row: row.reasons,
        "group": lambda row: row.group,
    }
    empty = ("", None)
    found = {
        name: text
        for name, text in columns.items()
        if any(getattr(row, name) not in empty for row in rows)
    }
    for name in dict.fromkeys(name for row in rows for name in row.subgroups):
        found[f"{_SUBGROUP}{name}"] = partial(_subgroup, name)
    return found


def _subgroup(name: str, row: Row) -> str:
    return row.subgroups.get(name, "")


def _values(row: Row, classes: Sequence[str]) -> list[str]:
    if row.probabilities is None or row.refused:
        return [row.path, row.label, "", row.error, *("" for _ in classes)]
    best = max(range(len(classes)), key=row.probabilities.__getitem__)
    shown = [f"{p:.6f}" for p in row.probabilities]
    return [row.path, row.label, classes[best], "", *shown]


@dataclass(frozen=True)
class Suspect:
    """An image whose label may be wrong: the class that was predicted in its place, and how surely.

    pool is of the runs that predicted it, if there are several.
    """

    path: str
    label: str
    predicted: str
    probability: float
    pool: str = ""


def suspects(
    rows: Iterable[tuple[str, str, Sequence[float]]], classes: Sequence[str], pool: str = ""
) -> list[Suspect]:
    """The errors among images of a path, a label and probabilities, the surest first."""
    found = []
    for path, label, probabilities in rows:
        best = max(range(len(classes)), key=probabilities.__getitem__)
        if classes[best] != label:
            found.append(Suspect(path, label, classes[best], float(probabilities[best]), pool))
    return sorted(found, key=lambda suspect: -suspect.probability)


def write_suspects(file: Path, found: Sequence[Suspect]) -> None:
    """Write label_suspects.csv: path, label, predicted, probability; and pool, if any has one."""
    columns = ["path", "label", "predicted", "probability"]
    pooled = any(own.pool for own in found)
    rows = [[own.path, own.label, own.predicted, f"{own.probability:.6f}"] for own in found]
    if pooled:
        rows = [[*row, own.pool] for row, own in zip(rows, found, strict=True)]
    write_csv(file, [*columns, *["pool"] * pooled], rows)


@dataclass(frozen=True)
class Predictions:
    """N readable images: `probabilities` (N, K); paths, labels and predicted names.

    groups (N,), if they are known, name what belongs together; subgroups has values (N,) by column.
    sets bool (N, K), if there are some, says which classes each prediction set holds.
    """

    paths: list[str]
    labels: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray
    classes: list[str]
    groups: np.ndarray | None = None
    subgroups: dict[str, np.ndarray] = field(default_factory=dict)
    sets: np.ndarray | None = None

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read predictions.csv in the order of its paths. Raises UserError if it is damaged."""
        try:
            head, rows = read_csv(file)
            if any(len(row) != len(head) for row in rows):
                raise ValueError("a line has more or fewer cells than the header")
            rows = sorted(row for row in rows if not row[3] and row[2])  # not the refused ones
            names = [n.removeprefix(_PROBABILITY) for n in head[4:] if n.startswith(_PROBABILITY)]
            end = 4 + len(names)
            numbers = np.array([[float(p) for p in row[4:end]] for row in rows])
            numbers = numbers.reshape(len(rows), len(names))
            _require_probabilities(names, {row[1] for row in rows}, numbers)
            further = {head[k]: np.array([row[k] for row in rows]) for k in range(end, len(head))}
            sets = _sets(further.get("prediction_set"), names)
        except (ValueError, IndexError, csv.Error) as error:
            raise UserError(
                f"{file} cannot be read: {error}; expected it as the run has written it. Try "
                "python src/eval.py checkpoint=<the run>, and that folder instead"
            ) from error
        paths, labels, predicted = (np.array([row[i] for row in rows]) for i in range(3))
        subgroups = {
            name.removeprefix(_SUBGROUP): values
            for name, values in further.items()
            if name.startswith(_SUBGROUP)
        }
        return cls(
            paths.tolist(), labels, predicted, numbers, names, further.get("group"), subgroups, sets
        )

    @property
    def correct(self) -> np.ndarray:
        """Whether each image was predicted as its label."""
        return self.predicted == self.labels

    def negative_log_likelihoods(self) -> np.ndarray:
        """One value for each image (N,), as in metrics.py; the file has six decimals."""
        places = np.array([self.classes.index(label) for label in self.labels], dtype=int)
        return -np.log(self.probabilities[np.arange(len(places)), places].clip(1e-12))


def _sets(cells: np.ndarray | None, classes: Sequence[str]) -> np.ndarray | None:
    """Which classes (N, K) these cells name; None without them. Raises ValueError for others."""
    if cells is None or any(SEPARATOR in name for name in classes):
        return None
    place = {name: number for number, name in enumerate(classes)}
    sets = np.zeros((len(cells), len(classes)), dtype=bool)
    for row, cell in enumerate(cells.tolist()):
        for name in cell.split(SEPARATOR) if cell else ():
            if name not in place:
                raise ValueError(f"a prediction set holds {name}, which is no class")
            sets[row, place[name]] = True
    return sets


def _require_probabilities(classes: list[str], labels: set[str], numbers: np.ndarray) -> None:
    """Raise ValueError for a table that no run writes; NaN is what a diverged network gives."""
    if not classes or len(set(classes)) < len(classes):
        raise ValueError("it has no column, or two, for a class")
    if unknown := sorted(labels - set(classes)):
        raise ValueError(f"it has no column prob/{unknown[0]}, but that label")
    if (numbers < 0).any() or (numbers > 1).any():
        raise ValueError("it holds probabilities outside of 0 to 1")
