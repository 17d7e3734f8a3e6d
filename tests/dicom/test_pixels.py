"""Whole files: those that pydicom ships, as pydicom shows them or refused, and made ones."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
from tests.dicom_files import JPEG, JPEG_2000, PATIENT, PLAIN, SHIPPED, data_set, dicom, written

from strided.dicom.header import RefusedError
from strided.dicom.pixels import pixels_of

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")

# what pydicom ships and is no picture, not one picture, or none that is read
REFUSED = {
    "missing or cut off": "UN_sequence no_meta_group_length priv_SQ IM000000",
    "without pixels": "empty_charset_LEI reportsi reportsi_with_empty_number_tags rtplan "
    "rtplan_truncated test-SR waveform_ecg",
    "a DICOMDIR": "DICOMDIR DICOMDIR-bigEnd DICOMDIR-empty DICOMDIR-implicit DICOMDIR-nooffset "
    "DICOMDIR-nopatient DICOMDIR-reordered",
    "frames": "SC_rgb_rle_16bit_2frame SC_rgb_rle_2frame SC_rgb_rle_32bit_2frame rtdose rtdose_expb"
    " rtdose_rle examples_ybr_color liver_1frame liver_expb_1frame",
    "32 bits a value": "SC_rgb_rle_32bit rtdose_1frame rtdose_expb_1frame rtdose_rle_1frame",
    "JPEG-LS": "JPEGLSNearLossless_08 JPEGLSNearLossless_16 MR_small_jpeg_ls_lossless "
    "SC_rgb_jls_lossy_line SC_rgb_jls_lossy_sample",
    "JPEG Lossless": "SC_rgb_jpeg_gdcm",
    "JPEG of 12 bits": "JPEG-lossy JPGExtended",
    "without a window": "CT_small JPEG2000",
    "cannot be decoded": "JPEG2000-embedded-sequence-delimiter",
    "8,130 bytes of pixels; expected 8,192": "MR_truncated",
    "does not say how it is encoded": "meta_missing_tsyntax",
    "Rows is missing": "nested_priv_SQ",
    "ValueError": "badVR",
}
REASON = {name: reason for reason, names in REFUSED.items() for name in names.split()}
GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4


def shown(content: bytes) -> np.ndarray:
    return pixels_of(content, lambda _: None)[0]


def shipped() -> list[Path]:
    """The files with the mark of DICOM; of one series without pixels, a single one."""
    files = [file for file in sorted(SHIPPED.rglob("*")) if file.is_file()]
    marked = [file for file in files if file.read_bytes()[128:132] == b"DICM"]
    return [file for file in marked if "TINY_ALPHA" not in file.parts or file.name == "IM000000"]


def of_pydicom(data: Dataset) -> np.ndarray:
    """What pydicom's own functions make of it, from 0 to 255."""
    stored = data.pixel_array
    if data.PhotometricInterpretation == "PALETTE COLOR":
        return np.asarray(apply_color_lut(stored, data) / 257)
    if not data.PhotometricInterpretation.startswith("MONOCHROME"):
        return np.asarray(stored * (255 / (2**data.BitsStored - 1)))
    whole = 2**data.BitsStored
    ends = np.array([0, whole - 1]) - (whole // 2 if data.PixelRepresentation else 0)
    low, high = apply_modality_lut(ends, data)
    found = apply_voi_lut(apply_modality_lut(stored, data), data)
    found = (found - low) / (high - low) * 255
    return np.asarray(255 - found if data.PhotometricInterpretation == "MONOCHROME1" else found)


@pytest.mark.parametrize("file", shipped(), ids=lambda file: file.name)
def test_a_file_that_pydicom_ships_is_read_as_pydicom_does_or_refused(file: Path) -> None:
    content, reason = file.read_bytes(), REASON.get(file.name.removesuffix(".dcm"))
    if reason is None:
        theirs = of_pydicom(pydicom.dcmread(io.BytesIO(content)))
        found = shown(content)
        assert found.dtype == np.uint8 and found.shape == theirs.shape
        assert np.abs(found - theirs).max() <= 0.5 + 1e-6
    elif reason == "ValueError":
        with pytest.raises(ValueError, match="invalid literal"):
            shown(content)
    else:
        with pytest.raises(RefusedError, match=reason):
            shown(content)


def test_grey_and_colours_of_eight_bits_are_read_as_they_are() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    for pixels in (GREY, colours):
        assert np.array_equal(shown(dicom(pixels)), pixels)


@pytest.mark.parametrize(
    ("syntax", "order"),
    [(PLAIN, "<"), ("1.2.840.10008.1.2", "<"), ("1.2.840.10008.1.2.2", ">")],
)
def test_tables_of_a_file_are_read_in_its_order_of_bytes(syntax: str, order: str) -> None:
    ramp = np.arange(4096).reshape(64, 64)
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 16])
    item.add_new("LUTData", "OW", (np.arange(4096) * 16).astype(f"{order}u2").tobytes())
    content = dicom(ramp.astype(f"{order}u2"), syntax, BitsStored=12, VOILUTSequence=[item])
    assert np.array_equal(shown(content), np.rint(ramp * 16 / 65535 * 255))


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"Rows": 9}, "64 bytes of pixels; expected 72 for 8 x 9"),
        ({"Rows": 4}, "64 bytes of pixels; expected 32 for 8 x 4"),
        ({"Rows": 0}, "Rows is missing or wrong"),
        ({"Columns": None}, "Columns is missing or wrong"),
        ({"Rows": 65535, "Columns": 65535}, "too large to decode safely"),
        ({"NumberOfFrames": 2}, "DICOM of 2 frames"),
        ({"NumberOfFrames": 0}, "DICOM of 0 frames"),
        ({"SharedFunctionalGroupsSequence": [Dataset()]}, "for several frames"),
        ({"BitsStored": 9}, "BitsStored is missing or wrong"),
        ({"BitsAllocated": 32}, "32 bits a value; expected 8 or 16"),
        ({"BitsAllocated": 1, "BitsStored": 1}, "1 bits a value; expected 8 or 16"),
        ({"HighBit": 3}, "not in the lowest bits"),
        ({"SamplesPerPixel": 3, "PlanarConfiguration": 0}, "3 values for a pixel of MONOCHROME2"),
        ({"PhotometricInterpretation": PATIENT}, "a colour space that is not read"),
        ({"PixelData": b""}, "0 bytes of pixels"),
        ({"PixelData": None}, r"missing or cut off \(Computed Radiography Image Storage\)"),
        ({"PixelData": None, "FloatPixelData": bytes(256)}, "floating-point pixels"),
        ({"PresentationIntentType": "FOR PROCESSING"}, "FOR PROCESSING, as a detector saw it"),
    ],
)
def test_what_is_not_one_picture_to_be_shown_is_refused(
    elements: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RefusedError, match=reason) as caught:
        shown(dicom(GREY, **elements))
    assert PATIENT not in str(caught.value)


def test_the_words_of_an_unknown_compression_are_not_repeated() -> None:
    content = dicom(GREY, "1.2.840.10008.1.2.1").replace(
        b"1.2.840.10008.1.2.1\0", b"1.2.840.1.JANE.DOE\0\0"
    )
    with pytest.raises(RefusedError, match="compressed by an unknown method; expected") as caught:
        shown(content)
    assert "JANE" not in str(caught.value)


@pytest.mark.parametrize(("name", "syntax"), [("SC_rgb_jpeg_dcmtk", JPEG), ("693_J2KI", JPEG_2000)])
def test_a_compressed_picture_that_is_cut_off_is_refused(name: str, syntax: str) -> None:
    data = pydicom.dcmread(SHIPPED / f"{name}.dcm")
    assert data.file_meta.TransferSyntaxUID == syntax
    (frame,) = generate_frames(data.PixelData, number_of_frames=1)
    for kept in (frame[: len(frame) // 2], frame[:30], b"\xff\xd8", bytes(range(256)) * 20):
        data.PixelData = pydicom.encaps.encapsulate([kept])
        with pytest.raises(RefusedError, match="cannot be decoded"):
            shown(written(data))


def test_a_compressed_picture_of_another_size_than_the_header_says_is_refused() -> None:
    for name in ("SC_rgb_jpeg_dcmtk", "693_J2KI", "MR_small_RLE"):
        data = pydicom.dcmread(SHIPPED / f"{name}.dcm")
        data.Rows += 1
        with pytest.raises(RefusedError, match=r"cannot be decoded|other pixels than"):
            shown(written(data))


def test_only_technical_elements_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    read = pydicom.dcmread

    def reading(*given: Any, **options: Any) -> Any:
        seen.append(read(*given, **options))
        return seen[-1]

    monkeypatch.setattr(pydicom, "dcmread", reading)
    shown(dicom(GREY))
    assert "Rows" in seen[0] and "PatientName" not in seen[0]
    assert data_set(GREY).PatientName == PATIENT
