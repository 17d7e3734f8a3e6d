"""The same picture shown differently: a network that knows its subject should not mind much."""

import io
import math
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import numpy as np
from PIL import Image

from strided.data.equalize import equalized

CENTRE = 0.15, 0.85  # of each side
_ZOOM = 1.08
_NOISE = 10.0  # standard deviation, of 255
_JPEG_QUALITY = 30

Rendering = Callable[[Image.Image], Image.Image]


def centre(side: int) -> slice:
    """The pixels of a side that belong to the centre."""
    return slice(round(CENTRE[0] * side), round(CENTRE[1] * side))


def _without_centre(image: Image.Image) -> Image.Image:
    pixels = np.array(image)
    pixels[centre(image.height), centre(image.width)] = 0
    return Image.fromarray(pixels)


def _only_centre(image: Image.Image) -> Image.Image:
    pixels = np.array(image)
    kept = np.zeros_like(pixels)
    place = centre(image.height), centre(image.width)
    kept[place] = pixels[place]
    return Image.fromarray(kept)


def _zoomed(image: Image.Image) -> Image.Image:
    width, height = image.size
    left, top = (side * (1 - 1 / _ZOOM) / 2 for side in image.size)
    box = left, top, width - left, height - top
    return image.resize(image.size, Image.Resampling.BICUBIC, box)


def _gamma(image: Image.Image, power: float) -> Image.Image:
    curve = [round(255 * (level / 255) ** power) for level in range(256)]
    return image.point(curve * len(image.getbands()))


def _half_size_and_back(image: Image.Image) -> Image.Image:
    half = [max(1, math.ceil(side / 2)) for side in image.size]
    small = image.resize((half[0], half[1]), Image.Resampling.BILINEAR)
    return small.resize(image.size, Image.Resampling.BILINEAR)


def _noisy(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image)
    noise = np.random.default_rng(0).normal(0, _NOISE, pixels.shape)
    return Image.fromarray(np.rint(pixels + noise).clip(0, 255).astype(np.uint8))


def _jpeg(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_JPEG_QUALITY)
    return Image.open(stream).convert(image.mode)


# Where the subject is: most of what shows it is in the centre.
REGIONS: Mapping[str, Rendering] = MappingProxyType(
    {"without the centre": _without_centre, "only the centre": _only_centre}
)
# What another camera, exposure or copy could have done.
STRESS: Mapping[str, Rendering] = MappingProxyType(
    {
        "zoomed by 8 %": _zoomed,
        "gamma 0.7": partial(_gamma, power=0.7),
        "gamma 1.4": partial(_gamma, power=1.4),
        "equalized": partial(equalized, how="histogram"),
        "CLAHE": partial(equalized, how="clahe"),
        "half the size and back": _half_size_and_back,
        "noise": _noisy,
        "JPEG of quality 30": _jpeg,
    }
)
# The same by what is done to a picture, as `transfer.renderings` names it.
FAMILIES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "zoom": ("zoomed by 8 %",),
        "gamma": ("gamma 0.7", "gamma 1.4"),
        "equalize": ("equalized", "CLAHE"),
        "half_size": ("half the size and back",),
        "noise": ("noise",),
        "jpeg": ("JPEG of quality 30",),
    }
)
RENDERINGS: Mapping[str, Rendering] = MappingProxyType({**REGIONS, **STRESS})


def rendered(pixels: np.ndarray, name: str) -> np.ndarray:
    """Render uint8 (B, C, S, S), C 1 or 3, as RENDERINGS has it; the shape stays."""
    rendering = RENDERINGS[name]
    return np.stack([_as_array(rendering(as_picture(picture))) for picture in pixels])


def as_picture(picture: np.ndarray) -> Image.Image:
    """Of uint8 (C, S, S), C 1 or 3: a picture in grey or colour."""
    return Image.fromarray(picture[0] if len(picture) == 1 else picture.transpose(1, 2, 0))


def _as_array(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
