"""Every image decoded once, kept as memory-mapped uint8 arrays in the cache folder."""

import hashlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from strided.data.decoding import ImageError
from strided.data.preprocessing import Preprocessing
from strided.data.source import Source, digest
from strided.errors import UserError

log = logging.getLogger(__name__)

_FORMAT = 1  # raise it when the same source and preprocessing would give another store
_CHUNK = 256  # images per task: large enough to keep the pool's overhead out of sight
_WORTH_A_THREAD = 1e-3  # seconds to decode one image
_ABANDONED = 24 * 3600  # seconds after which nobody still builds in a folder
_LONG_BUILD = 5_000  # images from which a progress bar is worth its line


@dataclass(frozen=True)
class Store:
    """images uint8 (N, C, S, S) and digests uint8 (N, 16), both mapped from `folder`.

    A digest identifies the decoded pixels before resizing. errors holds the reason for each image
    that could not be read (its pixels are zero). fingerprint depends on content alone.
    """

    folder: Path
    images: np.ndarray
    digests: np.ndarray
    errors: dict[int, str]
    fingerprint: str


def open_store(
    source: Source, preprocessing: Preprocessing, cache_dir: Path, num_workers: int
) -> Store:
    """Open the store of this source and input geometry, building it where it is not there yet."""
    geometry = {**preprocessing.asdict(), "mean": None, "std": None}
    key = digest(_FORMAT, PIL.__version__, source.listing, geometry)[:24]
    folder = cache_dir / key
    shape = (len(source), preprocessing.channels, *[preprocessing.image_size] * 2)
    if (store := _load(folder, shape)) is None:
        shutil.rmtree(folder, ignore_errors=True)  # there only when damaged
        with _new_folder(folder, needed=int(np.prod(shape))) as unfinished:
            _build(source, preprocessing, shape, unfinished, num_workers)
        store = _load(folder, shape)
        if store is None:  # of another user, who does not share it
            raise _cannot_write(cache_dir, f"{folder.name} there cannot be read or replaced")
    return store


def default_cache_dir() -> Path:
    """`$XDG_CACHE_HOME/strided`, or `~/.cache/strided`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "strided"


def _load(folder: Path, shape: tuple[int, ...]) -> Store | None:
    """None where there is no store, or a damaged one."""
    try:
        meta = json.loads((folder / "meta.json").read_text())
        images = np.load(folder / "images.npy", mmap_mode="r")
        digests = np.load(folder / "digests.npy", mmap_mode="r")
        errors = {int(index): reason for index, reason in meta["errors"].items()}
        fingerprint = str(meta["fingerprint"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        log.warning("cached images in %s are damaged (%s): decoding again", folder, error)
        return None
    return Store(folder, images, digests, errors, fingerprint) if images.shape == shape else None


@contextmanager
def _new_folder(folder: Path, needed: int) -> Iterator[Path]:
    """Yield a temporary sibling that takes the folder's place once it is complete."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(folder)
        unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise _cannot_write(folder.parent, str(error)) from error
    try:
        free = shutil.disk_usage(unfinished).free
        if free < needed:  # writing a memory map on a full disk would kill the process
            raise _cannot_write(folder.parent, f"{needed:,} bytes needed, {free:,} free")
        yield unfinished
        unfinished.chmod(folder.parent.stat().st_mode & 0o777)  # mkdtemp's is for one user alone
        try:
            unfinished.rename(folder)
        except OSError:  # another run was faster with the same images: its copy is as good
            if not folder.is_dir():
                raise
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed builds of the same store left, unless a run may still be at it."""
    for leftover in folder.parent.glob(f"{folder.name}.*"):
        with suppress(OSError):  # another run may have removed it just now
            if time.time() - leftover.stat().st_mtime > _ABANDONED:
                shutil.rmtree(leftover, ignore_errors=True)


def _cannot_write(cache_dir: Path, reason: str) -> UserError:
    return UserError(
        f"data.cache_dir={cache_dir} cannot be used: {reason}; expected a folder to keep the"
        " decoded images in. Try data.cache_dir=<a folder with room that you can write to>"
    )


def _build(
    source: Source,
    preprocessing: Preprocessing,
    shape: tuple[int, ...],
    folder: Path,
    num_workers: int,
) -> None:
    started = time.perf_counter()
    create = np.lib.format.open_memmap
    images = create(folder / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
    digests = create(folder / "digests.npy", mode="w+", dtype=np.uint8, shape=(len(source), 16))
    errors: dict[int, str] = {}

    def fill(first: int) -> int:
        last = min(first + _CHUNK, len(source))
        for index in range(first, last):
            try:
                image = source.read(index)
                images[index] = preprocessing.pixels(image)
                digests[index] = np.frombuffer(_pixel_digest(image), dtype=np.uint8)
            except ImageError as error:
                errors[index] = str(error)
        return last - first

    _fill_all(fill, len(source), num_workers)
    images.flush()
    digests.flush()
    meta = {"errors": errors, "fingerprint": _fingerprint(source, digests)}
    (folder / "meta.json").write_text(json.dumps(meta))
    log.info("decoded %d images in %.1f s", len(source), time.perf_counter() - started)


def _fill_all(fill: Callable[[int], int], total: int, num_workers: int) -> None:
    from tqdm import tqdm

    started = time.perf_counter()
    first = fill(0)
    # Pillow frees the GIL while it decodes, but tiny images spend their time in Python: there,
    # threads only wait for each other (CIFAR-10 takes twice as long with two as with one).
    if (time.perf_counter() - started) / first < _WORTH_A_THREAD:
        num_workers = 1
    quiet = total < _LONG_BUILD or not sys.stderr.isatty()
    with (
        ThreadPoolExecutor(num_workers) as pool,
        tqdm(total=total, desc="decoding", unit=" images", disable=quiet, leave=False) as bar,
    ):
        bar.update(first)
        for count in pool.map(fill, range(first, total, _CHUNK)):
            bar.update(count)


def _pixel_digest(image: Image.Image) -> bytes:
    header = f"{image.mode} {image.size}".encode()
    return hashlib.blake2b(header + image.tobytes(), digest_size=16).digest()


def _fingerprint(source: Source, digests: np.ndarray) -> str:
    content = hashlib.sha256(digest(source.classes, source.paths).encode())
    content.update(source.labels.tobytes())
    content.update(digests.tobytes())
    return content.hexdigest()
