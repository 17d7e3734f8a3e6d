"""Random folders, zips and tables: every file is used or counted, or all is refused with advice."""

import contextlib
import csv
import os
import re
import tempfile
import unicodedata
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.reading.generated import Tree, is_text, trees

from strided.data import ImageError, ImageFolder, ImageTable
from strided.data.source import Source
from strided.errors import UserError
from strided.evaluation.predict_files import find_images


class _Entry(zipfile.ZipInfo):
    """An entry whose name is in UTF-8, or in whatever bytes it is; only if told, with its flag."""

    told = False

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        return os.fsencode(self.filename), self.flag_bits | (0x800 if self.told else 0)


@dataclass(frozen=True)
class ZipMaker:
    """How a program packs: whether it says UTF-8, packs, lists folders, and is on Windows."""

    told: bool
    method: int
    with_folders: bool
    windows: bool
    prefix: str

    def pack(self, tree: Tree, file: Path) -> Path:
        """Pack what can be read, with linked files and folders as copies."""
        files = {path: held for path, held in tree.seen().items() if held is not None}
        folders = sorted({*tree.holders(), *(f"{folder}/" for folder in tree.folders)})
        windows = self.windows and not any("\\" in path for path in (*files, *folders))
        with zipfile.ZipFile(file, "w") as archive:
            for path in (*(folders if self.with_folders else ()), *files):
                if name := self.prefix + path:
                    entry = _Entry()
                    entry.filename = name.replace("/", "\\") if windows and path in files else name
                    entry.create_system = 0 if windows else 3
                    entry.compress_type = self.method
                    entry.told = self.told and is_text(path)
                    archive.writestr(entry, files.get(path, b""))
        return file


@dataclass(frozen=True)
class TableMaker:
    """How a program writes a table: delimiter, encoding, and how it spells the paths."""

    delimiter: str
    encoding: str
    spell: Callable[[str], str]

    def write(self, rows: Iterable[tuple[str, str, str]], file: Path) -> Path:
        """Rows are path, label and split."""
        lines = [("path", "label", "split"), *((self.spell(path), *rest) for path, *rest in rows)]
        errors = "surrogateescape" if self.encoding.startswith("utf-8") else "surrogatepass"
        with file.open("w", encoding=self.encoding, errors=errors, newline="") as stream:
            csv.writer(stream, delimiter=self.delimiter).writerows(lines)
        return file


SPELLINGS: tuple[Callable[[str], str], ...] = (
    lambda path: path,
    lambda path: "./" + path,
    str.upper,
    lambda path: path.rpartition(".")[0] or path,
    lambda path: unicodedata.normalize("NFC", path),
    lambda path: unicodedata.normalize("NFD", path),
    lambda path: path if "\\" in path else path.replace("/", "\\"),
    lambda path: "/home/me/root/" + path,
    lambda path: path if "\\" in path else "C:\\root\\" + path.replace("/", "\\"),
)
zip_makers = st.builds(
    ZipMaker,
    st.booleans(),
    st.sampled_from((0, 8)),
    st.booleans(),
    st.booleans(),
    st.sampled_from(("", "root/", "./")),
)
table_makers = st.builds(
    TableMaker,
    st.sampled_from(",;\t"),
    st.sampled_from(("utf-8", "utf-8-sig", "utf-16")),
    st.sampled_from(SPELLINGS),
)
options = st.fixed_dictionaries(
    {
        "class_level": st.sampled_from((None, None, 1, 2)),
        "labels": st.sampled_from((None, None, "merge", "keep")),
        "on_error": st.sampled_from(("stop", "skip", "skip")),
    }
)

# of the words after Try: keys, and what is done by hand
KEY = re.compile(r"data\.(class_level|labels|on_error|path_suffix)=([.\w]+)")
ACTION = re.compile(r"\bdata\.\w+=|\b(renam|remov|add|giv|mov|unzip|unpack|correct|sav|zipp)ing\b")


def opened(make: Callable[..., Any], **words: Any) -> Source | str:
    """The source, or why it is refused."""
    try:
        source: Source = make(**words).source
    except UserError as error:
        message = str(error)
        assert "; expected " in message and len(message.splitlines()) <= 15, message
        assert ACTION.search(message.rpartition("Try ")[2]), message
        folder = re.search(r"Try data\.root=([^<]+?) if", message)
        assert folder is None or Path(folder[1]).is_dir(), message
        return message
    return source


def followed(make: Callable[..., Any], **words: Any) -> Source | str:
    """As `opened`, once all advice with a key that is not typed yet was followed, each in turn."""
    source = opened(make, **words)
    if isinstance(source, Source):
        return source
    for key, value in KEY.findall(source.rpartition("Try ")[2]):
        chosen: str | int = int(value) if value.isdecimal() else value
        if words.get(key) != chosen:
            other = opened(make, **{**words, key: chosen})
            assert other != source, f"{key}={value} does not help: {source}"
    return source


def facts(source: Source) -> dict[tuple[str, str], tuple[str, object]]:
    """For each image, by split and path, its label and what is read. A split alone is none."""
    splits = source.split if len(set(source.split)) > 1 else [""] * len(source)
    return {
        (str(splits[k]), path): (source.classes[source.labels[k]], pixels(source, k))
        for k, path in enumerate(source.paths)
    }


def pixels(source: Source, index: int) -> object:
    try:
        return source.read(index).tobytes()
    except ImageError as error:
        return str(error)


def check(
    place: Path, tree: Tree, words: dict[str, Any], zip_maker: ZipMaker, table_maker: TableMaker
) -> None:
    root = tree.write(place / "root")
    data = tree.data()
    common = {"cache_dir": str(place / "cache"), **words}
    folder = followed(ImageFolder, root=str(root), **common)
    _check_predict(root, len(data))
    archive = zip_maker.pack(tree, place / "root.zip")
    packed = followed(ImageFolder, root=str(archive), **common)
    if isinstance(folder, Source):
        assert len(folder) + sum(folder.ignored.values()) == len(data)
        assert len(facts(folder)) == len(folder)
    if isinstance(packed, Source):
        real = {path for path, content in data.items() if content is not None}
        assert len(packed) + sum(packed.ignored.values()) == len(real)
    if isinstance(folder, Source) and isinstance(packed, Source):
        _check_same(folder, packed, tree)
    # no table can tell two files apart whose names differ in the blanks around them
    if isinstance(folder, Source) and len({path.strip() for path in tree.seen()}) == len(
        tree.seen()
    ):
        _check_table(folder, table_maker, root, archive, place, words)


def _check_predict(root: Path, count: int) -> None:
    """Each file is a row of predict, or counted."""
    with contextlib.suppress(UserError):
        found = find_images(str(root))
        assert len(found.files) + sum(found.ignored.values()) == count


def _check_same(folder: Source, packed: Source, tree: Tree) -> None:
    absent = {path for path, content in tree.data().items() if content is None}
    if all(map(is_text, tree.data())) and not absent:
        assert facts(folder) == facts(packed) and folder.ignored == packed.ignored
        assert folder.classes == packed.classes


def _check_table(
    folder: Source, maker: TableMaker, root: Path, archive: Path, place: Path, words: dict[str, Any]
) -> None:
    """The used images as a table, of the folder and of the zip."""
    names: list[str] = folder.read.names  # type: ignore[attr-defined]
    rows = [
        (name, folder.classes[folder.labels[k]], str(folder.split[k]))
        for k, name in enumerate(names)
    ]
    table = maker.write(rows, place / "table.csv")
    given = {key: words[key] for key in ("labels", "on_error")}
    for images in (root, archive):
        source = followed(
            ImageTable, csv=str(table), root=str(images), cache_dir=str(place / "cache"), **given
        )
        if isinstance(source, Source):
            for k, (name, label, split) in enumerate(rows):
                assert (source.classes[source.labels[k]], source.split[k]) == (label, split)
                known = (name, unicodedata.normalize("NFC", name))
                assert source.paths[k] in known, (source.paths[k], name)
                assert source.paths[k].endswith(folder.paths[k])
                assert pixels(source, k) == pixels(folder, k)


cases = st.tuples(trees(), options, zip_makers, table_makers)
QUICK = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@given(cases)
@QUICK
def test_every_file_is_used_or_counted_or_all_is_refused(case: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        check(Path(place), *case)


@pytest.mark.slow
@given(cases)
@settings(QUICK, max_examples=500, derandomize=False)
def test_500_folders_zips_and_tables(case: Any) -> None:
    with tempfile.TemporaryDirectory() as place:
        check(Path(place), *case)
