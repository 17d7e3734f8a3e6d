"""Files that must hurt no service: damaged, cut off, too large, of two kinds, or of none.

MARKER is planted wherever a file has room for words: no answer and no log may hold it.
"""

import io
import zipfile
from functools import cache

import numpy as np
from PIL import Image, PngImagePlugin
from pydicom import Dataset
from pydicom.encaps import encapsulate
from tests.dicom_files import DEFLATED, JPEG, PATIENT, SHIPPED, data_set, dicom, written
from tests.served import encoded, noise

MARKER = "Doe-Jane-1234567-secret"
PLACES = 50  # at which a file is cut off
_DAMAGED = 25  # of each kind of file, with bytes changed
PNG = b"\x89PNG\r\n\x1a\n"

Files = dict[str, bytes]


@cache
def whole() -> Files:
    """A file of each kind that is read, with nothing wrong."""
    colours, grey = Image.fromarray(noise(48, 64, 3)), Image.fromarray(noise(40, 40))
    said = PngImagePlugin.PngInfo()
    said.add_text("Comment", MARKER)
    return {
        "jpeg": encoded(colours, "JPEG", comment=MARKER.encode()),
        "progressive jpeg": encoded(colours, "JPEG", progressive=True),
        "png": encoded(colours, "PNG", pnginfo=said),
        "16-bit png": encoded(Image.fromarray(noise(40, 40).astype(np.uint16) * 257), "PNG"),
        "dicom": dicom(noise(40, 40), PatientID=MARKER),
        "jpeg in dicom": written(encapsulated(encoded(grey, "JPEG"))),
        "deflated dicom": dicom(noise(40, 40), DEFLATED, PatientID=MARKER),
    }


def encapsulated(frame: bytes, size: int = 40) -> Dataset:
    """A DICOM file of a JPEG."""
    return data_set(noise(size, size), JPEG, PixelData=encapsulate([frame]), PatientID=MARKER)


def shipped() -> Files:
    """Every file that pydicom ships: pictures, damaged ones, and what is no picture."""
    root = SHIPPED.parent
    files = [file for file in sorted(root.rglob("*")) if file.is_file()]
    return {
        f"pydicom {file.relative_to(root)}": file.read_bytes()
        for file in files
        if "__pycache__" not in file.parts
    }


def truncated() -> Files:
    """Each kind of file, cut off at 50 places."""
    return {
        f"{kind} of {end} bytes": content[:end]
        for kind, content in whole().items()
        for end in np.linspace(0, len(content) - 1, PLACES).astype(int).tolist()
    }


def changed() -> Files:
    """Each kind of file with up to eight bytes changed."""
    draw, found = np.random.default_rng(1), {}
    for kind, content in whole().items():
        for number in range(_DAMAGED):
            damaged = bytearray(content)
            for place in draw.integers(0, len(content), 1 + number % 8).tolist():
                damaged[place] = int(draw.integers(0, 256))
            found[f"{kind} changed, {number}"] = bytes(damaged)
    return found


def zipped(content: bytes) -> bytes:
    """A zip of one file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(MARKER, content)
    return file.getvalue()


def of_two_kinds() -> Files:
    """Files that another program would take for something else."""
    script = f"<script>alert('{MARKER}')</script>".encode()
    kinds = whole()
    return {
        "jpeg and zip": kinds["jpeg"] + zipped(script),
        "png and zip": kinds["png"] + zipped(script),
        "jpeg and html": kinds["jpeg"] + b"<html>" + script,
        "jpeg with a script": encoded(Image.fromarray(noise(9, 9)), "JPEG", comment=script),
        "png and php": kinds["png"] + b"<?php system('id') ?>",
        "png and jpeg": kinds["png"] + kinds["jpeg"],
        "jpeg and png": kinds["jpeg"] + kinds["png"],
        "tiff before dicom": b"II*\0" + kinds["dicom"][4:],
        "jpeg before dicom": kinds["jpeg"][:128].ljust(128, b"\0") + kinds["dicom"][128:],
        "png before dicom": kinds["png"][:128] + kinds["dicom"][128:],
        "executable before dicom": b"MZ\x90\0" + kinds["dicom"][4:],
        "html before jpeg": b"<html>" + script + kinds["jpeg"],
        "jpeg head, png body": kinds["jpeg"][:20] + kinds["png"],
        "two dicoms": kinds["dicom"] * 2,
    }


def of_other_kinds() -> Files:
    """What is no JPEG, PNG or DICOM."""
    image = Image.fromarray(noise(16, 16, 3))
    forms = ("GIF", "BMP", "TIFF", "WEBP", "PPM", "AVIF", "ICO", "PDF", "EPS", "TGA")
    text = MARKER.encode()
    return {
        **{form: encoded(image, form) for form in forms},
        "empty": b"",
        "a byte": b"\xff",
        "a word": text,
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><text>' + text + b"</text></svg>",
        "xml with entities": b'<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
        "postscript": b"%!PS\n(/etc/passwd) (r) file 100 string readstring pop = quit",
        "executable": b"\x7fELF\x02\x01\x01" + bytes(64) + text,
        "pickle": b"\x80\x04cos\nsystem\n(S'id'\ntR.",
        "html": b"<html>" + text,
        "json": b'{"file": "' + text + b'"}',
        "zeros": bytes(2**20),
        "noise": noise(2**20).tobytes(),
        "heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + text,
        "mp4": b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + text,
        "jpeg 2000": b"\0\0\0\x0cjP  \r\n\x87\n" + text,
        "jpeg xl": b"\xff\x0a" + text,
    }


NAMES_OF_PATIENTS = (MARKER, PATIENT, "Doe^Jane")
