"""The picture that the network saw, for a person to look at."""

from io import BytesIO

import numpy as np
from PIL import Image

_LONGEST = 512  # pixels of a side


def png_of(pixels: np.ndarray) -> bytes:
    """Pixels of the network's input, uint8 (C, S, S), as a PNG of 8 bits: grey, or RGB.

    A larger input is scaled down to 512 pixels a side.
    """
    grey = len(pixels) == 1
    image = Image.fromarray(pixels[0] if grey else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BILINEAR)
    stream = BytesIO()
    image.save(stream, "PNG", compress_level=1)
    return stream.getvalue()
