"""The chest radiographs, with pictures made here under the names of the real ones."""

import csv
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from strided.cli import main
from strided.data import Preprocessing, XRay
from strided.data.sets import xray
from strided.errors import UserError

ROWS = list(csv.DictReader(xray._TABLE.read_text("utf-8").splitlines()))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    with zipfile.ZipFile(folder / "xray3.zip", "w") as archive:
        for number, row in enumerate(ROWS):
            stream = io.BytesIO()
            Image.fromarray(np.array([divmod(number, 256)], dtype=np.uint8)).save(stream, "PNG")
            archive.writestr(f"xray3/{row['file']}", stream.getvalue())
    return folder


def test_the_table_has_the_patients_of_all_images(root: Path, tmp_path: Path) -> None:
    data = XRay(root=str(root), cache_dir=str(tmp_path))
    data.use(Preprocessing(1, 2, "squash"))
    data.setup()
    assert data.classes == ["Covid-19", "No_findings", "Pneumonia"]
    assert np.bincount(data.source.labels).tolist() == [124, 500, 500]
    groups = data.source.group
    assert groups is not None and len(set(groups)) == 764
    found = [set(groups[indices]) for indices in data.splits.values()]
    assert sum(map(len, found)) == len(set().union(*found)) == 764


def unzipped_but_one(folder: Path, root: Path) -> None:
    with zipfile.ZipFile(root / "xray3.zip") as archive:
        archive.extractall(folder)
    (folder / "xray3" / ROWS[7]["file"]).unlink()


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (lambda folder, root: None, r"xray is not in data.root=.*expected xray3\.zip.*Try data"),
        (unzipped_but_one, rf"line 9: {ROWS[7]['file']}"),
    ],
)
def test_images_that_are_not_there_are_named(
    root: Path, tmp_path: Path, prepare: Callable[[Path, Path], None], message: str
) -> None:
    prepare(tmp_path, root)
    with pytest.raises(UserError, match=message):
        XRay(root=str(tmp_path)).make_source()


def test_without_its_patients_every_image_counts_by_itself(root: Path) -> None:
    assert XRay(root=str(root), group_column=None).make_source().group is None


@pytest.mark.parametrize("key", XRay.unread)
def test_what_its_own_table_decides_cannot_be_typed(
    key: str, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    value = {"label_columns": "[a,b]", "labels": "merge"}.get(key, "mine")
    assert main(["train", "data=xray", f"data.{key}={value}", f"log_dir={log_dir}"]) == 1
    assert "this data set has its own table" in capsys.readouterr().err
