"""Attempts by pictures, zips, archives, tables and addresses: each is refused."""

import gzip
import io
import pickle
import shutil
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

from tests.attempts import SMALL, Scene, attempts, refused
from tests.conftest import files, write_images
from tests.data.reading.test_dicom import HOSTILE

# Pictures, zips and archives: bounded before they are decoded, and decoded by safe code only.


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of zeros that says it has this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )  # fmt: skip

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min(height, 64) * (width + 1)))
    parts = [chunk(b"IHDR", header), *(chunk(*one) for one in chunks), chunk(b"IDAT", rows)]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IEND", b"")])


def tiff(width: int, height: int) -> bytes:
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1),
               (262, 3, 1, 1), (273, 4, 1, 8), (278, 4, 1, height), (279, 4, 1, 10)]  # fmt: skip
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4)


PICTURES: dict[str, bytes] = {
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch) run\nshowpage\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "XML that expands": b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><svg>&a;</svg>",
    "PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction 2 0 R>>endobj",
    "HTML": b"<html><script>alert(1)</script></html>",
    "a program": b"#!/bin/sh\ntouch {marker}\n",
    "a pickle": pickle.dumps({"a": 1}),
    "nothing": b"",
    "PNG of 10 gigapixels": png(100_000, 100_000),
    "PNG of one line of 2 gigapixels": png(2**31 - 1, 1)[:200],
    "PNG of 170 million lines": png(1, 170_000_000),
    "TIFF of 4 gigapixels": tiff(65_535, 65_535),
    "PNG cut off": png(64, 64)[:-30],
    "PNG, wrong checksum": png(64, 64).replace(b"IDAT", b"IDAS"),
    "BMP with a negative offset": b"BM" + struct.pack("<IHHI", 54, 0, 0, 0xFFFFFFF0) + bytes(40),
}


DICOM = ("that unpacks to 2 GB", "of 10,000 sequences in each other", "that is a JPEG as well")
PICTURES |= {f"DICOM {name}": HOSTILE[name] for name in DICOM}


def train_on(root: Path) -> list[str]:
    return ["train", *SMALL, "data=image_folder", f"data.root={root}"]


@attempts("picture", "theirs.png", PICTURES)
def _(name: str, scene: Scene) -> list[str]:
    scene.write("images/red/theirs.png", PICTURES[name])
    return train_on(write_images(scene.theirs / "images"))


ZEROS = bytes(20_000_000)


def zip_with(scene: Scene, content: bytes = b"", method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip of class folders with one file of this content."""
    images, archive = write_images(scene.theirs / "images"), scene.theirs / "theirs.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for name in sorted(files(images)):
            target.write(images / name, name)
        target.writestr("red/theirs.png", content, method)
    shutil.rmtree(images)
    return archive


@attempts("zip that unpacks to gigabytes", "theirs.png")
def _(_: str, scene: Scene) -> list[str]:
    archive = zip_with(scene, ZEROS)
    sizes = struct.pack("<I", len(ZEROS)), struct.pack("<I", 3_000_000_000)
    archive.write_bytes(archive.read_bytes().replace(*sizes))
    return train_on(archive)


@attempts("zip whose unpacking has no bound", "method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def _(method: int, scene: Scene) -> list[str]:
    return train_on(zip_with(scene, ZEROS, method))


@attempts("zip with a file inside another", "theirs.png")
def _(_: str, scene: Scene) -> list[str]:
    archive = zip_with(scene, b"x" * 1000)
    content = bytearray(archive.read_bytes())
    place = content.rfind(b"PK\1\2") + 42
    content[place : place + 4] = struct.pack("<I", 17)
    archive.write_bytes(content)
    return train_on(archive)


@attempts("zip cut off", "no readable zip", [0.3, 0.9, 0.999])
def _(share: float, scene: Scene) -> list[str]:
    archive = zip_with(scene)
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    return train_on(archive)


OUTSIDE = ["../../outside.jpg", "/outside.jpg", "flower_photos/link/outside.jpg"]


@attempts("archive that leads outside", "flower_photos", OUTSIDE)
def _(name: str, scene: Scene) -> list[str]:
    with tarfile.open(scene.theirs / "flower_photos.tgz", "w:gz") as target:
        if "link" in name:
            member = tarfile.TarInfo("flower_photos/link")
            member.type, member.linkname = tarfile.SYMTYPE, "../../.."
            target.addfile(member)
        member = tarfile.TarInfo(name)
        member.size = 1
        target.addfile(member, io.BytesIO(b"x"))
    return ["train", *SMALL, "data=flowers", f"data.root={scene.theirs}"]


@attempts("archive whose header says gigabytes", "cannot be unpacked", ["x", "L"])
def _(kind: str, scene: Scene) -> list[str]:
    header = tarfile.TarInfo("flower_photos/x")
    header.type, header.size = kind.encode(), 3_000_000_000
    scene.write("flower_photos.tgz", gzip.compress(header.tobuf() + ZEROS, 1))
    return ["train", *SMALL, "data=flowers", f"data.root={scene.theirs}"]


@attempts("MNIST that unpacks to gigabytes", "is damaged")
def _(_: str, scene: Scene) -> list[str]:
    with gzip.open(scene.theirs / "train-images-idx3-ubyte.gz", "wb", 1) as target:
        for _chunk in range(15):
            target.write(ZEROS)
    for name in ("train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        scene.write(name, b"")
    return ["train", *SMALL, "data=mnist", f"data.root={scene.theirs}"]


# Tables: any path may be named, but only a regular file that is a picture is read.

PATHS = ["/dev/zero", "/dev/random", "/proc/self/environ", "/etc/passwd", "../../../etc/passwd",
         "file:///etc/passwd", "http://127.0.0.1:1/x.png", "|id", "$(id)", "\0"]  # fmt: skip


@attempts("path in a table", "xpected", PATHS)
def _(path: str, scene: Scene) -> list[str]:
    write_images(scene.theirs / "images")
    lines = [f"{name},{name[0]}" for name in sorted(files(scene.theirs / "images"))]
    table = scene.write("images/theirs.csv", "\n".join(["path,label", *lines, f"{path},r"]))
    return ["train", *SMALL, "data=csv", f"data.csv={table}"]


# Addresses: the web only.

ADDRESSES = ["file:///etc/passwd", "ftp://127.0.0.1/x.png", "data://image/png;base64,AAAA",
             "gopher://127.0.0.1:1/_x", "FILE:///etc/passwd", "jar:http://127.0.0.1!/x",
             "http://[::1", "http://", "//127.0.0.1/x.png", "http://127.0.0.1:99999/"]  # fmt: skip


@attempts("address", "input=", ADDRESSES)
def _(address: str, scene: Scene) -> list[str]:
    return ["explain", f"checkpoint={scene.run}", f"input={address}"]


test_an_attempt_is_refused = refused(__name__)
