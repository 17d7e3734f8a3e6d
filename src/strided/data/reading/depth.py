"""Images of 16 bits: which of their values is white.

Many cameras and scanners fill 10 or 12 of the 16 bits. With 65535 as white, their images would be
nearly black, and eight bits of grey would keep four or six of theirs.
"""

from collections.abc import Iterable

import numpy as np
from PIL import Image

WHITE = 65535  # of all 16 bits
_LEAST_BITS = 8  # an image of fewer is read as if it were kept in 8 bits
_ABOVE = 1000  # one pixel in so many may be brighter: hot pixels tell nothing about a camera


def brightness(image: Image.Image) -> int | None:
    """The value that at most one in 1,000 pixels exceeds; None for an image of 8 bits.

    Images are as `decode` returns them: "I;16" holds 16 bits.
    """
    if image.mode != "I;16":
        return None
    counts = np.bincount(np.asarray(image).ravel(), minlength=1)
    above = counts.sum() - counts.cumsum()  # pixels brighter than each value
    return int(np.argmax(above <= counts.sum() // _ABOVE))


def white_of(brightest: Iterable[int]) -> int:
    """The greatest value that the bits in use can hold: 8, 10, 12, 14 or 16, as of cameras.

    >>> white_of([600, 1023]), white_of([1024]), white_of([40])
    (1023, 4095, 255)
    """
    bits = max([_LEAST_BITS, *(value.bit_length() for value in brightest)])
    return int(2 ** (bits + bits % 2) - 1)


def eight_bit(image: Image.Image, white: int) -> Image.Image:
    """Scale an "I;16" image so that `white` becomes 255; brighter values are clipped to it."""
    pixels = np.minimum(np.asarray(image), white)
    return Image.fromarray(np.rint(pixels * (255 / white)).astype(np.uint8))


def clipped(number: int, total: int, brightest: int, white: int) -> str:
    """The sentence on images that are brighter than those of the training."""
    return (
        f"{number} of {total} images have 16-bit values up to {brightest}, more than the {white} "
        "that is white since the training: brighter pixels were clipped to it. If they are of a "
        f"camera with more bits, scale them to 0..{white} first"
    )
