"""A DICOM file's picture, as a viewer shows it first."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from strided.dicom.grey import grey
from strided.dicom.header import (
    GREYS,
    MOST_PIXELS,
    PALETTE,
    Facts,
    Form,
    RefusedError,
    facts_of,
    form_of,
    read_header,
)

if TYPE_CHECKING:
    from pydicom import Dataset

_PIXEL_BYTES = 16  # of memory for each value, while it is decoded


def pixels_of(
    content: bytes, reserve: Callable[[int], None], most_pixels: int = MOST_PIXELS
) -> tuple[np.ndarray, Facts]:
    """uint8 (H, W), or (H, W, 3) of colours; RefusedError, or nearly any error if damaged.

    `reserve` is told how many bytes of memory the next step may use.
    """
    reserve(4 * len(content))
    header = read_header(content)
    form = form_of(header, most_pixels)
    reserve(4 * len(content) + _PIXEL_BYTES * form.rows * form.columns * form.samples)
    stored = _stored(header, form)
    return _shown(stored, header, form), facts_of(header)


def _shown(stored: np.ndarray, header: "Dataset", form: Form) -> np.ndarray:
    if form.colours in GREYS:
        return grey(stored, header, form)
    if form.colours == PALETTE:
        return _coloured(stored, header)
    return _eight_bits(stored, form.bits)


def _stored(header: "Dataset", form: Form) -> np.ndarray:
    """The stored values (H, W), or RGB (H, W, 3)."""
    from pydicom.pixels import get_decoder

    if form.codec == "pillow" and form.bits > 8:
        raise RefusedError("DICOM compressed by JPEG of 12 bits; expected 8. Try gdcmconv --raw")
    decoder = get_decoder(header.file_meta.TransferSyntaxUID)
    try:
        pixels, facts = decoder.as_array(header, index=0, decoding_plugin=form.codec)
    except MemoryError:
        raise
    except Exception as error:  # whatever a codec raises
        raise RefusedError("damaged DICOM: its pixels cannot be decoded") from error
    shape = (form.rows, form.columns, 3)[: 2 if form.samples == 1 else 3]
    if pixels.shape != shape or pixels.dtype.itemsize > 2:
        raise RefusedError("damaged DICOM: other pixels than its header says")
    if form.samples == 3 and facts["photometric_interpretation"] != "RGB":
        raise RefusedError(f"DICOM in {form.colours}, which is not read here; expected RGB")
    return pixels


def _coloured(stored: np.ndarray, header: "Dataset") -> np.ndarray:
    from pydicom.pixels import apply_color_lut

    colours = apply_color_lut(stored, header)[..., :3]
    return _eight_bits(colours, 8 * colours.dtype.itemsize)


def _eight_bits(colours: np.ndarray, bits: int) -> np.ndarray:
    most = 2**bits - 1
    table = np.rint(np.arange(most + 1) * (255 / most)).astype(np.uint8)
    return table[colours & most]
