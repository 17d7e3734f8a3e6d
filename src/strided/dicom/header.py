"""What a DICOM file says about its pixels; files that are not read are refused with the reason.

Only what is on a list is read: technical elements, the identifiers of the study and the patient,
of which a service keeps pseudonyms, and whether text is burned in. No text of a file is in a
reason: it could be a patient's name. Chapters are of DICOM PS3.3.
"""

import re
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from pydicom import Dataset

GREYS = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
TOO_LARGE = "too large to decode safely"  # how the reason for too many pixels begins
MOST_PIXELS = 178_956_970  # twice Pillow's MAX_IMAGE_PIXELS: there it refuses other pictures

_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
READ = (
    *("StudyInstanceUID", "PatientID", "BurnedInAnnotation"),
    *("SOPClassUID", "PresentationIntentType", "NumberOfFrames", "SharedFunctionalGroupsSequence"),
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    *("FloatPixelData", "DoubleFloatPixelData", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept", "VOILUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape"),
    *("PresentationLUTSequence", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *(f"{hue}PaletteColorLookupTableDescriptor" for hue in ("Red", "Green", "Blue")),
    *(f"{hue}PaletteColorLookupTableData" for hue in ("Red", "Green", "Blue")),
)
_DICOMDIR = "1.2.840.10008.1.3.10"
# For each transfer syntax the plugin of pydicom that decodes it. Another one that happens to be
# installed could give other pixels.
_CODECS = {
    "1.2.840.10008.1.2": "",  # Implicit VR Little Endian
    "1.2.840.10008.1.2.1": "",  # Explicit VR Little Endian
    "1.2.840.10008.1.2.1.99": "",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.2": "",  # Explicit VR Big Endian
    "1.2.840.10008.1.2.5": "pylibjpeg",  # RLE Lossless
    "1.2.840.10008.1.2.4.50": "pillow",  # JPEG Baseline
    "1.2.840.10008.1.2.4.51": "pillow",  # JPEG Extended
    "1.2.840.10008.1.2.4.90": "pylibjpeg",  # JPEG 2000, lossless
    "1.2.840.10008.1.2.4.91": "pylibjpeg",  # JPEG 2000
}


_LONGEST_ID = 64  # letters (LO, PS3.5 6.2)
_UID = re.compile(r"[0-9.]{1,64}")


class RefusedError(Exception):
    """The reason why a file is not read: words of strided, and technical numbers of the file."""


class Form(NamedTuple):
    """How pixels are stored. codec is pydicom's plugin for them, empty if they are uncompressed."""

    codec: str
    colours: str  # PhotometricInterpretation
    rows: int
    columns: int
    samples: int
    allocated: int  # bits
    bits: int  # BitsStored
    signed: bool


class Facts(NamedTuple):
    """What a file says beside its pixels. study: its UID, empty if it has no proper one.

    patient: the identifier, of at most 64 letters, empty if there is none. is_clean: it says that
    no text is burned into the picture; most files say nothing.
    """

    study: str
    patient: str
    is_clean: bool


def facts_of(header: "Dataset") -> Facts:
    """The study, the patient, whether the picture is without text; no other word of the file."""
    study = str(header.get("StudyInstanceUID") or "")
    patient = str(header.get("PatientID") or "").strip()[:_LONGEST_ID]
    is_clean = str(header.get("BurnedInAnnotation") or "") == "NO"
    return Facts(study if _UID.fullmatch(study) else "", patient, is_clean)


def read_header(content: bytes) -> "Dataset":
    """The technical elements of a file, its pixels among them; nearly any error if damaged."""
    import pydicom

    return pydicom.dcmread(BytesIO(content), specific_tags=list(READ))


def form_of(header: "Dataset", most_pixels: int = MOST_PIXELS) -> Form:
    """How the pixels are stored; RefusedError for anything but one whole picture to be shown."""
    _check_kind(header)
    codec = _codec(header)
    _check_frames(header)
    rows, columns = _number(header, "Rows", 1, 65535), _number(header, "Columns", 1, 65535)
    if rows * columns > most_pixels:
        raise RefusedError(f"{TOO_LARGE}: DICOM of {columns} x {rows} pixels")
    colours = str(header.get("PhotometricInterpretation", ""))
    if colours not in (*GREYS, *_COLOURS, PALETTE):
        raise RefusedError(f"DICOM in a colour space that is not read; expected {GREYS[1]} or RGB")
    samples = _number(header, "SamplesPerPixel", 1, 3)
    if samples != (3 if colours in _COLOURS else 1):
        raise RefusedError(f"damaged DICOM: {samples} values for a pixel of {colours}")
    allocated = _number(header, "BitsAllocated", 1, 64)
    if allocated not in (8, 16):
        raise RefusedError(f"DICOM of {allocated} bits a value; expected 8 or 16")
    bits = _number(header, "BitsStored", 1, allocated)
    if _number(header, "HighBit", 0, allocated - 1) != bits - 1:
        raise RefusedError("DICOM of an old kind: its values are not in the lowest bits")
    signed = bool(_number(header, "PixelRepresentation", 0, 1))
    form = Form(codec, colours, rows, columns, samples, allocated, bits, signed)
    _check_length(header, form)
    return form


def _check_kind(header: "Dataset") -> None:
    kind = header.file_meta.get("MediaStorageSOPClassUID", header.get("SOPClassUID"))
    if kind == _DICOMDIR:
        raise RefusedError("a DICOMDIR, the list of the files on a disc, without a picture")
    if "FloatPixelData" in header or "DoubleFloatPixelData" in header:
        raise RefusedError("DICOM of floating-point pixels; expected 8 or 16 bits a value")
    if "PixelData" not in header:
        name = _name(kind, "of an unknown kind")
        missing = "whose pixels are missing or cut off" if "Image" in name else "without pixels"
        raise RefusedError(f"DICOM {missing} ({name})")
    if header.get("PresentationIntentType") == "FOR PROCESSING":
        raise RefusedError("DICOM FOR PROCESSING, as a detector saw it; expected FOR PRESENTATION")


def _codec(header: "Dataset") -> str:
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise RefusedError("damaged DICOM: it does not say how it is encoded")
    if syntax not in _CODECS:
        raise RefusedError(
            f"DICOM compressed by {_name(syntax, 'an unknown method')}; expected RLE, JPEG 2000,"
            " JPEG of 8 bits, or none. Try gdcmconv --raw"
        )
    return _CODECS[str(syntax)]


def _name(uid: Any, unknown: str) -> str:
    """The standard's name; never the file's own words in place of a known identifier."""
    from pydicom.uid import UID_dictionary

    return UID_dictionary.get(str(uid), (unknown,))[0]


def _check_frames(header: "Dataset") -> None:
    frames = header.get("NumberOfFrames")
    if frames is not None and int(frames) != 1:
        raise RefusedError(f"DICOM of {int(frames)} frames; expected one picture in a file")
    if "SharedFunctionalGroupsSequence" in header:  # the window may be in there
        raise RefusedError("DICOM of an enhanced kind, for several frames; expected one picture")


def _number(header: "Dataset", key: str, least: int, most: int) -> int:
    value = header.get(key)
    if not isinstance(value, int) or not least <= value <= most:
        raise RefusedError(f"damaged DICOM: {key} is missing or wrong")
    return value


def _check_length(header: "Dataset", form: Form) -> None:
    """RefusedError for pixels that are cut off, and where a second picture may follow."""
    length = len(header.PixelData or b"")
    if form.codec:
        if not header["PixelData"].is_undefined_length:
            raise RefusedError("damaged DICOM: compressed pixels in one piece")
        return
    samples = 2 if form.colours == "YBR_FULL_422" else form.samples  # C.7.6.3.1.2
    expected = form.rows * form.columns * samples * form.allocated // 8
    if not expected <= length < max(2 * expected, expected + 2):  # some fill up the last block
        raise RefusedError(
            f"damaged DICOM: {length:,} bytes of pixels; expected {expected:,} for"
            f" {form.columns} x {form.rows}"
        )
