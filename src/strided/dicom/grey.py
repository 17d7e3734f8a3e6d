"""From stored values to the grey that a viewer shows: modality LUT, VOI LUT or window, inversion.

Each step is taken for every value that there can be, at most 65,536: an X-ray has more pixels.
Chapters are of DICOM PS3.3.
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from strided.dicom.header import Form, RefusedError

if TYPE_CHECKING:
    from pydicom import Dataset

_LEAST_LEVELS = 32  # of 256


class _Values(NamedTuple):
    """A value for each stored one, and the range of what could be stored."""

    of: np.ndarray
    least: float
    most: float


def grey(stored: np.ndarray, header: "Dataset", form: Form) -> np.ndarray:
    """uint8, shaped like the stored values; RefusedError if what is white cannot be told."""
    most = 2**form.bits - 1
    # higher bits may hold overlays (C.9.2)
    index = stored.view(f"{stored.dtype.byteorder}u{stored.dtype.itemsize}") & most
    values = np.arange(most + 1)
    if form.signed:
        values[most // 2 + 1 :] -= most + 1
    around = _padding(values, header)
    measured = _modality(values, header)
    shown = _windowed(measured, header)
    if shown is None:
        shown = (measured.of - measured.least) / (measured.most - measured.least)
        if form.bits > 8:
            counts = np.bincount(index.ravel(), minlength=most + 1) * ~around
            _check_contrast(counts, shown, form.bits)
    table = np.rint(255 * (1 - shown if _is_inverse(header, form) else shown)).astype(np.uint8)
    table[around] = 0
    return table[index]


def _padding(values: np.ndarray, header: "Dataset") -> np.ndarray:
    """bool, like values: those that fill the surroundings of a picture (C.7.5.1.1.2)."""
    first = header.get("PixelPaddingValue")
    last = header.get("PixelPaddingRangeLimit", first)
    if not isinstance(first, int) or not isinstance(last, int):
        return np.zeros(len(values), dtype=bool)
    return (values >= min(first, last)) & (values <= max(first, last))


def _modality(values: np.ndarray, header: "Dataset") -> _Values:
    """Values in the unit of the modality (C.11.1)."""
    if sequence := header.get("ModalityLUTSequence"):
        found, most = _looked_up(values, sequence[0])
        return _Values(found, 0, most)
    slope = _first(header, "RescaleSlope", 1)
    found = values * slope + _first(header, "RescaleIntercept", 0)
    if not slope or not np.isfinite(found).all():
        raise RefusedError("damaged DICOM: its rescale slope or intercept is wrong")
    return _Values(found, found.min(), found.max())


def _windowed(measured: _Values, header: "Dataset") -> np.ndarray | None:
    """Values from 0 (black) to 1 (white); None if the file does not say how (C.11.2).

    The first LUT or window counts, where there are several.
    """
    values = measured.of
    if sequence := header.get("VOILUTSequence"):
        found, most = _looked_up(np.rint(values).astype(np.int64), sequence[0])
        return found / most
    centre, width = (_first(header, f"Window{part}", None) for part in ("Center", "Width"))
    if centre is None or width is None:
        return None
    function = header.get("VOILUTFunction") or "LINEAR"
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        raise RefusedError("DICOM with a VOI LUT function that is not read; expected LINEAR")
    least = 1 if function == "LINEAR" else 1e-9
    if not (np.isfinite([centre, width]).all() and width >= least):
        raise RefusedError("damaged DICOM: its window is wrong")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -500, 500)))
    if function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    if width == 0:
        return (values > centre).astype(float)
    return np.clip((values - centre) / width + 0.5, 0, 1)


def _first(header: "Dataset", key: str, default: Any) -> Any:
    value = header.get(key)
    if value is None or value == "":
        return default
    return float(value if isinstance(value, int | float | str) else value[0])


def _looked_up(values: np.ndarray, item: "Dataset") -> tuple[np.ndarray, int]:
    """The table's entry for each value, and the greatest that an entry can be (C.11.1.1)."""
    count, first, bits = item.LUTDescriptor
    data = item.LUTData
    if isinstance(data, bytes):
        order = "<" if item.original_encoding[1] else ">"
        data = np.frombuffer(data, dtype="u1" if len(data) < 2 * count else f"{order}u2")
    entries = np.atleast_1d(np.asarray(data)).astype(np.int64)
    count = count or 65536
    if len(entries) < count or not 8 <= bits <= 16:
        raise RefusedError("damaged DICOM: a look-up table is not as it says")
    most = 2**bits - 1
    return entries[np.clip(values - first, 0, count - 1)] & most, most


def _is_inverse(header: "Dataset", form: Form) -> bool:
    """Whether the least value is white (C.7.6.3.1.2, C.11.6)."""
    if "PresentationLUTSequence" in header:
        raise RefusedError("DICOM with a presentation LUT, which is not read")
    return form.colours == "MONOCHROME1" or header.get("PresentationLUTShape") == "INVERSE"


def _check_contrast(counts: np.ndarray, shown: np.ndarray, bits: int) -> None:
    """RefusedError if a picture without a window would be nearly of one grey.

    A stretch to each picture's own range would hide how bright it is, which a network looks at.
    """
    levels = np.bincount((shown * 255).astype(int), weights=counts, minlength=256).cumsum()
    few = levels[-1] / 1000  # pixels at either end do not count
    dark, bright = np.searchsorted(levels, (few, levels[-1] - few))
    if not levels[-1] or bright - dark + 1 < _LEAST_LEVELS:
        raise RefusedError(
            f"DICOM of {bits} bits without a window: its pixels would have fewer than"
            f" {_LEAST_LEVELS} of 256 grey levels. Try writing WindowCenter and WindowWidth into it"
        )
