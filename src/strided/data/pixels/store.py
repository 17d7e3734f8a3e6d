"""Every image decoded once, kept as memory-mapped uint8 arrays in the cache folder."""

import hashlib
import json
import logging
import os
import time
import zlib
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL

from strided.data.pixels.copies import DIGEST_BYTES
from strided.data.pixels.filling import CHUNK, Job, Task, fill, open_arrays
from strided.data.preprocessing import Preprocessing
from strided.data.reading.decoding import ImageError
from strided.data.reading.depth import WHITE
from strided.data.source import Source, digest
from strided.system.built_once import open_or_build, reserve
from strided.system.verbosity import shows_bars

log = logging.getLogger(__name__)

_FORMAT = 4  # raise it when the same source and preprocessing would give another store
_LONG_BUILD = 5_000  # images from which a progress bar is useful
_SUMS = "crc32.npy"
_JOURNAL = "chunks.jsonl"  # of a build: a line for each finished chunk
_TRIED_AGAIN = 32  # unreadable images of a store


@dataclass(frozen=True)
class Store:
    """images uint8 (N, C, S, S), digests uint8 (N, 16) and crc32 uint32 (N,) from `folder`.

    A digest identifies the decoded pixels before resizing. crc32 is of the pixels in `images`,
    which whoever reads them compares: checking all of them at the start would read the whole
    file. All else is checked when the store is opened. errors holds the reason for each image
    that could not be read (its pixels are zero). bright has the `brightness` of each image of 16
    bits. fingerprint depends on content alone; it is of the source, since other ones with other
    classes may share a store.
    """

    folder: Path
    images: np.ndarray
    digests: np.ndarray
    crc32: np.ndarray
    errors: dict[int, str]
    fingerprint: str
    bright: dict[int, int]


class Done(NamedTuple):
    """What the journal of a build says about a finished chunk."""

    checksum: str
    errors: dict[int, str]
    bright: dict[int, int]


def open_store(
    source: Source, preprocessing: Preprocessing, cache_dir: Path, num_workers: int
) -> Store:
    """Open the store of this source and input geometry; build it first if it does not exist.

    One process builds; others that want the same store wait for it. The next build continues with
    what a stopped one has decoded. A store is built again if an image can be read that could not.
    Raises UserError for a cache that cannot be used.
    """
    white = preprocessing.white or WHITE
    geometry = {**preprocessing.asdict(), "mean": None, "std": None, "white": white}
    key = digest(_FORMAT, PIL.__version__, source.listing, geometry)[:24]
    shape = (len(source), preprocessing.channels, *[preprocessing.image_size] * 2)

    is_new = False

    def build(unfinished: Path) -> None:
        nonlocal is_new
        _build(source, Job(source.read, preprocessing, unfinished), shape, num_workers)
        is_new = True

    def load(folder: Path) -> Store:
        found = _load(folder, source, shape)
        if not is_new:
            _require_unreadable(found.errors, source, preprocessing)
        return found

    store = open_or_build(cache_dir / key, load, build, "decoded images")
    with suppress(OSError):  # gone already, or another user's
        (store.folder / _JOURNAL).unlink()
    return store


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/strided`, or `~/.cache/strided`."""
    return Path(os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")) / "strided"


def _load(folder: Path, source: Source, shape: tuple[int, ...]) -> Store:
    """Load a store; FileNotFoundError if it does not exist, OSError or ValueError if damaged."""
    if not folder.exists():
        raise FileNotFoundError(folder)
    try:
        images, digests = open_arrays(folder, "r")
        crc32 = np.load(folder / _SUMS, allow_pickle=False)
        meta = json.loads((folder / "meta.json").read_text())
        if meta["checksum"] != _checksum(meta, digests, crc32):
            raise ValueError("other content than was written")
        errors = {int(index): str(reason) for index, reason in meta["errors"].items()}
        bright = {int(index): int(value) for index, value in meta["bright"].items()}
    except (FileNotFoundError, KeyError, AttributeError, TypeError, EOFError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error
    if images.shape != shape:
        raise ValueError(f"images of shape {images.shape}, not {shape}")
    return Store(folder, images, digests, crc32, errors, fingerprint_of(source, digests), bright)


def _require_unreadable(
    errors: dict[int, str], source: Source, preprocessing: Preprocessing
) -> None:
    """Raise ValueError if one of some images that could not be read can be now.

    A zip lists what its files should hold. So a damaged one has the key of a whole copy of it.
    """
    some = np.linspace(0, len(errors) - 1, min(_TRIED_AGAIN, len(errors))).astype(int)
    for index in np.array(sorted(errors))[some].tolist():
        with suppress(ImageError):
            preprocessing.pixels(source.read(index))
            raise ValueError(f"{source.paths[index]} could not be read, and now it can")


def _checksum(meta: dict[str, Any], digests: np.ndarray, crc32: np.ndarray) -> str:
    """Of all of a store except its pixels."""
    sums = [zlib.crc32(np.ascontiguousarray(array).data) for array in (digests, crc32)]
    facts = [sorted(meta[key].items()) for key in ("errors", "bright")]
    return digest(*facts, meta.get("fingerprint"), crc32.shape, sums)  # older stores have one


def _build(source: Source, job: Job, shape: tuple[int, ...], num_workers: int) -> None:
    """Fill the job's folder with a whole store; continues what an earlier build left there."""
    from tqdm import tqdm

    done = _prepare(job.folder, shape)
    errors: dict[int, str] = {}
    bright: dict[int, int] = {}
    for known in done.values():
        errors.update(known.errors)
        bright.update(known.bright)
    chunks = range(-(-len(source) // CHUNK))
    tasks = [Task(chunk, None) for chunk in chunks if chunk not in done]
    tasks += [Task(chunk, known.checksum) for chunk, known in done.items()]
    crc32 = np.zeros(len(source), dtype=np.uint32)
    kept = 0
    started = time.perf_counter()
    if done:
        there = min(len(done) * CHUNK, len(source))
        log.info("continuing a stopped decoding: %d of %d images are there", there, len(source))
    quiet = len(source) < _LONG_BUILD or not shows_bars()
    with (
        tqdm(total=len(source), desc="decoding", unit=" images", disable=quiet, leave=False) as bar,
        (job.folder / _JOURNAL).open("a", encoding="utf-8") as journal,
        closing(fill(job, tasks, num_workers)) as results,
    ):
        journal.write("\n")  # ends a line that was cut off
        for chunk, count, checksum, found, sums, values in results:
            bar.update(count)
            crc32[chunk * CHUNK : chunk * CHUNK + count] = sums
            if found is None:
                kept += count
                continue
            if chunk in done:
                log.warning(
                    "%d images from %d on were damaged: decoded again", count, chunk * CHUNK
                )
                for index in range(chunk * CHUNK, chunk * CHUNK + count):
                    errors.pop(index, None)
                    bright.pop(index, None)
            errors.update(found)
            bright.update(values)
            journal.write(json.dumps([chunk, checksum, found, values]) + "\n")
            journal.flush()
    _, digests = open_arrays(job.folder, "r")
    np.save(job.folder / _SUMS, crc32)
    meta: dict[str, Any] = {
        "errors": {str(index): why for index, why in sorted(errors.items())},
        "bright": {str(index): value for index, value in sorted(bright.items())},
    }
    meta["checksum"] = _checksum(meta, digests, crc32)
    (job.folder / "meta.json").write_text(json.dumps(meta))
    seconds = time.perf_counter() - started
    log.info(
        "decoded %d images in %.1f s (%.0f a second)%s",
        len(source) - kept,
        seconds,
        (len(source) - kept) / seconds,
        f"; {kept} of {len(source)} were there already" if kept else "",
    )


def _prepare(folder: Path, shape: tuple[int, ...]) -> dict[int, Done]:
    """What is known of the chunks that a stopped build left; else create empty arrays."""
    try:
        if open_arrays(folder, "r")[0].shape == shape:
            return _read_journal(folder / _JOURNAL, len(range(0, shape[0], CHUNK)))
    except (OSError, ValueError, EOFError):  # nothing, or not enough, to continue from
        pass
    for file in folder.iterdir():
        file.unlink()
    reserve(folder / "images.npy", shape, np.uint8)
    reserve(folder / "digests.npy", (shape[0], DIGEST_BYTES), np.uint8)
    return {}


def _read_journal(file: Path, num_chunks: int) -> dict[int, Done]:
    done = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError, TypeError, AttributeError):  # cut off, or not written by a build
            chunk, checksum, errors, bright = json.loads(line)
            found = {int(index): str(why) for index, why in errors.items()}
            values = {int(index): int(value) for index, value in bright.items()}
            if chunk in range(num_chunks):
                done[int(chunk)] = Done(str(checksum), found, values)
    return done


def fingerprint_of(source: Source, digests: np.ndarray) -> str:
    """Hash of classes, names, labels and the digests of pixels, uint8 (N, 16)."""
    content = hashlib.sha256(digest(source.classes, source.paths).encode())
    content.update(source.labels.tobytes())
    content.update(digests.tobytes())
    return content.hexdigest()
