"""Grey of stored values: the standard's formulas, and pydicom's own functions beside them."""

from typing import Any

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from tests.dicom_files import data_set

from strided.dicom.grey import grey
from strided.dicom.header import RefusedError, form_of

RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
TWELVE: dict[str, Any] = {"BitsStored": 12}


def shown(pixels: np.ndarray, **elements: Any) -> np.ndarray:
    data = data_set(pixels, **elements)
    return grey(pixels, data, form_of(data))


def table(first: int, bits: int, entries: list[int]) -> list[Dataset]:
    item = Dataset()
    item.add_new("LUTDescriptor", "US" if first >= 0 else "SS", [len(entries), first, bits])
    item.add_new("LUTData", "US", entries)
    return [item]


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 300, "WindowWidth": 401},
        {"WindowCenter": [100.5, 900], "WindowWidth": [1, 50]},
        {"WindowCenter": 300, "WindowWidth": 400, "VOILUTFunction": "LINEAR_EXACT"},
        {"WindowCenter": 300, "WindowWidth": 400, "VOILUTFunction": "SIGMOID"},
        {"WindowCenter": -500, "WindowWidth": 600, "RescaleSlope": 0.5, "RescaleIntercept": -1024},
    ],
)
def test_windows_are_those_of_pydicom(elements: dict[str, Any], signed: int) -> None:
    pixels = RAMP.copy()
    stored = (pixels.astype(np.int32) - 2048 * signed).astype(np.int16 if signed else np.uint16)
    elements = {**TWELVE, **elements, "PixelRepresentation": signed}
    data = data_set(stored, **elements)
    theirs = apply_voi_lut(apply_modality_lut(stored, data), data)
    ends = apply_modality_lut(np.array([-2048, 2047]) if signed else np.array([0, 4095]), data)
    theirs = (theirs - ends[0]) / (ends[1] - ends[0]) * 255
    found = shown(stored, **elements)
    assert np.abs(found - theirs).max() <= 0.5 + 1e-9 and len(np.unique(found)) > 1


def test_a_window_is_linear_between_black_and_white() -> None:
    # PS3.3 C.11.2.1.2.1: centre 2048 and width 4096 show 12 bits as they are
    found = shown(RAMP, **TWELVE, WindowCenter=2048, WindowWidth=4096)
    assert np.array_equal(found, np.rint(RAMP / 4095 * 255))
    narrow = shown(RAMP, **TWELVE, WindowCenter=100, WindowWidth=11)
    assert narrow.flat[94] == 0 and narrow.flat[99] == 115 and narrow.flat[105] == 255


def test_tables_stand_for_formulas() -> None:
    found = shown(RAMP, **TWELVE, VOILUTSequence=table(10, 8, [0, 100, 200, 255]))
    assert found.flat[[0, 10, 11, 12, 13, 4095]].tolist() == [0, 0, 100, 200, 255, 255]
    deep = table(10, 12, [0, 1000, 2000, 4095])
    theirs = apply_voi_lut(RAMP, data_set(RAMP, **TWELVE, VOILUTSequence=deep))
    found = shown(RAMP, **TWELVE, VOILUTSequence=deep)
    assert np.array_equal(found, np.rint(theirs / 4095 * 255))
    found = shown(RAMP, **TWELVE, ModalityLUTSequence=table(0, 16, list(range(0, 65536, 16))))
    assert np.array_equal(found, np.rint(RAMP * 16.0 / 65535 * 255))


def test_without_a_window_all_that_can_be_stored_is_shown() -> None:
    assert np.array_equal(shown(RAMP, **TWELVE), np.rint(RAMP / 4095 * 255))
    small = np.array([[7, 8], [9, 10]], dtype=np.uint8)
    assert np.array_equal(shown(small), small)
    signed = (RAMP.astype(np.int32) - 2048).astype(np.int16)
    assert np.array_equal(
        shown(signed, **TWELVE, PixelRepresentation=1), np.rint(RAMP / 4095 * 255)
    )


def test_without_a_window_a_picture_of_few_greys_is_refused() -> None:
    with pytest.raises(RefusedError, match=r"16 bits without a window.*WindowCenter"):
        shown(RAMP)
    windowed = shown(RAMP, WindowCenter=2048, WindowWidth=4096)
    assert np.array_equal(windowed, np.rint(RAMP / 4095 * 255))
    hot = RAMP.copy()
    hot[0, :4] = 65535  # less than one in a thousand
    with pytest.raises(RefusedError, match="without a window"):
        shown(hot)


def test_monochrome1_is_inverted_once_and_last() -> None:
    window = {**TWELVE, "WindowCenter": 1000, "WindowWidth": 500}
    plain, inverted = shown(RAMP, **window), 255 - shown(RAMP, **window)
    for elements in (
        {"PhotometricInterpretation": "MONOCHROME1"},
        {"PhotometricInterpretation": "MONOCHROME1", "PresentationLUTShape": "INVERSE"},
        {"PresentationLUTShape": "INVERSE"},
    ):
        found = shown(RAMP, **window, **elements)
        assert np.abs(found.astype(int) - inverted).max() <= 1  # of rounding
        assert found.flat[0] == 255 and found.flat[-1] == 0
    assert np.array_equal(shown(RAMP, **window, PresentationLUTShape="IDENTITY"), plain)


def test_bits_above_those_stored_are_left_out_and_the_sign_is_the_top_one() -> None:
    overlay = RAMP | 0xA000
    assert np.array_equal(shown(overlay, **TWELVE), shown(RAMP, **TWELVE))
    minus_one = np.array([[0x0FFF, 0x07FF], [0x0800, 0]], dtype=np.uint16)  # in 12 bits
    found = shown(minus_one, **TWELVE, PixelRepresentation=1, WindowCenter=0.5, WindowWidth=4096)
    assert found.tolist() == [[127, 255], [0, 128]] or found.tolist() == [[128, 255], [0, 128]]


def test_what_fills_the_surroundings_is_black() -> None:
    pixels = RAMP.copy()
    pixels[:8] = 4000
    for elements in ({"PixelPaddingValue": 4000}, {"PixelPaddingValue": 4010}):
        found = shown(
            pixels, **TWELVE, **elements, PixelPaddingRangeLimit=3990, WindowCenter=2048,
            WindowWidth=4096, PhotometricInterpretation="MONOCHROME1",
        )  # fmt: skip
        assert not found[:8].any() and found[8:].flat[0] > 200


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"WindowCenter": 10, "WindowWidth": 0}, "its window is wrong"),
        ({"WindowCenter": 10, "WindowWidth": -5}, "its window is wrong"),
        (
            {"WindowCenter": 1, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"},
            "its window is wrong",
        ),
        (
            {"WindowCenter": 1, "WindowWidth": 2, "VOILUTFunction": "CUBIC"},
            "a VOI LUT function that is not read",
        ),
        ({"RescaleSlope": 0, "RescaleIntercept": 3}, "its rescale slope or intercept is wrong"),
        ({"VOILUTSequence": table(0, 30, [1, 2, 3])}, "a look-up table is not as it says"),
        ({"PresentationLUTSequence": table(0, 8, [1, 2])}, "a presentation LUT, which is not"),
    ],
)
def test_what_cannot_be_shown_as_the_file_says_is_refused(
    elements: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RefusedError, match=reason):
        shown(RAMP, **TWELVE, **elements)
