"""Checks of the images: grey or coloured, unreadable files, the same pixels in two splits."""

import logging

import numpy as np

from strided.data.pixels.copies import first_copies
from strided.data.reading.decoding import ImageError
from strided.data.source import Source
from strided.data.splits import Splits
from strided.errors import UserError, one_line

log = logging.getLogger(__name__)

Duplicates = list[tuple[str, str, str, str]]

_SAMPLED = 32  # images read to tell a grey data set from a coloured one
_SHOWN_FILES = 8
_SHOWN_PAIRS = 3


class BrokenImagesError(UserError):
    """Some images cannot be read; files holds all of them as (path, reason)."""

    def __init__(self, message: str, files: list[tuple[str, str]]) -> None:
        super().__init__(message)
        self.files = files


def channels_of(source: Source) -> int:
    """Return 3 if any of a few images from all over the source has colour, else 1."""
    for index in np.unique(np.linspace(0, len(source) - 1, _SAMPLED).astype(int)).tolist():
        try:
            if source.read(index).mode == "RGB":
                return 3
        except ImageError:
            continue  # listed with all others once the store is built
    log.info("the images are grey: data.channels=1 (data.channels=3 reads them as colour)")
    return 1


def named(source: Source, errors: dict[int, str]) -> list[tuple[str, str]]:
    """(path with its split, reason) of the images that cannot be read."""
    return [
        ("/".join(filter(None, [source.split[index], source.paths[index]])), reason)
        for index, reason in sorted(errors.items())
    ]


def refuse_broken(broken: list[tuple[str, str]], among: str) -> None:
    """Raise BrokenImagesError with the first few (path, reason)."""
    lines = [f"  {one_line(path)}: {one_line(reason)}" for path, reason in broken[:_SHOWN_FILES]]
    if len(broken) > _SHOWN_FILES:
        lines.append(f"  and {len(broken) - _SHOWN_FILES} more")
    raise BrokenImagesError(
        f"{len(broken)} of {among} cannot be read; expected whole images:\n"
        + "\n".join(lines)
        + "\nTry replacing or removing them, or data.on_error=skip to train without them",
        broken,
    )


def duplicates_across(source: Source, digests: np.ndarray, splits: Splits) -> Duplicates:
    """(path, split, path, split) of images with the same pixels in two splits; logs a warning.

    digests are uint64 (N,), of each image of the source.
    """
    first = first_copies(digests)
    copied = np.isin(np.arange(len(first)), first[first != np.arange(len(first))])[first]
    first_seen: dict[int, tuple[int, str]] = {}
    pairs = []
    same_class = 0
    for split, indices in splits.items():
        for index in indices[copied[indices]].tolist():  # usually few
            twin, twin_split = first_seen.setdefault(int(first[index]), (index, split))
            if twin_split != split:
                pairs.append((source.paths[twin], twin_split, source.paths[index], split))
                same_class += int(source.labels[twin] == source.labels[index])
    if pairs:
        shown = "; ".join(f"{b}/{a} = {d}/{c}" for a, b, c, d in pairs[:_SHOWN_PAIRS])
        log.warning(
            "%d images have the pixels of one in another split (%d of the same class): %s%s",
            len(pairs),
            same_class,
            shown,
            "; ..." if len(pairs) > _SHOWN_PAIRS else "",
        )
    return pairs
