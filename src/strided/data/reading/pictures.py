"""The pictures among files, by ending or content, and the other files counted by ending."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath

from strided.data.reading.files import Files, as_text
from strided.data.reading.leavings import is_hidden, is_leaving
from strided.data.reading.signatures import IMAGE_SUFFIXES, ending, is_known_other, is_picture

NO_ENDING = "no ending"
NO_FILE = "pipe, socket or device"

_MOST_ENDINGS = 20


@dataclass(frozen=True)
class Contents:
    """images: names of pictures for each folder, whose name ends in /; others: all other files.

    What machines leave behind is in neither.
    """

    images: dict[str, list[str]]
    others: list[str]


def contents_of(listed: Files) -> Contents:
    """Sort files by their ending; those of an unknown ending are opened to look at them."""
    images: dict[str, list[str]] = {}
    others: list[str] = []
    for folder, names in _visible(listed.stamps).items():
        # sets can have many files: calling a function for each would take three times as long
        found = [name for name in names if name[name.rfind(".") :].lower() in IMAGE_SUFFIXES]
        if len(found) < len(names):
            known = set(found)
            for name in names:
                if name in known or is_leaving(name):
                    continue
                if is_image(name, partial(listed.head, folder + name)):
                    found.append(name)
                else:
                    others.append(folder + name)
        if found:
            images[folder] = found
    return Contents(images, others)


def is_image(name: str, head: Callable[[], bytes | None]) -> bool:
    """Whether a file is taken for an image: by its ending, else by its first bytes.

    One that cannot be opened may be an image: reading it will tell the reason.
    """
    suffix = ending(name)
    if suffix in IMAGE_SUFFIXES or is_known_other(suffix):
        return suffix in IMAGE_SUFFIXES
    start = head()
    return start is None or is_picture(start)


def _visible(names: Iterable[str]) -> dict[str, list[str]]:
    """The files of each folder, whose name ends in /, without hidden ones."""
    folders: dict[str, list[str]] = defaultdict(list)
    for name in names:
        end = name.rfind("/") + 1
        if name[end : end + 1] != ".":
            folders[name[:end]].append(name[end:])
    return {f: files for f, files in folders.items() if not is_hidden(PurePosixPath(f).parts)}


def by_ending(names: Iterable[str], special: int = 0) -> dict[str, int]:
    """Count files by ending, the most frequent first; `special` of them are no files."""
    counts = Counter(ending(name) or NO_ENDING for name in names)
    if special:
        counts[NO_FILE] = special
    ordered = dict(counts.most_common(_MOST_ENDINGS))
    rest = counts.total() - sum(ordered.values())
    return ordered | ({"other endings": rest} if rest else {})


def counted(endings: Mapping[str, int]) -> str:
    """Return `20 .jp2, 3 .txt`."""
    return ", ".join(f"{count} {as_text(suffix)}" for suffix, count in endings.items())
