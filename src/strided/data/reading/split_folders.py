"""Tell folders of splits from folders of classes, or refuse where both readings are possible."""

import logging
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from strided.data.reading.files import as_text
from strided.data.reading.labels import spelling_key
from strided.data.reading.split_names import names_a_part, split_of
from strided.errors import UserError

log = logging.getLogger(__name__)

_SHOWN = 6  # names in a message

Names = Collection[str]
Inside = Mapping[str, Mapping[str, str]]  # names of each top's sub-folders by spelling_key


def split_folders(
    direct: Names,
    classes: Inside,
    class_level: int | None,
    root: Path,
    base: tuple[str, ...] = (),
) -> dict[str, str]:
    """The top folders that are splits, with the split each is; none if the tops are classes.

    direct: the tops that hold images themselves. classes: the sub-folders of each top that has any.
    base: the folders that enclose the tops.
    Raises UserError where there are two readings and class_level is None.
    """
    found = _named(classes)
    others = sorted({*direct, *classes} - set(found))
    if found:
        _check_splits(found, root)
    if class_level is None:
        if found:
            _refuse_splits_inside(found, classes, root, base)
            _check_others(found, others, classes, root)
        else:
            _check_without_splits(direct, classes, root, base)
            if classes:
                log.info(
                    "%s: all images inside %s belong to these classes (data.class_level=2 takes the"
                    " folders inside for classes)",
                    *(root.name, _list(classes)),
                )
    for top, split in found.items():
        if top != split:
            log.info("%s: %s/ is used as the %s split", root.name, top, split)
    return found


def _named(classes: Inside) -> dict[str, str]:
    """The tops whose names tell a split; `seg_test` only if it shares sub-folders with another."""
    told = {top: found for top in classes if (found := split_of(top))}
    shared = _shared({top: classes[top] for top in told})
    return {top: split for top, (split, rest) in told.items() if not rest or top in shared}


def _shared(classes: Mapping[str, Names]) -> set[str]:
    """The tops at least half of whose sub-folders are in another one too."""
    times = Counter(name for names in classes.values() for name in names)
    return {
        top
        for top, names in classes.items()
        if names and 2 * sum(times[name] > 1 for name in names) >= len(names)
    }


def _check_splits(found: Mapping[str, str], root: Path) -> None:
    split, times = Counter(found.values()).most_common(1)[0]
    if times == 1 and "train" in found.values():
        return
    problem = f"several folders for {split}" if times > 1 else "no train folder"
    raise UserError(
        f"data.root={root} has {_list(found)}: {problem}; expected train/ and, if there are any,"
        " one val/ and one test/, or only class folders. Try renaming the folders, or data="
        f"image_folder data.root={root} data.class_level=1 if they are classes"
    )


def _check_others(found: Mapping[str, str], others: Names, classes: Inside, root: Path) -> None:
    """Look at the folders beside those of splits: one more split, or all of them classes?"""
    flat = {top: told[0] for top in others if top not in classes and (told := split_of(top))}
    for top, split in flat.items():
        if split not in found.values():
            carved = split == "val" or "val" not in found.values()
            log.warning(
                "%s: %s/ has no class folders, so its images are not used: %s",
                *(root.name, as_text(top)),
                f"the {split} split comes from the training images" if carved else "no test is run",
            )
    unknown = [top for top in others if top not in flat]
    alike = _shared({top: classes[top] for top in (*found, *unknown) if top in classes})
    if more := [top for top in unknown if top in alike]:
        raise UserError(
            f"data.root={root} has {_list(more)} with the same sub-folders as {_list(found)};"
            " expected train/ and, if there are any, val/ and test/. Try renaming the folders, or"
            f" data=image_folder data.root={root} data.class_level=2 to leave {_list(more)} out"
        )
    if len(found) == 1 and unknown:
        raise _two_readings(f"{_list(found)} may be a split or a class", [*found, *unknown], root)


def _check_without_splits(
    direct: Names, classes: Inside, root: Path, base: tuple[str, ...]
) -> None:
    tops = {*direct, *classes}
    if not classes:
        _check_flat(tops, root)
        return
    _check_doubled(direct, classes, root)
    inside = sorted({name for names in classes.values() for name in names.values()})
    if len(tops) < 2 or direct:
        return
    if all(map(names_a_part, tops)):
        raise _two_readings("its folders are named as parts", tops, root, f" ({_list(inside)})")
    if len(_shared(classes)) < len(classes):
        return
    _refuse_splits_inside(classes, classes, root, base)
    raise _two_readings("its folders hold the same sub-folders", tops, root, f" ({_list(inside)})")


def _check_flat(tops: Names, root: Path) -> None:
    """Refuse splits, and numbered parts of a set, in which images lie without class folders."""
    if len(tops) > 1 and (all(map(split_of, tops)) or all(map(names_a_part, tops))):
        raise UserError(
            f"data.root={root} has images directly in {_list(tops)}; expected folders of classes"
            f" inside: {min(tops)}/cat/1.jpg. Try data=csv data.csv=<table> for labels in a"
            f" table, or data=image_folder data.root={root} data.class_level=1 if they are classes"
        )


def _check_doubled(direct: Names, classes: Inside, root: Path) -> None:
    """Refuse a top that holds the set once more: `cat/`, `dog/`, `pets/cat/`, `pets/dog/`."""
    tops = {*direct, *classes}
    for top in sorted(set(classes) - set(direct)):
        names = classes[top]
        if len(names) > 1 and set(names) <= set(map(spelling_key, tops - {top})):
            problem = f"the folders inside {top}/ are called as those beside it"
            raise _two_readings(problem, tops, root, f" {top}/ ({_list(names.values())})")


def _refuse_splits_inside(tops: Names, classes: Inside, root: Path, base: tuple[str, ...]) -> None:
    """UserError if all that is inside these folders seems to be splits: they are no classes."""
    inside = sorted({name for top in tops for name in classes[top].values()})
    if not all(map(split_of, inside)):
        return
    place = Path(root if root.is_dir() else "<the unzipped folder>", *base)
    anew = f"data.class_level=1 to split the images of {_list(tops)} anew, or "
    raise UserError(
        f"data.root={root} has {_list(inside)} inside {_list(tops)}; expected class"
        f" folders inside the splits: train/cat/1.jpg. Try data.root={place / min(tops)} if"
        " that is one data set of several, or moving the folders, or data=image_folder"
        f" data.root={root} {anew if len(tops) > 1 else ''}data.class_level=2 if the folders inside"
        " are the classes"
    )


def _two_readings(problem: str, tops: Names, root: Path, inside: str = "") -> UserError:
    return UserError(
        f"data.root={root} can be read in two ways: {problem}; expected class folders, or class"
        " folders inside train/, val/ and test/. Try data=image_folder"
        f" data.root={root} data.class_level=1 if the classes are {_list(tops)}, or"
        f" data.class_level=2 if they are the folders inside{inside}"
    )


def _list(names: Iterable[str]) -> str:
    shown = [f"{as_text(name)}/" for name in sorted(names)]
    return ", ".join(shown[:_SHOWN]) + (", ..." if shown[_SHOWN:] else "")
