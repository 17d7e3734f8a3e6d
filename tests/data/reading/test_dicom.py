"""DICOM by the path of all pictures: in real processes, which end and are replaced."""

import io
import os
import signal
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from tests.dicom_files import DEFLATED, PATIENT, SHIPPED, dicom, written

from strided.data import ImageError, decode
from strided.data.reading import dicom as decoders
from strided.dicom.process import ANY

GREY = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
PLAIN = dicom(GREY)
NO_ELEMENT = b"\x09\0\x10\x10LO\0\0"  # private, and empty
SEQUENCE = b"\x08\0\x15\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"  # begins an item


def start_of(content: bytes) -> bytes:
    """A file up to the end of its file meta information."""
    return content[: 144 + int.from_bytes(content[140:144], "little")]


def zeros(megabytes: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(2**24)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (megabytes // 16)


def of_giants(name: str) -> bytes:
    """A JPEG 2000 file that ships with pydicom, whose codestream says 60,000 x 60,000 pixels."""
    data = pydicom.dcmread(SHIPPED / f"{name}.dcm")
    (frame,) = generate_frames(data.PixelData, number_of_frames=1)
    size = frame.index(b"\xff\x51") + 6
    giant = (60_000).to_bytes(4) * 2
    changed = frame[:size] + giant + frame[size + 8 : size + 16] + giant + frame[size + 24 :]
    data.PixelData = encapsulate([changed])
    return written(data)


HOSTILE = {
    "nothing behind the mark": PLAIN[:132],
    "cut off in its pixels": PLAIN[:-30],
    "cut off in its header": PLAIN[:300],
    "of pixels that are missing": dicom(GREY, Rows=13_000, Columns=13_000),
    "of more pixels than are read": dicom(GREY, Rows=65_535, Columns=65_535),
    "of no size": dicom(GREY[:0], Rows=0),
    "of a wrong VR": PLAIN.replace(b"\x28\0\x10\0US", b"\x28\0\x10\0??"),
    "of a VR that does not fit": PLAIN.replace(b"\x28\0\x10\0US", b"\x28\0\x10\0PN"),
    "that unpacks to 2 GB": start_of(dicom(GREY, DEFLATED)) + zeros(2000),
    "of JPEG 2000 that unpacks to 7 GB": of_giants("MR_small_jp2klossless"),
    "of 10,000 sequences in each other": start_of(PLAIN) + SEQUENCE * 10_000,
    "of a window in 10,000 sequences": start_of(PLAIN)
    + SEQUENCE.replace(b"\x08\0\x15\x11", b"\x28\0\x10\x30") * 10_000,
    "that is a JPEG as well": b"\xff\xd8\xff\xe0" + PLAIN[4:],
    "that is a PNG as well": b"\x89PNG\r\n\x1a\n" + PLAIN[8:],
    "of other bytes": PLAIN[:132] + bytes(range(256)) * 40,
}


def pids() -> set[int]:
    """The processes that decode for this one and are free."""
    pool = decoders._pools.get((os.getpid(), ANY))
    free = [one for one in (pool._places.queue if pool else ()) if one and one.is_running()]
    return {one._process.pid for one in free}


@pytest.fixture
def new_pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A pool that has no processes yet, for this test alone."""
    monkeypatch.setattr(decoders, "_pools", {})
    yield
    for pool in decoders._pools.values():
        for decoder in pool._places.queue:
            if decoder:
                decoder.end()


SLOW = start_of(PLAIN) + NO_ELEMENT * 8_000_000  # takes many seconds


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_and_the_next_one_is_read(name: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode(io.BytesIO(HOSTILE[name]))
    assert 10 < len(str(caught.value)) < 200 and PATIENT not in str(caught.value)
    assert not isinstance(caught.value.__cause__, MemoryError)  # which would stop a training
    assert np.array_equal(np.asarray(decode(io.BytesIO(PLAIN))), GREY)


def test_one_process_decodes_file_after_file() -> None:
    decode(io.BytesIO(PLAIN))
    before = pids()
    for _ in range(3):
        image = decode(io.BytesIO(dicom(np.zeros((4, 6, 3), dtype=np.uint8))))
    assert image.mode == "RGB" and image.size == (6, 4)
    assert pids() == before != set()


@pytest.mark.usefixtures("new_pool")
def test_a_process_that_was_started_before_the_first_file_decodes_it() -> None:
    for _ in range(2):
        decoders.start_decoder(ANY)
    before = pids()
    decode(io.BytesIO(PLAIN))
    assert pids() == before and len(before) == 1


def test_a_large_file_may_follow_a_small_one() -> None:
    decode(io.BytesIO(PLAIN))
    private = b"\x09\0\x10\x10OB\0\0" + (160_000_000).to_bytes(4, "little") + bytes(160_000_000)
    with pytest.raises(ImageError, match="pixels are missing"):
        decode(io.BytesIO(start_of(PLAIN) + private))


def test_a_file_that_begins_as_a_tiff_is_read_as_dicom() -> None:
    image = decode(io.BytesIO(b"II*\0\x08\0\0\0" + PLAIN[8:]))  # scanners write that
    assert image.mode == "L" and np.array_equal(np.asarray(image), GREY)


def test_a_file_without_the_mark_is_called_so() -> None:
    for start in (b"\x08\0\x05\0CS\x0a\0ISO_IR 100", b"\x08\0\x05\0\x0a\0\0\0ISO_IR 100"):
        with pytest.raises(ImageError, match="DICOM without the mark DICM"):
            decode(io.BytesIO(start + bytes(600)))


def test_a_process_that_has_ended_is_replaced() -> None:
    decode(io.BytesIO(PLAIN))
    (before, *_) = pids()
    os.kill(before, signal.SIGKILL)
    while before in pids():
        time.sleep(0.01)
    assert np.array_equal(np.asarray(decode(io.BytesIO(PLAIN))), GREY)
    assert before not in pids()


@pytest.mark.usefixtures("new_pool")
def test_a_process_that_is_killed_at_work_is_no_fault_of_the_file() -> None:
    decode(io.BytesIO(PLAIN))
    (pid,) = pids()
    killer = threading.Timer(0.3, os.kill, (pid, signal.SIGKILL))
    killer.start()
    with pytest.raises(ImageError, match="was killed, maybe out of memory") as caught:
        decode(io.BytesIO(SLOW))
    killer.join()
    assert isinstance(caught.value.__cause__, MemoryError)


@pytest.mark.usefixtures("new_pool")
def test_a_file_that_takes_too_long_ends_its_process() -> None:
    with pytest.raises(ImageError, match="takes more than 0 seconds to decode"):
        decode(io.BytesIO(SLOW), ANY._replace(seconds=0))
    assert pids() == set()


@pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="looks into /proc")
def test_a_process_may_write_no_file_and_leave_no_dump() -> None:
    decode(io.BytesIO(PLAIN))
    (pid, *_) = pids()
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    limits = {line[:26].strip(): line[26:].split()[0] for line in lines}
    assert limits["Max file size"] == limits["Max core file size"] == "0"
    assert int(limits["Max address space"]) < 2 * 2**30 and int(limits["Max cpu time"]) < 100


@pytest.mark.usefixtures("new_pool")
@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks into /proc")
def test_a_process_has_no_secret_and_no_file_of_its_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "a-secret")
    with (tmp_path / "open.txt").open("w") as opened:
        os.set_inheritable(opened.fileno(), True)
        decode(io.BytesIO(PLAIN))
        (pid,) = pids()
        assert b"a-secret" not in Path(f"/proc/{pid}/environ").read_bytes()
        held = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
    assert all(place.startswith("pipe:") or place == os.devnull for place in held), held


def shade(grey: int) -> int:
    """Decode a picture of one grey, many times; return what it is."""
    content = dicom(np.full((200, 200), grey, dtype=np.uint8))
    shades = {
        int(value)
        for _ in range(20)
        for value in np.unique(np.asarray(decode(io.BytesIO(content))))
    }
    (found,) = shades
    return found


def test_forked_processes_do_not_share_a_decoder() -> None:
    assert shade(7) == 7  # now this process has one
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        results = pool.map(shade, range(20, 26))
        assert [shade(grey) for grey in range(4)] == [*range(4)]
        assert list(results) == [*range(20, 26)]


@pytest.mark.usefixtures("new_pool")
def test_threads_share_a_few_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "_MOST_PROCESSES", 2)
    with ThreadPoolExecutor(5) as threads:
        assert list(threads.map(shade, range(5))) == [*range(5)]
    assert 1 <= len(pids()) <= 2


@pytest.mark.usefixtures("new_pool")
def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders, "find_spec", lambda name: None if name == "rle" else object())
    with pytest.raises(ImageError, match=r"\(rle\): pip install 'strided\[dicom\]'"):
        decode(io.BytesIO(PLAIN))
    monkeypatch.setattr(decoders, "_COMMAND", (*decoders._COMMAND[:2], "-c", "exit(3)"))
    monkeypatch.setattr(decoders, "find_spec", lambda _: object())
    with pytest.raises(ImageError, match=r"cannot be imported: pip install 'strided\[dicom\]'"):
        decode(io.BytesIO(PLAIN))


FUZZED = (
    *("MR_small_RLE", "SC_rgb_jpeg_dcmtk", "MR_small_jp2klossless", "MR_small_implicit"),
    *("SC_rgb_small_odd", "SC_ybr_full_422_uncompressed", "SC_rgb_gdcm_KY"),
)


def decoded(content: bytes) -> Image.Image | ImageError:
    try:
        return decode(io.BytesIO(content))
    except ImageError as error:
        return error


def check_changed(case: int) -> None:
    """Change some bytes of a file: it is a picture, or it is refused in words of strided's own."""
    noise = np.random.default_rng(case)
    if case % 8 == 7:
        content = bytearray(dicom(GREY, DEFLATED))
    else:
        content = bytearray((SHIPPED / f"{FUZZED[case % 8]}.dcm").read_bytes())
    whole = len(content) if case % 2 else min(len(content), 2000)  # headers more than pixels
    for place in noise.integers(132, whole, size=1 + case % 7):
        content[place] = noise.integers(256)
    found = decoded(bytes(content))
    if isinstance(found, ImageError):
        assert not isinstance(found.__cause__, MemoryError), case
        assert str(found).startswith(("DICOM", "damaged DICOM", "too large", "a DICOM")), case
    else:
        assert found.mode in ("L", "RGB") and min(found.size) > 0, case


def test_changed_bytes_give_a_picture_or_a_reason() -> None:
    for case in range(20):
        check_changed(case)


@pytest.mark.slow
@pytest.mark.parametrize("case", range(20, 220))
def test_more_changed_bytes_give_a_picture_or_a_reason(case: int) -> None:
    check_changed(case)
