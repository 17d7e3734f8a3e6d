"""PNG, JPEG and DICOM files that say more than they hold, and whose parts contradict each other."""

import gzip
import struct
import zlib
from collections.abc import Iterator

from PIL import Image
from tests.dicom_files import DEFLATED, data_set, dicom, written
from tests.served import encoded, noise
from tests.service.hostile_files import MARKER, PNG, Files, encapsulated, whole, zipped


def chunk(kind: bytes, content: bytes, crc: int | None = None) -> bytes:
    """A chunk of a PNG."""
    right = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc or right)


def header(width: int, height: int, depth: int = 8, colour: int = 0, more: int = 0) -> bytes:
    """The first chunk of a PNG."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, more))


def rows(width: int, height: int) -> bytes:
    """The pixels of a black PNG, one bit each, packed; never unpacked in memory here."""
    packer = zlib.compressobj(9)
    row = bytes(1 + (width + 7) // 8)
    return b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])


def bombs() -> Files:
    """Small files that would become large."""
    packed = zlib.compress(bytes(2**26), 9)
    end, pixels = chunk(b"IEND", b""), chunk(b"IDAT", zlib.compress(bytes(9 * 8)))
    head = PNG + header(8, 8)
    found = {
        "png of 20,000 x 20,000": PNG + header(20_000, 20_000, 1)
        + chunk(b"IDAT", rows(20_000, 20_000)) + end,
        "png of 6,001 x 6,000": encoded(Image.new("1", (6001, 6000)), "PNG"),
        "png that says 2^31 - 1": PNG + header(2**31 - 1, 2**31 - 1) + pixels + end,
        "png that says a long line": PNG + header(2**31 - 1, 1) + pixels + end,
        "png with more pixels than it says": head + chunk(b"IDAT", packed) + end,
        "png with a text that unpacks": head + chunk(b"zTXt", b"a\0\0" + packed) + pixels + end,
        "png with an international text": head
        + chunk(b"iTXt", b"a\0\1\0\0\0" + packed) + pixels + end,
        "png with a profile that unpacks": head + chunk(b"iCCP", b"a\0\0" + packed) + pixels + end,
        "png that says 10^6 frames": head
        + chunk(b"acTL", struct.pack(">II", 10**6, 0)) + pixels + end,
        "jpeg that says 65,535 x 65,535": _jpeg_size(65_535, 65_535),
        "jpeg that says 6,001 x 6,000": _jpeg_size(6001, 6000),
        "jpeg of many scans": _many_scans(1000),
        "dicom that unpacks": _packed_dicom(2**26),
        "dicom that says 65,535 x 65,535": dicom(noise(8, 8), Rows=65_535, Columns=65_535),
        "dicom that says 10^9 frames": dicom(noise(8, 8), NumberOfFrames=10**9),
        "dicom with a jpeg that says more": written(encapsulated(_jpeg_size(65_500, 65_500))),
        "zip": zipped(bytes(2**24)),
        "gzip": gzip.compress(bytes(2**24)),
    }  # fmt: skip
    assert len(found["png of 20,000 x 20,000"]) < 10**6
    return found | of_many_parts()


def of_many_parts() -> Files:
    """Files whose parts are empty, and as many as fit."""
    kinds, size = whole(), 3 * 2**20
    png, jpeg = kinds["png"], kinds["jpeg"]
    after_header = len(PNG) + 25
    chunks = {"texts": chunk(b"tEXt", b"a\0b"), "pixels": chunk(b"IDAT", b""),
              "unknown ones": chunk(b"abCd", b"")}  # fmt: skip
    segments = {"comments": b"\xff\xfe\0\2", "profiles": b"\xff\xe2\0\6MPF\0",
                "restarts": b"\xff\xd0", "fill bytes": b"\xff"}  # fmt: skip
    return (
        {
            f"png of {name}": png[:after_header] + each * (size // len(each)) + png[after_header:]
            for name, each in chunks.items()
        }
        | {
            f"jpeg of {name}": jpeg[:2] + each * (size // len(each)) + jpeg[2:]
            for name, each in segments.items()
        }
        | {"jpeg of bytes between": jpeg[:20] + bytes(size) + jpeg[20:]}
    )


def _jpeg_size(width: int, height: int) -> bytes:
    content = bytearray(encoded(Image.fromarray(noise(16, 16)), "JPEG"))
    place = content.index(b"\xff\xc0") + 5
    content[place : place + 4] = struct.pack(">HH", height, width)
    return bytes(content)


def _many_scans(number: int) -> bytes:
    """A progressive JPEG of 6,000 x 5,900 pixels whose scans are repeated."""
    content = encoded(Image.new("L", (6000, 5900)), "JPEG", progressive=True)
    start = content.rindex(b"\xff\xda")
    return content[:start] + content[start:-2] * number + content[-2:]


def _packed_dicom(size: int) -> bytes:
    content = data_set(noise(8, 8), DEFLATED, PatientID=MARKER)
    content.PixelData = bytes(size)
    return written(content)


def broken_chunks() -> Files:
    """PNG and JPEG whose parts contradict each other, and odd ones that are right."""
    pixels, end = chunk(b"IDAT", zlib.compress(bytes(9 * 8))), chunk(b"IEND", b"")
    head = PNG + header(8, 8)
    found = {
        "png: no IHDR": PNG + pixels + end,
        "png: no IDAT": head + end,
        "png: no IEND": head + pixels,
        "png: IHDR twice": head + header(4000, 4000) + pixels + end,
        "png: IHDR late": PNG + pixels + header(8, 8) + end,
        "png: wrong checksum": head + chunk(b"IDAT", pixels[8:-4], 1) + end,
        "png: wrong checksum of IHDR": PNG + header(8, 8)[:-4] + bytes(4) + pixels + end,
        "png: 0 x 0": PNG + header(0, 0) + pixels + end,
        "png: 8 x 0": PNG + header(8, 0) + pixels + end,
        "png: a length of 2^31": head + b"\x80\0\0\0IDAT" + pixels[8:] + end,
        "png: a length past the end": head + b"\x0f\xff\xff\xffIDAT" + pixels[8:] + end,
        "png: pixels that are none": head + chunk(b"IDAT", MARKER.encode()) + end,
        "png: too few pixels": head + chunk(b"IDAT", zlib.compress(bytes(9))) + end,
        "png: no palette": PNG + header(8, 8, 8, 3) + pixels + end,
        "png: a palette of one": PNG + header(8, 8, 8, 3) + chunk(b"PLTE", b"abc") + pixels + end,
        "png: a palette of 4 bytes": PNG + header(8, 8, 8, 3)
        + chunk(b"PLTE", b"abcd") + pixels + end,
        "png: interlaced": PNG + header(8, 8, more=1) + pixels + end,
        "png: unknown chunk that must be known": head + chunk(b"ABCD", b"") + pixels + end,
        "png: damaged profile": head + chunk(b"iCCP", b"a\0\0" + b"\xff" * 9) + pixels + end,
        "png: damaged exif": head + chunk(b"eXIf", b"II*\0" + b"\xff" * 30) + pixels + end,
        "png: transparency of 1 byte": head + chunk(b"tRNS", b"a") + pixels + end,
        **{f"png: depth {depth}, colour {colour}": PNG + header(8, 8, depth, colour) + pixels + end
           for depth in (0, 3, 7, 16, 255) for colour in (0, 1, 2, 3, 5, 6)},
    }  # fmt: skip
    return found | dict(_broken_jpegs()) | _odd_pictures()


def _broken_jpegs() -> Iterator[tuple[str, bytes]]:
    content = encoded(Image.fromarray(noise(24, 24, 3)), "JPEG")
    segments = {"quantisation": b"\xff\xdb", "huffman": b"\xff\xc4", "frame": b"\xff\xc0",
                "scan": b"\xff\xda"}  # fmt: skip
    for name, mark in segments.items():
        start = content.index(mark)
        size = 2 + int.from_bytes(content[start + 2 : start + 4])
        segment = content[start : start + size]
        yield f"jpeg: no {name}", content[:start] + content[start + size :]
        yield f"jpeg: {name} twice", content[:start] + segment + content[start:]
        for length in (0, 1, 2, 65_535):
            changed = mark + struct.pack(">H", length) + segment[4:]
            yield f"jpeg: {name} of length {length}", content.replace(segment, changed, 1)
        filled = segment[:4] + b"\xff" * (size - 4)
        yield f"jpeg: {name} of ones", content.replace(segment, filled, 1)
    for kind in range(0xC1, 0xD0):  # lossless, hierarchical, arithmetic
        yield f"jpeg: frame of kind {kind:x}", content.replace(b"\xff\xc0", bytes((255, kind)), 1)
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"
    for name, rest in {
        "turned nine times": struct.pack("<HHI", 9, 0, 0),
        "in a circle": struct.pack("<HHI", 1, 0, 8),
        "cut off": b"",
    }.items():
        data = exif + rest
        segment = b"\xff\xe1" + struct.pack(">H", 2 + len(data)) + data
        yield f"jpeg: exif {name}", content[:2] + segment + content[2:]


def _odd_pictures() -> Files:
    """Pictures that are right, and seldom seen."""
    several = [Image.fromarray(noise(24, 24, 3)), Image.new("RGB", (30, 30))]
    return {
        "mpo": encoded(several[0], "MPO", save_all=True, append_images=several[1:]),
        "animated png": encoded(several[0], "PNG", save_all=True, append_images=several[1:]),
        "png of a pixel": encoded(Image.new("L", (1, 1)), "PNG"),
        "png of 1 x 20,000": encoded(Image.new("L", (1, 20_000)), "PNG"),
        "jpeg of 60,000 x 1": encoded(Image.new("L", (60_000, 1)), "JPEG"),
        "jpeg of CMYK": encoded(several[0].convert("CMYK"), "JPEG"),
        "png with transparency": encoded(several[0].convert("RGBA"), "PNG"),
        "png with a palette": encoded(several[0].convert("P"), "PNG"),
        "png of a bit": encoded(several[0].convert("1"), "PNG"),
        "jpeg of 16 M pixels": encoded(Image.new("L", (4000, 4000)), "JPEG"),
    }
