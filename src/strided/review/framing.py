"""The picture of a case: a PNG of what the network saw, and as training takes it again."""

import struct
import zlib
from io import BytesIO

import numpy as np
from PIL import Image

LARGEST = 512  # side in pixels
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOURS = {1: 0, 3: 2}  # by channels: grey, RGB
_UP = 2  # each row is the difference to the one above


def png_of(pixels: np.ndarray) -> bytes:
    """The PNG of uint8 pixels (C, S, S), scaled down to at most LARGEST.

    Written here, since Pillow tries five filters for each row: that takes three times as long, for
    files of the same size.
    """
    rows = np.ascontiguousarray(pixels.transpose(1, 2, 0))
    if len(rows) > LARGEST:
        image = Image.fromarray(rows.squeeze()).resize((LARGEST, LARGEST), Image.Resampling.BOX)
        rows = np.asarray(image).reshape(LARGEST, LARGEST, -1)
    height, width, channels = rows.shape
    lines = np.empty((height, 1 + width * channels), np.uint8)
    flat = rows.reshape(height, -1)
    lines[:, 0] = _UP
    lines[0, 1:] = flat[0]
    np.subtract(flat[1:], flat[:-1], out=lines[1:, 1:])
    packing = zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)
    packed = packing.compress(lines.data) + packing.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, _COLOURS[channels], 0, 0, 0)
    chunks = (b"IHDR", head), (b"IDAT", packed), (b"IEND", b"")
    return _SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", zlib.crc32(kind + content)
    )  # fmt: skip


def frame_of(side: int, crop_fraction: float) -> int:
    """The side of the square of which a preprocessing keeps the middle, at a picture's scale."""
    return round(min(side, LARGEST) / crop_fraction)


def framed(png: bytes, frame: int) -> bytes:
    """A picture with its edge carried on outwards, up to a square of side `frame`.

    Training scales to that size and cuts out the middle. Without the edge, it would cut a picture
    a second time, and see less of it than the network saw.
    """
    with Image.open(BytesIO(png), formats=("PNG",)) as image:
        pixels = np.asarray(image)
    if frame <= len(pixels):
        return png
    before = round((frame - len(pixels)) / 2)
    after = frame - len(pixels) - before
    edge = [(before, after)] * 2 + [(0, 0)] * (pixels.ndim - 2)
    stream = BytesIO()
    Image.fromarray(np.pad(pixels, edge, "edge")).save(stream, "PNG")
    return stream.getvalue()
