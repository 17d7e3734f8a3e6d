"""Tell pictures from other files: by known endings, else by their first bytes."""

import re
from pathlib import PurePosixPath

IMAGE_SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".jfi", ".jps", ".mpo"),
        *(".png", ".apng", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".gif"),
        *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
        *(".avif", ".avifs", ".heic", ".heics", ".heif", ".heifs", ".hif"),
        *(".dcm", ".dicom"),
    )
)
FORMAT_NAMES = "JPEG, PNG, BMP, TIFF, WebP, GIF, PPM, AVIF, HEIC or DICOM"

ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")

# Files that are no images, or none that can be read: these are not opened to find out. Photos as
# the sensor saw them (.nef, .dng) are TIFF files that show a thumbnail. A copy that an editor or an
# unfinished download left (.bak, .part) is not one more image.
OTHER_SUFFIXES = frozenset(
    (
        *(".txt", ".md", ".rst", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".yaml", ".yml"),
        *(".html", ".htm", ".log", ".ini", ".cfg", ".toml", ".url", ".lnk", ".db", ".sqlite"),
        *(
            ".pdf",
            ".doc",
            ".docx",
            ".xls",
            ".xlsx",
            ".ppt",
            ".pptx",
            ".odt",
            ".ods",
            ".rtf",
            ".tex",
        ),
        *(".svg", ".eps", ".ps", ".ai", ".psd", ".xcf"),
        *(".py", ".pyc", ".ipynb", ".m", ".r", ".js", ".css", ".sh", ".bat", ".exe", ".dll"),
        *(".npy", ".npz", ".mat", ".pkl", ".pickle", ".h5", ".hdf5", ".parquet", ".tfrecord"),
        *(".pt", ".pth", ".ckpt", ".onnx", ".safetensors", ".lmdb", ".mdb"),
        *ARCHIVE_SUFFIXES,
        *(".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mp3", ".wav", ".flac", ".m4a"),
        *(".nef", ".nrw", ".dng", ".cr2", ".cr3", ".crw", ".arw", ".srf", ".orf", ".rw2", ".raf"),
        *(".pef", ".srw", ".raw", ".3fr", ".iiq", ".aae", ".xmp", ".thm"),
        *(".bak", ".old", ".orig", ".tmp", ".part", ".crdownload", ".swp"),
    )
)

HEAD = 132  # bytes that tell a picture

_FIRST_BYTES = re.compile(
    rb"\xff\xd8\xff"  # JPEG
    rb"|\x89PNG\r\n\x1a\n"
    rb"|BM.{4}\0\0\0\0"  # BMP: its size, and four bytes that are not used
    rb"|II[*+]\0|MM\0[*+]"  # TIFF, and BigTIFF
    rb"|RIFF.{4}WEBP"
    rb"|GIF8[79]a"
    rb"|P[1-6]\s+[#\d]|P[fF]\s+\d"  # PBM, PGM, PPM, PFM
    rb"|.{4}ftyp(?:avi[fs]|hei[cxms]|hev[cxms]|m[is]f1)",  # AVIF, HEIC
    re.DOTALL,
)
_HEIC = re.compile(rb".{4}ftyp(?:hei[cxms]|hev[cxms]|m[is]f1)", re.DOTALL)
_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"iCCP", b"tEXt", b"zTXt", b"iTXt")
_WITH_ORIENTATION = (b"Raw profile type exif\0", b"Raw profile type APP1\0", b"XML:com.adobe.xmp\0")


def ending(name: str) -> str:
    """The ending of a file's name, lower case with its dot; empty without one. `a.jpg~` has .jpg~.

    >>> ending("cat/1.JPG")
    '.jpg'
    """
    return PurePosixPath(name).suffix.lower()


def is_known_other(suffix: str) -> bool:
    """Whether an ending alone tells that a file is no picture."""
    return suffix in OTHER_SUFFIXES or suffix.endswith("~")


def is_picture(head: bytes) -> bool:
    """Whether a file that begins so (`HEAD` bytes) has a format that is read."""
    return _FIRST_BYTES.match(head) is not None or is_dicom(head)


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins so is DICOM: any 128 bytes, then its mark (PS3.10, 7.1)."""
    return head[128:132] == b"DICM"


def is_two_kinds(head: bytes) -> bool:
    """Whether a DICOM file begins as another picture, so that programs would show two.

    Scanners begin files as a TIFF does, which the standard allows: that counts as DICOM alone.
    """
    begins = _FIRST_BYTES.match(head)
    return is_dicom(head) and begins is not None and head[:2] not in (b"II", b"MM")


def is_heic(head: bytes) -> bool:
    """Whether a file that begins so may be HEIC; some AVIF files begin like it."""
    return _HEIC.match(head) is not None


def is_png(head: bytes) -> bool:
    """Whether a file that begins so is a PNG."""
    return head.startswith(_PNG)


def without_texts(content: bytes) -> bytes:
    """A PNG without its texts and its colour profile, which are not used here.

    Those that may hold the orientation stay.
    Layout: PNG specification, third edition, section 5.3: length, type, data, checksum.
    """
    parts, place = [content[:8]], 8
    while place + 12 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4])
        kind, start = content[place + 4 : place + 8], place + 8
        if kind not in _TEXTS or content.startswith(_WITH_ORIENTATION, start):
            parts.append(content[place:end])
        place = end
    return b"".join(parts)
