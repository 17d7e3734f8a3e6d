"""Convert picture files and arrays to upright PIL images: "L" (grey), "RGB" or "I;16" (16 bits).

What is white in 16 bits depends on the camera: see `depth`.
"""

import os
import re
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from strided.config.from_python import described
from strided.data.reading.depth import WHITE
from strided.data.reading.dicom import decode_dicom
from strided.data.reading.file_kinds import START_BYTES, other_kind
from strided.data.reading.signatures import (
    HEAD,
    is_dicom,
    is_heic,
    is_png,
    is_two_kinds,
    without_texts,
)
from strided.dicom.process import ANY, Limits
from strided.errors import UserError, one_line, sought_from

# Pillow goes by the content: without this list, PostScript in a .png would reach Ghostscript.
# JPEG includes MPO, which some cameras write.
FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP", "GIF", "PPM", "AVIF", "DIB")

# Pillow keeps an address for each row: of a picture one pixel wide, each pixel takes 20 bytes.
_LONGEST = 1_000_000  # pixels of a side

ImageLike = Image.Image | np.ndarray | str | Path

_UNKNOWN = "empty, or not an image of a known format"
_QUIET = ("ignore", None, Warning, re.compile(r"PIL\."), 0)  # as filterwarnings adds it
_GREY_MODES = {"1", "L", "LA", "La"}


class ImageError(UserError):
    """One picture cannot be read; the message is the reason, without the file's name."""


def decode(file: str | Path | BinaryIO, dicom: Limits = ANY) -> Image.Image:
    """Decode the first frame, upright, transparency on white; raises ImageError with the reason.

    Grey of 16 bits, also when held in 32, stays so ("I;16"); floating-point pixels must lie in
    0..1. Of colours of 16 bits Pillow reads the upper eight. `dicom` is what such a file may take.
    """
    # One bad picture among thousands must not flood the terminal. `catch_warnings` would swap the
    # filters of the whole process under the other decoding threads; adding a filter is harmless.
    if warnings.filters[:1] != [_QUIET]:  # not added anew for each image
        warnings.filterwarnings("ignore", module=r"PIL\.")
    with image_errors():
        if not isinstance(file, str | Path):
            return _decode(file, dicom)
        if not stat.S_ISREG(os.stat(file).st_mode):  # opening a pipe would wait for its writer
            raise ImageError("no file, but a folder, pipe, socket or device")
        with open(file, "rb") as stream:
            return _decode(stream, dicom)


def _decode(stream: BinaryIO, dicom: Limits) -> Image.Image:
    start = stream.read(HEAD)
    stream.seek(0)
    if is_dicom(start):
        if is_two_kinds(start):
            raise ImageError("DICOM and another picture in one file; expected one picture")
        return decode_dicom(stream, dicom)
    # only what Pillow refuses is looked at again: most sets are of small and plain images
    try:
        return _first_frame(stream, FORMATS)
    except ImageError:
        raise
    except UnidentifiedImageError:
        stream.seek(0)
        start = stream.read(START_BYTES)
        if not is_heic(start[:HEAD]):
            if start and (kind := other_kind(start)):
                raise ImageError(f"{kind}, not an image") from None
            raise
        _know_heif()
        return _first_frame(stream, ("HEIF",))
    except ValueError:  # Pillow refuses texts and colour profiles that unpack to over 1 MB
        stream.seek(0)
        content = stream.read()
        if not is_png(content):
            raise
        return _first_frame(BytesIO(without_texts(content)), FORMATS)


def _first_frame(stream: BinaryIO, formats: tuple[str, ...]) -> Image.Image:
    with Image.open(stream, formats=formats) as image:
        if max(image.size) > _LONGEST:
            raise ImageError(
                f"{image.width} x {image.height} pixels; expected sides of at most {_LONGEST:,}"
            )
        return _grey_or_rgb(_upright(image))


def sides(file: BinaryIO) -> tuple[int, int]:
    """Width and height as the file's header says; (0, 0) if it says nothing."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            return image.size
    except Exception:  # whatever is wrong with it, decoding tells
        return 0, 0


def _know_heif() -> None:
    """Teach Pillow the format of iPhones; ImageError without the package that reads it."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ImageError(
            "HEIC, which needs one more package: pip install 'strided[heic]'"
        ) from error
    register_heif_opener()


def check_start(start: bytes) -> None:
    """Raise ImageError unless these bytes can begin an image: Pillow's own test of the first 16."""
    Image.init()
    tests = [Image.OPEN[name][1] for name in FORMATS]
    if is_dicom(start) or is_heic(start):
        return
    if not any(test is None or test(start[:16]) for test in tests):
        raise ImageError(_UNKNOWN)


def as_image(image: Image.Image | np.ndarray | str | Path) -> Image.Image:
    """Convert as `decode` does: a file, an array (H, W[, 1, 3 or 4]) or a PIL image."""
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Image.Image):
        with image_errors():
            return _grey_or_rgb(_upright(image))
    return decode(image)


def read_picture(image: ImageLike) -> Image.Image:
    """Return a picture as it is decoded for training. Raises ImageError that names the file."""
    if not isinstance(image, ImageLike):
        raise no_picture(image)
    try:
        return as_image(image)
    except ImageError as error:
        if isinstance(image, Image.Image | np.ndarray):
            raise
        raise ImageError(
            f"{one_line(str(image))}{sought_from(Path(image))} cannot be read: {error}; expected "
            "a picture. Try another path, or strided predict for all files of a folder"
        ) from error


def no_picture(given: object) -> UserError:
    """Say what stands for a picture."""
    return UserError(
        f"{described(given)} is no image; expected a path, a PIL image, an array of uint8 (H, W) "
        'or (H, W, 3), or a list of these. Try "digit.png"'
    )


@contextmanager
def image_errors() -> Iterator[None]:
    """Turn any error of reading a picture into an ImageError with a short reason."""
    try:
        yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:  # its message holds the whole path: leave it out
        raise ImageError(_UNKNOWN) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"too large to decode safely: {error}") from error
    except Exception as error:  # damaged bytes make the decoders raise nearly anything
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ImageError(reason) from error


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    if image.mode in {"I", "F"} or image.mode.startswith("I;16"):
        return Image.fromarray(_checked(np.asarray(image)))
    grey = image.mode in _GREY_MODES
    if image.has_transparency_data:
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours)
    mode = "L" if grey else "RGB"
    return image if image.mode == mode else image.convert(mode)


def _checked(pixels: np.ndarray) -> np.ndarray:
    """Bring integers of 0..65535 to uint16, and floating-point values of 0..1 to uint8."""
    most = 1.0 if pixels.dtype.kind == "f" else WHITE
    low, high = pixels.min(), pixels.max()
    if not (low >= 0 and high <= most):  # written so that NaN fails
        raise ImageError(f"pixel values from {low:g} to {high:g}, expected 0 to {most:g}")
    if most == 1.0:
        return np.rint(pixels * 255).astype(np.uint8)
    return pixels.astype("<u2")


def _from_array(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if (
        not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in {3, 4}))
        or not pixels.size
    ):
        raise ImageError(
            f"an array of shape {pixels.shape}; expected (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."
            " Try list(array) if it holds several images, and np.moveaxis(array, 0, -1) if the"
            " channels come first"
        )
    if pixels.dtype.newbyteorder("=") == np.uint16:
        if pixels.ndim == 2:
            return Image.fromarray(pixels.astype("<u2"))
        pixels = np.rint(pixels * (255 / WHITE)).astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise ImageError(
            f"an array of {pixels.dtype}; expected uint8 (0..255) or uint16 (0..65535)."
            " Try (array * 255).round().astype('uint8') if its values lie in 0..1"
        )
    return _grey_or_rgb(Image.fromarray(np.ascontiguousarray(pixels)))
