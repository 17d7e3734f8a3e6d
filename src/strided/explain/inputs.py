"""The pictures to explain: files or an address, as the network sees them, and their names."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np

from strided.data.preprocessing import Preprocessing
from strided.data.reading.decoding import decode
from strided.data.reading.web import download, is_address, require_web
from strided.evaluation.predict_files import find_images

_RESERVED = re.compile(r"con|prn|aux|nul|(com|lpt)[0-9]", re.IGNORECASE)  # of Windows
_LONGEST = 48  # letters of a name, which is part of a path


@dataclass(frozen=True)
class Source:
    """A file or an address as shown to the user, and a `name` that suits a folder."""

    path: str
    name: str
    file: Path | None


def sources(given: str, most: int) -> tuple[list[Source], int]:
    """The first `most` pictures that the input names, and the number of all.

    Raises UserError if there is none.
    """
    if is_address(given):
        require_web(given)
        stem = Path(unquote(urlsplit(given).path)).stem
        return [Source(given, safe_names([stem])[0], None)], 1
    files, folder, *_ = find_images(given)
    paths = [file.relative_to(folder).as_posix() if folder else str(file) for file in files[:most]]
    names = safe_names(file.stem for file in files[:most])
    named = zip(paths, names, files[:most], strict=True)
    return [Source(path, name, file) for path, name, file in named], len(files)


def pixels_of(source: Source, preprocessing: Preprocessing) -> np.ndarray:
    """uint8 (C, S, S), as for predict. Raises UserError if it cannot be downloaded or read."""
    return preprocessing.pixels(decode(source.file or download(source.path)))


def safe_names(texts: Iterable[str]) -> list[str]:
    """Distinct names for files and folders on any system: letters, digits, - and _ only."""
    found: list[str] = []
    taken: set[str] = set()
    for text in texts:
        base = re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:_LONGEST].strip("_") or "image"
        if _RESERVED.fullmatch(base):
            base += "_"
        name = base
        number = 1
        while name.lower() in taken:  # Windows and macOS do not tell A from a
            number += 1
            name = f"{base}_{number}"
        taken.add(name.lower())
        found.append(name)
    return found
