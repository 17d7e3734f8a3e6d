"""A figure as a PNG, in light colours: for loggers, notebooks and slides."""

import importlib.util
import itertools
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from PIL import Image, ImageColor, ImageDraw, ImageFont

from strided.errors import one_line
from strided.pages.figure import DASH, Box, Dot, Figure, Line, Point, Words, straight
from strided.pages.style import STYLE

_PIXELS = 2  # of a unit
_FINER = 2  # drawn so much larger, then shrunk: PIL draws without smooth edges
_SCALE = _PIXELS * _FINER
_LIGHT = dict(re.findall(r"--([\w-]+): (#\w+);", STYLE.partition("@media")[0]))


def write_png(figure: Figure, file: Path) -> Path:
    """Write a figure, two pixels a unit; returns `file`."""
    _drawn(figure).save(file)
    return file


def write_row(figures: Sequence[Figure], file: Path) -> Path:
    """Write figures side by side, as `write_png` does one."""
    drawn = [_drawn(figure) for figure in figures]
    size = sum(image.width for image in drawn), max(image.height for image in drawn)
    row, left = Image.new("RGB", size, _LIGHT["paper"]), 0
    for image in drawn:
        row.paste(image, (left, 0))
        left += image.width
    row.save(file)
    return file


def _drawn(figure: Figure) -> Image.Image:
    size = round(figure.width * _SCALE), round(figure.height * _SCALE)
    canvas = Image.new("RGB", size, _LIGHT["paper"])
    draw = ImageDraw.Draw(canvas, "RGBA")
    for mark in figure.marks:
        match mark:
            case Line():
                _line(draw, mark)
            case Box():
                _box(draw, mark)
            case Dot():
                _dot(draw, mark)
            case Words():
                _words(canvas, draw, mark)
    return canvas.reduce(_FINER)


def _rgba(colour: str, opacity: float = 1) -> tuple[int, int, int, int]:
    red, green, blue = ImageColor.getrgb(_LIGHT[colour])[:3]
    return red, green, blue, round(255 * opacity)


def _box(draw: ImageDraw.ImageDraw, box: Box) -> None:
    left, top = box.left * _SCALE, box.top * _SCALE
    right, bottom = left + box.width * _SCALE - 1, top + box.height * _SCALE - 1
    if right >= left and bottom >= top:
        draw.rectangle((left, top, right, bottom), _rgba(box.colour, box.opacity))


def _dot(draw: ImageDraw.ImageDraw, dot: Dot) -> None:
    colour, middle = _rgba(dot.colour, dot.opacity), (dot.x * _SCALE, dot.y * _SCALE)
    if dot.ring:
        draw.circle(middle, dot.radius * _SCALE, None, colour, 2 * _SCALE)
    else:
        draw.circle(middle, dot.radius * _SCALE, colour)


def _line(draw: ImageDraw.ImageDraw, line: Line) -> None:
    colour = _rgba(line.colour, line.opacity)
    points = [(x * _SCALE, y * _SCALE) for x, y in straight(line.points)]
    if line.fill:
        draw.polygon(points, colour)
        return
    for part in _dashes(points, DASH * _SCALE) if line.dashed else [points]:
        draw.line(part, colour, max(1, round(line.width * _SCALE)), "curve")


def _dashes(points: Sequence[Point], length: float) -> Iterator[list[Point]]:
    """Every second piece of a line, each of that length."""
    done, drawn, part = 0.0, True, list(points[:1])
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        whole, at = ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 0.0
        while whole - at > length - done:
            at += length - done
            corner = (x0 + (x1 - x0) * at / whole, y0 + (y1 - y0) * at / whole)
            if drawn:
                yield [*part, corner]
            done, drawn, part = 0.0, not drawn, [corner]
        done += whole - at
        part.append((x1, y1))
    if drawn and len(part) > 1:
        yield part


def _words(canvas: Image.Image, draw: ImageDraw.ImageDraw, words: Words) -> None:
    face, colour = font(round(words.size * _SCALE), words.bold), _rgba(words.colour)
    anchor = {"start": "ls", "middle": "ms", "end": "rs"}[words.anchor]
    x, y = words.x * _SCALE, words.y * _SCALE
    text = one_line(words.text).encode(errors="replace").decode()  # bytes that are no text
    if not words.turned:
        draw.text((x, y), text, colour, face, anchor)
        return
    # upright beside the baseline of the turned text, and turned with it
    width, height = round(face.getlength(text)) + 1, round(1.5 * words.size * _SCALE)
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).text((0, height * 0.75), text, 255, face, "ls")
    below = {"start": width, "middle": width / 2, "end": 0}[words.anchor]
    corner = round(x - height * 0.75), round(y - below)
    canvas.paste(colour[:3], corner, mask.transpose(Image.Transpose.ROTATE_90))


@cache
def font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and has the letters of most alphabets."""
    found = importlib.util.find_spec("matplotlib")  # importing it would take a second
    assert found is not None and found.origin is not None
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    folder = Path(found.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(folder / name, size)
