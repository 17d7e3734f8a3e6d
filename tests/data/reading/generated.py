"""Random folders of images as people have them: how they were made, and what befell them."""

import io
import os
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import strategies as st
from PIL import Image

LEFT_FOLDERS = (
    *("@eaDir", "#recycle", "@Recycle", "$RECYCLE.BIN", "System Volume Information"),
    *("lost+found", "__pycache__", "__MACOSX", ".ipynb_checkpoints", ".Trash-1000"),
)
LEFT_FILES = ("Thumbs.db", "desktop.ini", ".DS_Store", "._1.jpg", "Icon\r", ".nfs0001")
SPLITS = (
    *("train", "Training", "01_train", "train_set", "TRAIN ", "trainval", "seg_train"),
    *("test", "Testing", "test_images", "holdout", "eval", "seg_test"),
    *("val", "validation", "dev", "valid_set", "fold1", "fold2"),
)
CLASSES = (
    *("cat", "dog", "Cat", "cat ", "1", "01", "caf\u00e9", "cafe\u0301", "big cat", "big  cat"),
    *("a|b", "a", "nan", "[x]", "train", "test", "back\\slash", "\udce9t\udce9", "hedgehog"),
)
ENDINGS = (
    *(".jpg", ".JPG", ".jpeg", ".jfif", ".png", ".gif", ".ppm", ".bmp", ".webp", ".tif", ".heic"),
    *("", ".", ".xyz", ".0001", ".txt", ".csv", ".bak", ".jpg~", ".png ", ".PNG.1"),
)
ODD = "aA1\u00e9\u0301\u00df\udcff ()[]\\.,;'\"~-%&#$\u3042"


def _pictures() -> Iterator[bytes]:
    for grey, kind in enumerate(("JPEG", "PNG", "GIF", "PPM", "BMP", "WEBP", "TIFF") * 4):
        target = io.BytesIO()
        Image.new("L", (4, 4), 9 * grey).save(target, kind)
        yield target.getvalue()


PICTURES = tuple(_pictures())
CONTENTS = (*PICTURES, PICTURES[0][:50], PICTURES[1][:40], b"", b"some text\n" * 9, b"\0" * 99)


@dataclass
class Tree:
    """Files by their path, empty folders, links with their targets, and pipes."""

    files: dict[str, bytes] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    links: dict[str, str | None] = field(default_factory=dict)  # None: leads nowhere
    pipes: set[str] = field(default_factory=set)

    def holders(self) -> list[str]:
        """The folders that hold anything: "", or names that end in /."""
        found = {""}
        for path in (*self.files, *self.folders, *self.links, *self.pipes):
            found |= {path[: at + 1] for at, mark in enumerate(path) if mark == "/"}
        return sorted(found)

    def is_free(self, path: str) -> bool:
        """Whether something can be made there: it is no file or folder, nor inside a file."""
        taken = {*self.files, *self.links, *self.pipes, *self.folders}
        above = {path[:at] for at, mark in enumerate(path) if mark == "/"}
        used = taken | {folder[:-1] for folder in self.holders()}
        return path not in used and not above & taken - self.folders

    def seen(self) -> dict[str, bytes | None]:
        """All files, those in linked folders too; None for a pipe and a link that leads nowhere."""
        found: dict[str, bytes | None] = {**self.files, **dict.fromkeys(self.pipes)}
        for link, target in self.links.items():
            if target is None or target in self.files:
                found[link] = None if target is None else self.files[target]
        for link, target in self.links.items():
            if target and target.endswith("/") and not link.startswith(target):
                inside = [(path, found[path]) for path in found if path.startswith(target)]
                found.update((f"{link}/{path[len(target) :]}", held) for path, held in inside)
        return found

    def data(self) -> dict[str, bytes | None]:
        """The files that the user made."""
        return {path: held for path, held in self.seen().items() if not is_left(path)}

    def write(self, root: Path) -> Path:
        """Make all of it."""
        for path in (*self.files, *self.folders, *self.links, *self.pipes):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
        for path in self.folders:
            (root / path).mkdir(parents=True, exist_ok=True)
        for path, content in self.files.items():
            (root / path).write_bytes(content)
        for path, target in self.links.items():
            (root / path).symlink_to("/nowhere/1.png" if target is None else root / target)
        for path in self.pipes:
            os.mkfifo(root / path)
        return root


_LEFT = {name.lower() for name in (*LEFT_FOLDERS, *LEFT_FILES)}


def is_left(path: str) -> bool:
    """Whether a machine left it there."""
    return any(part.startswith(".") or part.lower() in _LEFT for part in path.split("/"))


def is_text(path: str) -> bool:
    """Whether a name is valid text, in any encoding."""
    return not any("\ud800" <= mark <= "\udfff" for mark in path)


_words = st.text(ODD, min_size=1, max_size=5).filter(lambda text: text not in (".", ".."))
_class_names = st.one_of(st.sampled_from(CLASSES[:2]), st.sampled_from(CLASSES), _words)
_file_names = st.builds(
    str.__add__, st.one_of(st.integers(1, 9).map(str), _words), st.sampled_from(ENDINGS)
).filter(lambda text: text not in (".", ".."))
_few_files = st.dictionaries(_file_names, st.sampled_from(CONTENTS), max_size=3)
_some_files = st.dictionaries(
    st.integers(1, 9).map("{}.png".format), st.sampled_from(PICTURES), min_size=1, max_size=2
)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Class folders, mostly in splits or not, as somebody made them; then what befell them."""
    tree = Tree()
    top = draw(st.sampled_from(("", "", "", "pets/", "train/", "data set/images/")))
    splits = draw(
        st.one_of(
            st.just([""]),
            st.just(["train", "test"]),
            st.lists(st.sampled_from(SPLITS), min_size=1, max_size=3, unique=True),
        )
    )
    classes = draw(st.lists(_class_names, min_size=1, max_size=3, unique=True))
    inside = [f"{split}/{name}/" if split else f"{name}/" for split in splits for name in classes]
    for folder in (top + place for place in inside):
        files = draw(st.one_of(_some_files, _some_files, _few_files))
        deeper = draw(st.sampled_from(("", "", "", "deep/", "a/b/")))
        for name, content in files.items():
            _add(tree, f"{folder}{deeper}{name}", content)
    for _ in range(draw(st.integers(0, 4))):
        draw(st.sampled_from(_ACCIDENTS))(draw, tree)
    return tree


def _add(tree: Tree, path: str, content: bytes) -> None:
    if tree.is_free(path):
        tree.files[path] = content


def _place(draw: st.DrawFn, tree: Tree) -> str:
    return draw(st.sampled_from(tree.holders()))


def _leave(draw: st.DrawFn, tree: Tree) -> None:
    place = _place(draw, tree)
    _add(tree, place + draw(st.sampled_from(LEFT_FILES)), b"left")
    _add(tree, f"{place}{draw(st.sampled_from(LEFT_FOLDERS))}/1.png", PICTURES[0])


def _lose_a_file(draw: st.DrawFn, tree: Tree) -> None:
    _add(tree, _place(draw, tree) + draw(_file_names), draw(st.sampled_from(CONTENTS)))


def _make_a_folder(draw: st.DrawFn, tree: Tree) -> None:
    path = _place(draw, tree) + draw(st.one_of(_class_names, st.sampled_from(SPLITS)))
    if draw(st.booleans()):
        _add(tree, f"{path}/notes.txt", b"text")
    elif tree.is_free(path):
        tree.folders.add(path)


def _copy_a_folder(draw: st.DrawFn, tree: Tree) -> None:
    """Into itself or elsewhere, under its own name, another one or another spelling."""
    folder = _place(draw, tree)
    name = folder[:-1].rpartition("/")[2] or "copy"
    spelled = (str.upper(name), f"{name} ", unicodedata.normalize("NFD", name), f"{name} copy")
    path = _place(draw, tree) + draw(st.sampled_from((name, *spelled)))
    if tree.is_free(path):
        copied = [(file, held) for file, held in tree.files.items() if file.startswith(folder)]
        for file, content in copied:
            _add(tree, f"{path}/{file[len(folder) :]}", content)


def _spell_a_file_twice(draw: st.DrawFn, tree: Tree) -> None:
    if tree.files:
        path = draw(st.sampled_from(sorted(tree.files)))
        folder, _, name = path.rpartition("/")
        other = draw(st.sampled_from((str.upper, str.title, lambda name: f"{name} ", _decomposed)))
        _add(tree, f"{folder}/{other(name)}".lstrip("/"), draw(st.sampled_from(PICTURES)))


def _decomposed(name: str) -> str:
    return unicodedata.normalize("NFD", name)


def _link(draw: st.DrawFn, tree: Tree) -> None:
    """To a file, a folder, one that holds the link, or nothing; to folders only one in a tree."""
    path = _place(draw, tree) + draw(st.one_of(_file_names, _class_names))
    to_folder = any(target in tree.holders() for target in tree.links.values())
    targets = [None, *sorted(tree.files), *(() if to_folder else tree.holders())]
    if tree.is_free(path):
        tree.links[path] = draw(st.sampled_from(targets))


def _make_a_pipe(draw: st.DrawFn, tree: Tree) -> None:
    path = _place(draw, tree) + draw(_file_names)
    if tree.is_free(path):
        tree.pipes.add(path)


_ACCIDENTS: tuple[Callable[[st.DrawFn, Tree], None], ...] = (
    *(_leave, _lose_a_file, _make_a_folder, _copy_a_folder, _spell_a_file_twice, _link),
    _make_a_pipe,
)
