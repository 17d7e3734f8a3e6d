"""Why a folder or zip holds no two classes, and what helps."""

from collections.abc import Sequence
from pathlib import Path

from strided.data.reading.files import as_text
from strided.data.reading.pictures import by_ending, counted
from strided.data.reading.signatures import ARCHIVE_SUFFIXES, FORMAT_NAMES, ending
from strided.errors import UserError

_SHOWN = 3  # names in a message


def too_few_classes(
    classes: Sequence[str], root: Path, strays: Sequence[str], others: Sequence[str]
) -> UserError:
    """The error for a folder or zip `root`: where its images or archives lie instead.

    strays: images outside of class folders; others: all files that are no images.
    """
    problem = f"only one class, {as_text(classes[0])}" if classes else "no images in class folders"
    advice = "data.root=<the folder above the class folders>"
    packed = sorted(name for name in others if ending(name) in ARCHIVE_SUFFIXES)
    if strays:
        problem += f", but {len(strays)} outside of them ({_some(strays)})"
        advice = "moving them into class folders, or data=csv data.csv=<table of paths and labels>"
    elif others:
        problem += f" ({counted(by_ending(others))})"
    if packed and not strays and not classes:
        advice = f"unpacking {_some(packed)} into one folder, and data.root=<that folder>"
        if root.is_dir() and len(packed) == 1 and ending(packed[0]) == ".zip":
            advice = f"data.root={root / packed[0]}"
    return UserError(
        f"data.root={root} holds {problem}; expected two or more folders of images"
        f" ({FORMAT_NAMES}), one per class: cat/1.jpg, dog/1.jpg. Try {advice}"
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(map(as_text, names[:_SHOWN])) + (", ..." if names[_SHOWN:] else "")
