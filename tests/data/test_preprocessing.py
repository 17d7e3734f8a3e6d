from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from strided.data import ImageError, Preprocessing
from strided.data.normalise import in_one_pass
from strided.errors import UserError


def noise(width: int, height: int) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_images_of_the_right_size_are_left_alone() -> None:
    image = noise(32, 32)
    for resize in ("crop", "squash", "pad"):
        pixels = Preprocessing(3, 32, resize).pixels(image)
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, np.asarray(image).transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(100, 60), (60, 100), (61, 61), (300, 17)])
def test_crop_gives_what_torchvision_gives(size: tuple[int, int]) -> None:
    from torchvision.transforms import CenterCrop, Compose, Resize
    from torchvision.transforms.functional import InterpolationMode, pil_to_tensor

    image = noise(*size)
    theirs = Compose([Resize(32, InterpolationMode.BICUBIC), CenterCrop(28)])(image)
    ours = Preprocessing(3, 28, "crop", 0.875, "bicubic").pixels(image)
    assert np.array_equal(ours, pil_to_tensor(theirs))


def test_a_line_of_pixels_is_refused_before_it_fills_the_memory() -> None:
    line = Image.new("L", (1, 65_000))
    with pytest.raises(ImageError, match="1 x 65000 pixels.*Try data.resize=pad"):
        Preprocessing(1, 224, "crop").pixels(line)
    assert Preprocessing(1, 224, "pad").pixels(line).shape == (1, 224, 224)


def test_squash_keeps_both_sides_of_the_picture() -> None:
    wide = np.zeros((10, 100), dtype=np.uint8)
    wide[:, :50] = 255
    pixels = Preprocessing(1, 20, "squash").pixels(Image.fromarray(wide))
    assert pixels.shape == (1, 20, 20)
    assert pixels[0, :, :9].min() > 240 and pixels[0, :, 11:].max() < 15


def test_pad_puts_28_pixels_in_a_field_of_32_unchanged() -> None:
    digit = np.random.default_rng(0).integers(1, 256, (28, 28), dtype=np.uint8)
    field = Preprocessing(1, 32, "pad").pixels(Image.fromarray(digit))
    assert np.array_equal(field[0, 2:30, 2:30], digit)
    assert np.count_nonzero(field) == 28 * 28


def test_pad_shrinks_what_is_larger() -> None:
    field = Preprocessing(1, 20, "pad").pixels(Image.new("L", (80, 40), 200))
    assert field[0, 5:15].min() == 200 and field[0, :5].max() == 0 and field[0, 15:].max() == 0


def test_grey_is_repeated_and_colour_is_weighed() -> None:
    grey = Preprocessing(3, 8).pixels(Image.new("L", (8, 8), 77))
    assert grey.shape == (3, 8, 8) and np.all(grey == 77)
    red = Preprocessing(1, 8).pixels(Image.new("RGB", (8, 8), (255, 0, 0)))
    assert red.shape == (1, 8, 8) and np.all(red == 76)  # ITU-R 601: 0.299 of 255


def test_normalise_gives_zero_mean_and_unit_std() -> None:
    preprocessing = Preprocessing(2 + 1, 2, mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 0.25))
    white = torch.full((1, 3, 2, 2), 255, dtype=torch.uint8)
    for images in (white, white.float()):
        out = preprocessing.normalise(images)
        assert out.dtype == torch.float32
        torch.testing.assert_close(out[0, :, 0, 0], torch.tensor([1.0, 1.0, 0.0]))


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_one_pass_gives_the_same_numbers_in_the_networks_memory_format(
    dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    images = torch.randint(0, 256, (5, 3, 9, 9), generator=torch.Generator().manual_seed(0))
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    out = in_one_pass(images.to(dtype), mean, std, memory_format)
    assert out.dtype == torch.float32 and out.is_contiguous(memory_format=memory_format)
    expected = Preprocessing(3, 9, mean=mean, std=std).normalise(images)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-6)


def test_a_preprocessing_survives_being_plain_data() -> None:
    preprocessing = Preprocessing(1, 32, "pad", mean=(0.1307,), std=(0.3081,))
    fields = preprocessing.asdict()
    assert fields["mean"] == [0.1307]
    assert Preprocessing.from_dict(fields) == preprocessing


@pytest.mark.parametrize(
    "other",
    [
        {"channels": 1.0},
        {"image_size": True},
        {"white": "x"},
        {"mean": ["a"]},
        {"std": [10**400]},
        {"crop_fraction": None},
        {"interpolation": None},
    ],
    ids=str,
)
def test_a_preprocessing_of_other_types_is_refused(other: dict[str, Any]) -> None:
    fields = Preprocessing(1, 32, mean=(0.1307,), std=(0.3081,)).asdict()
    with pytest.raises(UserError, match=f"a {next(iter(other))} of another kind"):
        Preprocessing.from_dict(fields | other)


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"image_size": 0}, "data.image_size"),
        ({"channels": 2}, "data.channels"),
        ({"resize": "stretch"}, "data.resize"),
        ({"crop_fraction": 1.5}, "data.crop_fraction"),
        ({"interpolation": "cubic"}, "data.interpolation"),
        ({"mean": (0.5,)}, "data.std"),
        ({"mean": (0.5,), "std": (0.5,)}, "data.mean"),
        ({"mean": (0.5,) * 3, "std": (0.0,) * 3}, "data.std"),
    ],
)
def test_impossible_inputs_name_their_key(fields: dict[str, object], key: str) -> None:
    with pytest.raises(UserError, match=f"{key}.*expected.*Try"):
        Preprocessing(**{"channels": 3, "image_size": 32} | fields)  # type: ignore[arg-type]
