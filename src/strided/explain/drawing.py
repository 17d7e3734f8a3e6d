"""Draw pictures from arrays, pixel by pixel with PIL: overlays, grids, colour bars, text lines."""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from strided.data.reading.files import as_text
from strided.pages.png import font

TEXT, QUIET = "#1a1a1a", "#606060"
SIZE = 15  # of text, in pixels
OPACITY = 0.85  # of the strongest colour over a picture
# ColorBrewer's RdYlBu, which is safe for the colour-blind, from its blue end on
_BLUE_TO_RED = np.array(
    [
        *((49, 54, 149), (69, 117, 180), (116, 173, 209), (171, 217, 233), (224, 243, 248)),
        *((255, 255, 191), (254, 224, 144), (253, 174, 97), (244, 109, 67), (215, 48, 39)),
        (165, 0, 38),
    ]
)
_GREY = np.array((0.299, 0.587, 0.114))  # ITU-R BT.601


def overlay(picture: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Lay heat (S, S) in [-1, 1] over a picture, uint8 (S, S, 3); returns uint8 (S, S, 3).

    The picture is grey, so that every colour is heat: orange to red for positive values, light to
    deep blue for negative ones, nothing at 0.
    """
    # lightened, since colours over black would differ from the bar's
    grey = 50 + 0.75 * (picture @ _GREY)[..., None]
    opacity = np.minimum(OPACITY, np.abs(heat) * 1.5)[..., None]
    return np.rint(grey * (1 - opacity) + colours(heat) * opacity).astype(np.uint8)


def colours(heat: np.ndarray) -> np.ndarray:
    """Colours (..., 3) from 0 to 255 of values in [-1, 1]."""
    # without its pale middle, which would be invisible over a grey picture
    place = heat + 0.3 * (np.sign(heat) - heat)
    stops = np.linspace(-1, 1, len(_BLUE_TO_RED))
    return np.stack([np.interp(place, stops, channel) for channel in _BLUE_TO_RED.T], axis=-1)


def map_colours(values: np.ndarray) -> np.ndarray:
    """uint8 (..., 3) of values in [0, 1]: dark blue to yellow, by increasing lightness."""
    return _viridis()[np.rint(255 * values).astype(int)].astype(np.uint8)


@cache
def _viridis() -> np.ndarray:
    import matplotlib

    table: np.ndarray = matplotlib.colormaps["viridis"](np.linspace(0, 1, 256))[:, :3] * 255
    return table


def fitted(pixels: np.ndarray, side: int) -> Image.Image:
    """A picture, uint8 (S, S, 3), about `side` pixels wide: small ones keep sharp pixels."""
    picture = Image.fromarray(pixels)
    if picture.width <= side // 2:
        factor = side // picture.width
        return picture.resize(
            (picture.width * factor, picture.height * factor), Image.Resampling.NEAREST
        )
    return picture.resize((side, side), Image.Resampling.LANCZOS)


def columns_of(count: int) -> int:
    """Columns of a near-square grid, without gaps if possible."""
    least = math.isqrt(count - 1) + 1
    return min(
        range(least, max(least + 1, int(1.5 * math.sqrt(count)) + 1)), key=lambda c: -count % c
    )


def grid(tiles: np.ndarray, width: int = 960) -> Image.Image:
    """Tiles, uint8 (N, H, W, 3), in a near-square grid, magnified to about `width` pixels.

    The factor is a whole number, without smoothing: each value is a square.
    """
    count, height, across, _ = tiles.shape
    columns = columns_of(count)
    factor = max(1, width // (columns * (across + 1)))
    gap = max(1, min(4, factor * across // 12))
    tiles = tiles.repeat(factor, 1).repeat(factor, 2)
    high, wide = height * factor + gap, across * factor + gap
    rows = -(-count // columns)
    canvas = np.full((rows * high - gap, columns * wide - gap, 3), 255, np.uint8)
    for index, tile in enumerate(tiles):
        top, left = high * (index // columns), wide * (index % columns)
        canvas[top : top + high - gap, left : left + wide - gap] = tile
    return Image.fromarray(canvas)


def bar(ramp: np.ndarray, height: int, labels: Sequence[str], width: int = 16) -> Image.Image:
    """A bar of colours, uint8 (N, 3) from low to high, with labels from its top to its bottom."""
    strip = Image.fromarray(ramp[::-1, None].repeat(width, 1)).resize(
        (width, height), Image.Resampling.NEAREST
    )
    space = max(math.ceil(font(SIZE).getlength(label)) for label in labels)
    image = Image.new("RGB", (width + 8 + space, height), "white")
    image.paste(strip, (0, 0))
    draw = ImageDraw.Draw(image)
    for index, label in enumerate(labels):
        share = index / max(1, len(labels) - 1)
        anchor = "lt" if share == 0 else "lb" if share == 1 else "lm"
        draw.text((width + 8, share * (height - 1)), label, TEXT, font(SIZE), anchor)
    return image


def text_lines(lines: Sequence[str], width: int, size: int = SIZE) -> Image.Image:
    """Lines of text, each cut to `width` pixels; the first one is the title."""
    step = round(size * 1.4)
    image = Image.new("RGB", (width, step * len(lines)), "white")
    draw = ImageDraw.Draw(image)
    for index, line in enumerate(lines):
        title = index == 0
        face = font(size, bold=title)
        # a file's name may have a line break, but a line of text may not
        shown = cut(as_text(" ".join(line.splitlines())), width, face)
        draw.text((0, step * index), shown, TEXT if title else QUIET, face)
    return image


def cut(text: str, width: int, face: ImageFont.FreeTypeFont) -> str:
    """Text of at most `width` pixels; an ellipsis replaces the rest."""
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def side_by_side(images: Sequence[Image.Image], gap: int = 12) -> Image.Image:
    """Put images side by side, on white, with their upper edges in line."""
    width = sum(image.width for image in images) + gap * (len(images) - 1)
    canvas = Image.new("RGB", (width, max(image.height for image in images)), "white")
    left = 0
    for image in images:
        canvas.paste(image, (left, 0))
        left += image.width + gap
    return canvas


def stacked(images: Sequence[Image.Image], gap: int = 8) -> Image.Image:
    """Put images below each other, on white, with their left edges in line."""
    height = sum(image.height for image in images) + gap * (len(images) - 1)
    canvas = Image.new("RGB", (max(image.width for image in images), height), "white")
    top = 0
    for image in images:
        canvas.paste(image, (0, top))
        top += image.height + gap
    return canvas


def bordered(image: Image.Image, margin: int = 12) -> Image.Image:
    """Add a white margin to an image."""
    canvas = Image.new("RGB", (image.width + 2 * margin, image.height + 2 * margin), "white")
    canvas.paste(image, (margin, margin))
    return canvas
