"""The parts of a JPEG or PNG, counted before Pillow looks at each of them in Python.

A file of a few megabytes has room for a million empty ones, which would hold all threads up for
seconds.
"""

from collections.abc import Iterator
from itertools import islice

from strided.service.schema import Format

_MOST_SEGMENTS = 10_000  # before the pixels of a JPEG; a colour profile may have 255
_MOST_CHUNKS = 1_000  # of a PNG, and one more for each KB: encoders write 8 KB and more in each


def has_too_many_parts(content: bytes, form: Format) -> bool:
    """Whether a JPEG or PNG has more parts than any encoder writes."""
    if form == "PNG":
        return any(islice(_chunks(content), _MOST_CHUNKS + len(content) // 1024, None))
    return any(islice(_segments(content), _MOST_SEGMENTS, None))


def _chunks(content: bytes) -> Iterator[bool]:
    at = 8
    while at + 8 <= len(content):
        at += 12 + int.from_bytes(content[at : at + 4])
        yield True


def _segments(content: bytes) -> Iterator[bool]:
    """The steps of Pillow on its way to the pixels: segments, and bytes between them."""
    at = 2
    while at + 4 <= len(content):
        first, kind = content[at : at + 2]
        if first == 0xFF and kind == 0xDA:  # start of scan
            return
        if first != 0xFF or kind == 0xFF:
            at += 1
        elif kind <= 1 or 0xD0 <= kind <= 0xD9:  # have no length
            at += 2
        else:
            at += 2 + int.from_bytes(content[at + 2 : at + 4])
        yield True
