"""Equalized grey levels, compared with OpenCV's."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from strided.data.equalize import clahe, equalized
from strided.data.preprocessing import Preprocessing

# cv2.createCLAHE(2.0, (8, 8)) of OpenCV 5.0.0 on parts of scikit-learn's photograph china.jpg
RECORDED = np.load(Path(__file__).parent / "clahe_of_opencv.npz")


@pytest.mark.parametrize("name", ["64x64", "57x90"])
def test_clahe_is_that_of_opencv(name: str) -> None:
    given, expected = RECORDED[f"given_{name}"], RECORDED[f"expected_{name}"]
    found = clahe(given)
    assert found.dtype == np.uint8 and found.std() > given.std()
    assert np.abs(found.astype(int) - expected).max() <= 1  # of 255, by rounding


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 300)])
def test_clahe_takes_images_smaller_than_its_tiles(shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert clahe(grey).shape == shape


def test_a_histogram_becomes_flat() -> None:
    dark = Image.fromarray((RECORDED["given_64x64"] // 4).astype(np.uint8))
    levels = np.asarray(equalized(dark, "histogram"))
    assert np.array_equal(levels, np.asarray(ImageOps.equalize(dark)))
    assert abs(levels.mean() - 128) < 20


def test_colours_stay_and_their_luma_changes() -> None:
    grey = Image.fromarray(RECORDED["given_64x64"])
    red = Image.merge("RGB", [grey, *[Image.new("L", grey.size)] * 2])
    before, after = (
        np.asarray(image.convert("YCbCr"), int) for image in (red, equalized(red, "clahe"))
    )
    assert after[..., 0].std() > before[..., 0].std()
    assert np.corrcoef(before[..., 2].ravel(), after[..., 2].ravel())[0, 1] > 0.9


def test_preprocessing_equalizes_the_picture_without_its_black_field() -> None:
    picture = Image.fromarray(RECORDED["given_57x90"])
    plain = Preprocessing(1, 100, "pad").pixels(picture)[0]
    made = Preprocessing(1, 100, "pad", equalize="clahe").pixels(picture)[0]
    assert np.array_equal(made[21:78, 5:95], clahe(plain[21:78, 5:95]))
    assert not made[:21].any() and made.max() > 0
    cropped = Preprocessing(1, 57, equalize="clahe").pixels(picture)[0]
    assert np.array_equal(cropped, clahe(Preprocessing(1, 57).pixels(picture)[0]))


def test_what_was_cached_without_the_field_keeps_its_name() -> None:
    assert "equalize" not in Preprocessing(1, 28).asdict()
    made = Preprocessing(1, 28, equalize="histogram")
    assert Preprocessing.from_dict(made.asdict()) == made
