"""From the bytes of a request to a picture: by content, header first, within limits."""

from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from strided.data.reading.decoding import ImageError, decode
from strided.data.reading.dicom import IS_CLEAN, PATIENT, STUDY
from strided.data.reading.signatures import HEAD, is_dicom, is_png
from strided.dicom.header import TOO_LARGE
from strided.service.parts import has_too_many_parts
from strided.service.problems import ProblemError
from strided.service.schema import Format
from strided.service.settings import Settings

_JPEG = b"\xff\xd8\xff"
_SCAN = b"\xff\xda"
# A progressive JPEG may go over all its pixels in any number of scans. Encoders make ten; the
# largest picture may have a few more, for its thumbnail, and a smaller one more in proportion.
_MOST_PASSES = 12


@dataclass(frozen=True)
class Decoded:
    """A picture as it is decoded for training, and what its file says of itself."""

    image: Image.Image
    format: Format
    frames: int  # in the file, of which the first is decoded
    study: str = ""  # of DICOM: its UID, which goes no further,
    patient: str = ""  # as the patient's identifier
    may_have_text: bool = False  # of DICOM: it does not say that no text is burned in


def format_of(content: bytes) -> Format | None:
    """JPEG, PNG or DICOM, by the first bytes; None for anything else."""
    head = content[:HEAD]
    if is_dicom(head):
        return "DICOM"
    if is_png(head):
        return "PNG"
    return "JPEG" if head.startswith(_JPEG) else None


def decoded(content: bytes, settings: Settings) -> Decoded:
    """Decode a file. Raises ProblemError, whose words are never those of the file."""
    form = format_of(content)
    if form is None:
        raise ProblemError(
            "unsupported_format", "The file is no JPEG, PNG or DICOM by its content."
        )
    frames = 1 if form == "DICOM" else _checked_frames(content, form, settings.pixels)
    try:
        image = decode(BytesIO(content), settings.dicom)
    except ImageError as error:
        raise _problem(error, form) from error
    if form != "DICOM":  # texts of a PNG may have the names of these facts
        return Decoded(image, form, frames)
    study, patient = image.info.pop(STUDY, ""), image.info.pop(PATIENT, "")
    return Decoded(image, form, frames, study, patient, not image.info.pop(IS_CLEAN, True))


def _checked_frames(content: bytes, form: Format, most_pixels: int) -> int:
    """Read the header alone: the number of frames. Raises ProblemError for too much work."""
    if has_too_many_parts(content, form):
        raise ProblemError("unreadable", f"The {form} has more parts than a picture needs.")
    try:
        with Image.open(BytesIO(content), formats=(form,)) as image:
            (width, height), frames = image.size, getattr(image, "n_frames", 1)
    except Image.DecompressionBombError:
        raise ProblemError("too_many_pixels", _too_many(most_pixels)) from None
    except Exception as error:  # damaged bytes make the decoders raise nearly anything
        raise _damaged(form) from error
    if width * height > most_pixels:
        raise ProblemError("too_many_pixels", f"{width} x {height}: {_too_many(most_pixels)}")
    if width * height * content.count(_SCAN) > most_pixels * _MOST_PASSES and form == "JPEG":
        raise ProblemError("unreadable", "The JPEG goes over its pixels in too many scans.")
    return int(frames)


def _too_many(most: int) -> str:
    return f"the picture has more than the {most:,} pixels that are decoded."


def _damaged(form: str) -> ProblemError:
    return ProblemError("unreadable", f"The {form} is damaged or cut off.")


def _problem(error: ImageError, form: str) -> ProblemError:
    """What is said of an error. Pillow's own words may quote the file; DICOM's reasons do not."""
    cause, text = error.__cause__, str(error)
    if isinstance(cause, MemoryError):
        return ProblemError(
            "internal", "There was no memory to decode the picture. Try again later."
        )
    if isinstance(cause, ImportError):
        return ProblemError("unsupported_format", f"This service does not read {text}")
    if form == "DICOM":
        code = "too_many_pixels" if text.startswith(TOO_LARGE) else "unreadable"
        return ProblemError(code, f"Refused: {text}.")
    return _damaged(form) if cause else ProblemError("unreadable", f"Refused: {text}.")
