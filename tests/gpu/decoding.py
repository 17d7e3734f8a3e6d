"""Step: photographs of 500 x 375 as JPEG, decoded each epoch, once for all, and by others."""

import io
import multiprocessing
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tests.gpu.throughput import jpeg_rate
from tests.gpu.visit import Found, Visit, one_line
from torchvision import io as tio

from strided.data import Preprocessing
from strided.data.reading.decoding import decode

PIPELINES = {"store": "data.pipeline=store", "streaming": "data.pipeline=streaming"}


def work(visit: Visit) -> None:
    """Measure decoders alone, then training on the files."""
    contents = photographs(64 if visit.tiny else 4000)
    seconds = 0.05 if visit.tiny else 1.5
    for name, (images, run) in decoders(contents[:64]).items():
        try:
            visit.keep(name, {"images_per_second": round(images * per_second(run, seconds))})
        except RuntimeError as error:
            visit.keep(name, {"unavailable": one_line(error)[:120]})
    root = visit.scratch / "photographs.zip"
    with zipfile.ZipFile(root, "w") as archive:
        for index, content in enumerate(contents):
            archive.writestr(f"class_{index % 4}/{index:05d}.jpg", content)
    for name, word in PIPELINES.items():
        try:
            visit.keep(name, jpeg_rate(visit, root, [word]))
        except Exception as error:
            visit.keep(name, {"error": one_line(error)})
    Path(root).unlink()


def photographs(number: int) -> list[bytes]:
    """Smooth noise that takes about as many bytes a pixel as a photograph, each another."""
    with multiprocessing.get_context("fork").Pool(len(os.sched_getaffinity(0))) as pool:
        return pool.map(photograph, range(number), chunksize=16)


def photograph(index: int) -> bytes:
    """The JPEG file of one."""
    draw = np.random.default_rng(index)
    small = Image.fromarray(draw.integers(0, 256, (94, 125, 3), dtype=np.uint8))
    large = np.asarray(small.resize((500, 375), Image.Resampling.BICUBIC)).astype(int)
    large += draw.integers(-8, 9, large.shape)
    stream = io.BytesIO()
    Image.fromarray(large.clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=90)
    return stream.getvalue()


def decoders(contents: list[bytes]) -> dict[str, tuple[int, Callable[[int], object]]]:
    """The images of a call, and what decodes them: single cores, and NVIDIA's hardware."""
    prepare = Preprocessing(3, 224, crop_fraction=0.875)
    files = [io.BytesIO(content) for content in contents]
    encoded = [torch.frombuffer(bytearray(content), dtype=torch.uint8) for content in contents]

    def nvjpeg(_: int) -> None:
        tio.decode_jpeg(encoded, device="cuda")
        torch.cuda.synchronize()

    known: dict[str, tuple[int, Callable[[int], object]]] = {
        "strided, a core, to 224 px": (1, lambda i: prepare.pixels(decode(files[i % len(files)]))),
        "PIL, a core": (1, lambda i: Image.open(files[i % len(files)]).load()),
        "torchvision, a core": (1, lambda i: tio.decode_jpeg(encoded[i % len(files)])),
    }
    if torch.cuda.is_available():
        known["nvJPEG, the GPU"] = (len(contents), nvjpeg)
    return known


def per_second(run: Callable[[int], object], seconds: float) -> float:
    """Calls a second, after one that warms up."""
    torch.set_num_threads(1)
    run(0)
    started, calls = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        run(calls)
        calls += 1
    return calls / (time.perf_counter() - started)


def lines(found: Found) -> list[str]:
    """A line of rates, and the errors."""
    said = [f"{name}: {row['error'][:150]}" for name, row in found.items() if "error" in row]
    rates = {name: row.get("images_per_second", "unavailable") for name, row in found.items()}
    return [*said, "images/s: " + ", ".join(f"{name} {rate}" for name, rate in rates.items())]
