"""cases.csv: what a person shall look at first, and label; `data.extra` takes it back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from strided.config.keys import Config
from strided.data import ImageDataModule
from strided.data.reading.decoding import as_image
from strided.runs.csv_files import write_csv
from strided.runs.folder import RunFolder
from strided.runs.predictions_csv import Row

_LABELLED = ("urgent", "review")  # routes whose cases a person decides: a refused one is no case
_COLUMNS = ("path", "route", "reasons", "predicted", "confidence", "label")


@dataclass(frozen=True)
class Pictures:
    """The images behind rows, in their order: paths that others find, and how to read one."""

    paths: Sequence[str]
    read: Callable[[int], Image.Image]


def of_split(data: ImageDataModule, split: str) -> Pictures:
    """The readable images of a split."""
    indices = data.readable(split)
    return Pictures(data.paths(split), lambda place: data.source.read(int(indices[place])))


def of_files(files: Sequence[Path]) -> Pictures:
    """Files, which are named from the root: a table elsewhere may list them."""
    return Pictures([str(file.absolute()) for file in files], lambda place: as_image(files[place]))


def write_cases(
    folder: Path, config: Config, rows: Sequence[Row], classes: Sequence[str], pictures: Pictures
) -> None:
    """Write cases.csv if there is a policy: urgent cases first, then the least certain.

    `label` is empty, to be filled in. With triage.copies, the first pictures are copied as
    cases/0001.png, and `path` names the copy; `source` has the path that it was read from.
    """
    if all(row.route in ("", "refused") for row in rows):
        return
    cases = [
        (row.route != "urgent", max(row.probabilities), place)
        for place, row in enumerate(rows)
        if row.route in _LABELLED and row.probabilities is not None
    ]
    copies = (config.get("triage") or {}).get("copies") or 0
    file, lines = RunFolder(folder).cases, []
    for number, (_, confidence, place) in enumerate(sorted(cases), start=1):
        row, path = rows[place], pictures.paths[place]
        if number <= copies:
            name = f"{number:04d}.png"
            (folder / file.stem).mkdir(exist_ok=True)
            pictures.read(place).save(folder / file.stem / name)
            path = f"{file.stem}/{name}"
        best = max(range(len(classes)), key=(row.probabilities or ()).__getitem__)
        line = [path, row.route, row.reasons, classes[best], f"{confidence:.6f}", ""]
        lines.append([*line, *[pictures.paths[place]] * bool(copies)])
    write_csv(file, [*_COLUMNS, *["source"] * bool(copies)], lines)
