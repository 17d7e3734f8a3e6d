"""Plain measures of pictures."""

import numpy as np
import pytest
from PIL import Image, ImageFilter
from sklearn.datasets import load_sample_images

from strided.decision.input_gate import groups, looks

PHOTOS = [Image.fromarray(photo).resize((64, 64)) for photo in load_sample_images().images]


def pixels_of(*images: Image.Image) -> np.ndarray:
    """As a network is given them."""
    arrays = [np.asarray(image) for image in images]
    return np.stack([a[None] if a.ndim == 2 else a.transpose(2, 0, 1) for a in arrays])


def measured(image: Image.Image) -> dict[str, list[float]]:
    """The measures of a picture, by what they stand for."""
    values = looks(pixels_of(image))[0].tolist()
    found: dict[str, list[float]] = {}
    for name, value in zip(groups(len(values)), values, strict=True):
        found.setdefault(name.removeprefix("unusual_"), []).append(value)
    return found


@pytest.mark.parametrize("side", [1, 2, 3, 5, 8, 28, 33])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_every_size_have_finite_measures(side: int, channels: int) -> None:
    drawn = np.random.default_rng(0).integers(0, 256, (3, channels, side, side), dtype=np.uint8)
    for pixels in (drawn, np.zeros_like(drawn), np.full_like(drawn, 255)):
        found = looks(pixels)
        assert found.shape == (3, 25 if channels == 1 else 29)
        assert np.isfinite(found).all()
        assert len(groups(found.shape[1])) == found.shape[1]


def test_a_picture_is_measured_alike_whatever_is_beside_it() -> None:
    several = np.concatenate([pixels_of(*PHOTOS)] * 40)
    assert looks(several)[-1] == pytest.approx(looks(several[-1:])[0], rel=1e-4, abs=1e-5)


def test_blur_lowers_sharpness_and_noise_raises_it() -> None:
    grey = PHOTOS[0].convert("L")
    noise = np.random.default_rng(0).normal(0, 20, (64, 64))
    noisy = Image.fromarray((np.asarray(grey) + noise).clip(0, 255).astype(np.uint8))
    finest = [
        measured(image)["sharpness"][0]
        for image in (grey.filter(ImageFilter.GaussianBlur(2)), grey, noisy)
    ]
    assert finest == sorted(finest)
    assert finest[2] - finest[0] > 0.5


def test_a_negative_has_the_other_brightness_skewness_and_layout_and_the_same_detail() -> None:
    grey = PHOTOS[0].convert("L")
    own, negative = measured(grey), measured(grey.point(lambda level: 255 - level))
    assert negative["exposure"][:2] == pytest.approx([1 - own["exposure"][0], -own["exposure"][1]])
    assert negative["layout"] == pytest.approx([1 - place for place in own["layout"]], abs=1e-3)
    assert negative["sharpness"] == pytest.approx(own["sharpness"], abs=1e-3)


def test_a_mirror_image_differs_in_layout_alone() -> None:
    own, mirrored = measured(PHOTOS[0]), measured(PHOTOS[0].transpose(Image.Transpose(0)))
    assert [name for name in own if own[name] != pytest.approx(mirrored[name], abs=1e-4)] == [
        "layout"
    ]


def test_grey_pictures_have_no_colour() -> None:
    assert measured(PHOTOS[0].convert("L").convert("RGB"))["colour"] == [0, 0, 0, 0]
    assert measured(PHOTOS[0])["colour"][0] > 0.05
