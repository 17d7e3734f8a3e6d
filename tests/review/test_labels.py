"""Pictures of cases as files: what training takes again is what the network saw."""

import csv
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.served import noise

from strided.data.extra import with_extra
from strided.data.preprocessing import Preprocessing
from strided.data.source import array_source
from strided.review.cases import Labelled
from strided.review.framing import frame_of, framed, png_of
from strided.review.label_folder import LabelFolder


def opened(png: bytes) -> Image.Image:
    image = Image.open(BytesIO(png), formats=("PNG",))
    image.load()
    return image


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [1, 33, 224, 512])
def test_a_png_has_the_pixels(channels: int, side: int) -> None:
    pixels = noise(channels, side, side)
    image = opened(png_of(pixels))
    assert image.mode == {1: "L", 3: "RGB"}[channels] and not image.info
    assert (np.asarray(image).reshape(side, side, channels).transpose(2, 0, 1) == pixels).all()


def test_a_large_picture_is_made_smaller() -> None:
    assert opened(png_of(noise(3, 700, 700))).size == (512, 512)
    assert opened(png_of(noise(1, 700, 700))).size == (512, 512)


@pytest.mark.parametrize(
    ("resize", "fraction"),
    [("crop", 0.875), ("crop", 1.0), ("crop", 0.77), ("squash", 0.9), ("pad", 1.0)],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_training_sees_what_the_network_saw(resize: str, fraction: float, channels: int) -> None:
    own = Preprocessing(channels, 97, resize, fraction)  # type: ignore[arg-type]
    pixels = own.pixels(Image.fromarray(noise(120, 150, 3)))
    png = framed(png_of(pixels), frame_of(97, 1.0 if resize == "pad" else fraction))
    assert (own.pixels(opened(png)) == pixels).all()


def labelled(id: str, label: str = "cat", group: str = "p") -> Labelled:
    return Labelled(id, png_of(noise(1, 8, 8)), 8, label, group)


def table(folder: Path) -> list[list[str]]:
    with (folder / "labels.csv").open(newline="") as stream:
        return list(csv.reader(stream))


def test_a_case_is_added_once_whoever_adds_it(tmp_path: Path) -> None:
    first, second = LabelFolder(tmp_path / "a" / "b"), LabelFolder(tmp_path / "a" / "b")
    first.add_all([labelled("1"), labelled("2", 'a, "b"', "q")])
    second.add_all([labelled("1"), labelled("3", "=1+1")])
    first.add_all([labelled("3"), labelled("2")])
    LabelFolder(tmp_path / "a" / "b").add_all([labelled("3")])
    assert table(tmp_path / "a" / "b") == [
        ["path", "label", "group"],
        ["images/1.png", "cat", "p"],
        ["images/2.png", 'a, "b"', "q"],
        ["images/3.png", "'=1+1", "p"],
    ]
    assert (tmp_path / "a" / "b" / "labels.csv").stat().st_mode & 0o077 == 0


def test_a_row_without_its_end_is_cut_off(tmp_path: Path) -> None:
    folder = LabelFolder(tmp_path)
    folder.add_all([labelled("1")])
    whole = (tmp_path / "labels.csv").read_bytes()
    for torn in (b"images/2.png,c", b'images/2.png,"cat', b"i"):
        (tmp_path / "labels.csv").write_bytes(whole + torn)
        LabelFolder(tmp_path)
        assert (tmp_path / "labels.csv").read_bytes() == whole
        (tmp_path / "labels.csv").write_bytes(whole + torn)
        folder.add_all([])
        assert (tmp_path / "labels.csv").read_bytes() == whole
    (tmp_path / "labels.csv").write_bytes(b"path,la")
    LabelFolder(tmp_path).add_all([labelled("1")])
    assert (tmp_path / "labels.csv").read_bytes() == whole


def test_a_table_that_was_taken_away_begins_anew(tmp_path: Path) -> None:
    folder = LabelFolder(tmp_path)
    folder.add_all([labelled("1")])
    (tmp_path / "labels.csv").rename(tmp_path / "first.csv")
    folder.add_all([labelled("2")])
    assert [row[0] for row in table(tmp_path)] == ["path", "images/2.png"]


def test_training_takes_the_table_by_groups(tmp_path: Path) -> None:
    classes = ["=1+1", "a, b", "dog"]
    LabelFolder(tmp_path).add_all(
        [labelled(f"{number}", label, f"p{number}") for number, label in enumerate(classes)]
    )
    own = array_source(noise(4, 8, 8), np.array([0, 1, 2, 0]), np.full(4, ""), classes, "own")
    source = replace(own, group=np.array(["a", "a", "b", "p2"]))
    joined = with_extra(source, tmp_path / "labels.csv")
    assert joined.labels.tolist() == [0, 1, 2, 0, 0, 1, 2]
    assert joined.group is not None and joined.group[4:].tolist() == ["p0", "p1", "p2"]
    assert (np.asarray(joined.read(5)) == noise(8, 8).reshape(8, 8)).all()
