"""A folder, or a zip read in place, with one sub-folder of images per class."""

import logging
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path, PurePosixPath

import numpy as np

from strided.data.reading.derived import derived_images
from strided.data.reading.few_classes import too_few_classes
from strided.data.reading.files import Files, all_files, as_text
from strided.data.reading.labels import Labels, label_of, spellings
from strided.data.reading.layout import ClassLevel, Folders, Layout, Parts, find_layout
from strided.data.reading.leavings import is_hidden
from strided.data.reading.pictures import Contents, by_ending, contents_of, counted
from strided.data.reading.signatures import FORMAT_NAMES
from strided.data.reading.split_names import split_of
from strided.data.source import Source, digest
from strided.errors import UserError

log = logging.getLogger(__name__)

# for each (split, class), each image's path from the split's folder and from the root
Placed = dict[tuple[str, str], dict[str, str]]

_SHOWN = 8  # folders in a message


def folder_source(
    root: Path,
    *,
    class_level: ClassLevel | None = None,
    labels: Labels | None = None,
    skip: bool = False,
    known: Sequence[str] | None = None,
) -> Source:
    """List `<root>[/<enclosing folder>][/train, val, test]/<class>/**/<image>`.

    class_level tells where the class folders are, labels what to do with two spellings of a class.
    With `skip`, class folders without images are left out rather than refused. `known` are the
    classes of a trained network that is to be measured: one of them is enough, and a test/ alone.
    """
    listed = all_files(root)
    contents = contents_of(listed)
    folders = _folders(listed, contents)
    layout = find_layout(folders, class_level, root)
    if known is not None and class_level is None:
        layout = _to_measure(layout, set(map(label_of, known)))
    elif layout.base and split_of(layout.base[-1]) and list(layout.parents) == [layout.base]:
        log.warning("%s/ is the only folder: its images are split anew", "/".join(layout.base))
    left_out = _without_images(layout, folders, listed.closed, contents.others)
    _leave_out(left_out, root, skip, closed=bool(listed.closed))
    _refuse_aliases(layout, listed.links, root)
    placed, strays = _place(contents.images, layout)
    tops = {folder for folder in contents.images if _is_class(folder, layout)}
    if derived := sorted({*derived_images(contents.images, tops)} - {*strays}):
        log.warning(
            "%s: %d images seem to be masks or small copies of others, and are used like those:"
            " %s. Move them out of the class folders if they are no data",
            *(root.name, len(derived), _some(derived, 3)),
        )
    placed = _spelled(placed, labels, root)
    classes = _agreed_classes(placed, root, strays, contents.others, known)
    if strays:
        log.warning(
            "%s: %d images lie outside the class folders: ignored (%s)",
            *(root.name, len(strays), _some(strays, 3)),
        )
    sizes = [len(files) for files in placed.values()]
    names = [member for files in placed.values() for member in files.values()]
    return Source(
        classes=classes,
        paths=[path for files in placed.values() for path in files],
        labels=np.repeat([classes.index(label) for _, label in placed], sizes).astype(np.int64),
        split=np.repeat([split for split, _ in placed], sizes),
        read=listed.reader(names),
        listing=digest("folder", names, [listed.stamps[name] for name in names]),
        ignored=by_ending(chain(contents.others, strays), len(listed.special)),
        left_out=left_out,
        sizes=[listed.stamps[name][0] for name in names],
    )


def _folders(listed: Files, contents: Contents) -> Folders:
    def parts(folders: Iterable[str]) -> set[Parts]:
        return {PurePosixPath(folder).parts for folder in folders}

    others = parts({name[: name.rfind("/") + 1] for name in contents.others})
    images = parts(contents.images)
    empty = {folder for folder in parts(listed.folders) if not is_hidden(folder)}
    used = {folder[:length] for folder in images | others for length in range(1, len(folder) + 1)}
    return Folders(empty | used, images, others)


def _without_images(
    layout: Layout, folders: Folders, closed: Mapping[str, str], others: Sequence[str]
) -> dict[str, str]:
    """The folders of a class or split without any image, and those that stay closed, and why."""
    used = {parts[:length] for parts in folders.images for length in range(len(parts) + 1)}
    classes = {parts for parts in folders.all if parts and parts[:-1] in layout.parents}
    found = {"/".join(parts) + "/": "" for parts in sorted({*layout.barren, *classes} - used)}
    inside: dict[str, list[str]] = {name: [] for name in found}
    for name in others if found else ():
        for folder in {name[: at + 1] for at, mark in enumerate(name) if mark == "/"} & set(found):
            inside[folder].append(name)
    for name in found:
        found[name] = counted(by_ending(inside[name])) or "empty, or only hidden files"
    return found | dict(sorted(closed.items()))


def _leave_out(found: Mapping[str, str], root: Path, skip: bool, closed: bool) -> None:
    """Warn of folders without images, or refuse them."""
    if found and skip:
        log.warning("%s: left out, as no image in them can be read: %s", root.name, _some(found))
    elif found:
        lines = [f"  {as_text(name)}: {reason}" for name, reason in list(found.items())[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(f"  and {len(found) - _SHOWN} more")
        rights = ", or the right to open them (chmod -R u+rX)" if closed else ""
        raise UserError(
            f"data.root={root} has folders without an image that can be read ({len(found)});"
            f" expected {FORMAT_NAMES} in each class folder:\n"
            + "\n".join(lines)
            + f"\nTry giving them images{rights}, removing them, or data.on_error=skip to leave"
            " them out"
        )


def _refuse_aliases(layout: Layout, links: Mapping[str, str], root: Path) -> None:
    """UserError if a class folder is a link to another one: its images would have two labels."""
    for name, target in links.items():
        parts = PurePosixPath(name).parts
        beside = os.path.realpath(os.path.join(root, *parts[:-1]))
        if parts[:-1] in layout.parents and os.path.dirname(target) == beside:
            raise UserError(
                f"data.root={root} has {as_text(name)}, a link to"
                f" {as_text(os.path.basename(target))}/ beside it; expected each image in one"
                " class. Try removing the link"
            )


def _place(images: Mapping[str, list[str]], layout: Layout) -> tuple[Placed, list[str]]:
    """Find split and class of each image by its folder. And the images outside of all."""
    depths = sorted({len(parent) for parent in layout.parents}, reverse=True)
    placed: Placed = defaultdict(dict)
    strays: list[str] = []
    for folder, names in images.items():
        parts = PurePosixPath(folder).parts
        depth = next((n for n in depths if len(parts) > n and parts[:n] in layout.parents), None)
        if depth is None:
            strays += (folder + name for name in names)
            continue
        split = layout.parents[parts[:depth]]
        path = "/".join(parts[depth if split else len(layout.base) :])
        placed[split, parts[depth]].update({f"{path}/{name}": folder + name for name in names})
    return placed, sorted(strays)


def _is_class(folder: str, layout: Layout) -> bool:
    return PurePosixPath(folder).parts[:-1] in layout.parents


def _spelled(placed: Placed, labels: Labels | None, root: Path) -> Placed:
    """Give each class one name, composed (NFC) and without blanks around."""
    beside: dict[tuple[str, str], list[str]] = defaultdict(list)
    counts: Counter[str] = Counter()
    for (split, raw), files in placed.items():
        beside[split, label_of(raw)].append(raw)
        counts[label_of(raw)] += len(files)
    alike = [] if labels == "keep" else spellings(counts)
    if labels != "merge":
        _refuse_spellings(alike, [raws for raws in beside.values() if len(raws) > 1], root)
    for group in alike:
        log.info("%s: %s are one class, %s", root.name, ", ".join(group), group[0])
    name_of = {label: group[0] for group in alike for label in group}
    spelled: Placed = {}
    for (split, raw), files in placed.items():
        key = split, name_of.get(label_of(raw), label_of(raw))
        spelled[key] = spelled[key] | files if key in spelled else files
    return {key: _composed(spelled[key]) for key in sorted(spelled)}


def _refuse_spellings(alike: list[list[str]], twins: list[list[str]], root: Path) -> None:
    shown = [" and ".join(f"{as_text(label)}/" for label in group) for group in alike]
    shown += [" and ".join(map(ascii, sorted(raws))) for raws in twins]  # these look the same
    if shown:
        keep = " data.labels=keep if case or zeros tell classes apart," if alike else ""
        raise UserError(
            f"data.root={root} has class folders that differ only in spelling: {_some(shown)};"
            " expected one name for each class. Try data.labels=merge if they are one class,"
            f"{keep} or renaming them"
        )


def _composed(files: dict[str, str]) -> dict[str, str]:
    """Sorted, and named in NFC as in any table, but not where two files would get one name."""
    if not all(map(str.isascii, files)):
        names = {path: unicodedata.normalize("NFC", path) for path in files}
        times = Counter(names.values())
        files = {names[p] if times[names[p]] == 1 else p: member for p, member in files.items()}
    return dict(sorted(files.items()))


def _to_measure(layout: Layout, known: Collection[str]) -> Layout:
    """Read an enclosing folder as the only class, or as the only split, if its name says so."""
    base = layout.base
    if list(layout.parents) != [base]:
        return layout
    if base and label_of(base[-1]) in known:
        base = base[:-1]
    split, rest = (base and split_of(base[-1])) or ("", "")
    return Layout(base, {base: "" if rest else split}, layout.barren)


def _agreed_classes(
    placed: Placed,
    root: Path,
    strays: Sequence[str],
    others: Sequence[str],
    known: Sequence[str] | None,
) -> list[str]:
    of_training = {"train", ""}
    classes = sorted({label for split, label in placed if known or split in of_training})
    if len(classes) < (1 if known else 2):
        raise too_few_classes(classes, root, strays, others)
    for split, label in placed:
        if label not in classes:
            raise UserError(
                f"data.root={root} has class {as_text(label)} in {split} but not in train;"
                f" expected the classes of train: {_some(classes, 10)}."
                f" Try adding train/{as_text(label)}/ or removing it from {split}"
            )
    return classes


def _some(names: Iterable[str], most: int = _SHOWN) -> str:
    names = list(names)
    return ", ".join(map(as_text, names[:most])) + (", ..." if names[most:] else "")
