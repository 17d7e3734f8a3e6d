"""A folder of the cache: one process builds it once, or many add to it, one at a time."""

import errno
import logging
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import DTypeLike

from strided.errors import UserError
from strided.system.durable import sync, sync_folder
from strided.system.machine import alone_in

log = logging.getLogger(__name__)

Built = TypeVar("Built")

_ABANDONED = 24 * 3600  # seconds after which a folder without a lock counts as abandoned


def open_or_build(
    folder: Path, load: Callable[[Path], Built], build: Callable[[Path], None], what: str
) -> Built:
    """Load a folder of the cache; build it first if it is missing or damaged.

    `load` raises FileNotFoundError, another OSError or ValueError. `build` fills a folder, which
    may hold the leftovers of a stopped build. Others that want the same folder wait for the first
    one. `what` names the content in messages. Raises UserError for a cache that cannot be used.
    """
    loaded = None
    with suppress(OSError, ValueError):  # missing, or damaged: reported when it is replaced
        loaded = load(folder)
    if loaded is not None:
        _remove_leftovers(folder)
        return loaded
    with _place_to_build(folder, what) as unfinished:
        try:
            return load(folder)  # another run has built it meanwhile
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            log.warning("%s in %s are damaged (%s): made again", what, folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        _remove_leftovers(folder, but=unfinished)
        try:
            unfinished.mkdir(exist_ok=True)
            build(unfinished)
            _publish(unfinished, folder)
        except OSError as error:
            raise cannot_write(folder.parent, what, str(error)) from error
        try:
            return load(folder)
        except (OSError, ValueError) as error:  # another user's, who does not share it
            raise cannot_write(folder.parent, what, str(error)) from error


def reserve(file: Path, shape: tuple[int, ...], dtype: DTypeLike) -> np.memmap:
    """Create an array with room on the disk; without, a full disk would kill the process."""
    needed = math.prod(shape) * np.dtype(dtype).itemsize
    free = shutil.disk_usage(file.parent).free
    if free < needed:
        raise OSError(errno.ENOSPC, f"{needed:,} bytes needed, {free:,} free")
    array = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    if hasattr(os, "posix_fallocate"):  # this also respects quotas
        with file.open("r+b") as stream:
            try:
                os.posix_fallocate(stream.fileno(), 0, file.stat().st_size)
            except OSError as error:
                if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                    raise
    return array


@contextmanager
def _place_to_build(folder: Path, what: str) -> Iterator[Path]:
    """Yield the name of a sibling folder that no other process builds in; waits until none does.

    Without locks it is a new folder, which is gone afterwards.
    """
    with ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            if _locked(folder, what, stack):
                place = folder.with_name(f"{folder.name}.unfinished")
            else:
                place = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
                stack.callback(shutil.rmtree, place, ignore_errors=True)
        except OSError as error:
            raise cannot_write(folder.parent, what, str(error)) from error
        yield place


@contextmanager
def alone_at(folder: Path, what: str) -> Iterator[None]:
    """Hold the lock of a folder that many runs add to; waits for the one that holds it.

    Raises UserError for a cache that cannot be used.
    """
    with ExitStack() as stack:
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            _locked(folder, what, stack)
        except OSError as error:
            raise cannot_write(folder.parent, what, str(error)) from error
        yield


def _locked(folder: Path, what: str, stack: ExitStack) -> bool:
    """Hold the lock of this folder until the stack is closed; False if there are no locks."""
    file = folder.with_name(f"{folder.name}.lock")
    try:
        try:
            return stack.enter_context(alone_in(file)) is not None
        except UserError:
            log.info("waiting for another process that makes the same %s (%s)", what, file)
            return stack.enter_context(alone_in(file, wait=True)) is not None
    except PermissionError:  # another user's, who shares finished folders
        return False


def _remove_leftovers(folder: Path, but: Path | None = None) -> None:
    """Remove what killed builds of the same store left, unless a run may still be building."""
    for leftover in folder.parent.glob(f"{folder.name}.*"):
        if leftover == but or not leftover.is_dir():
            continue
        with suppress(OSError, UserError), ExitStack() as stack:  # a run holds it now or just did
            if leftover.suffix == ".unfinished":
                stack.enter_context(alone_in(folder.with_name(f"{folder.name}.lock")))
            else:
                changed = max(f.stat().st_mtime for f in (leftover, *leftover.iterdir()))
                if time.time() - changed < _ABANDONED:
                    continue
            shutil.rmtree(leftover, ignore_errors=True)


def _publish(unfinished: Path, folder: Path) -> None:
    """Give the folder its name once all of it is on the disk."""
    for file in unfinished.iterdir():
        sync(file)
    unfinished.chmod(folder.parent.stat().st_mode & 0o777)  # shared as widely as the cache
    sync_folder(unfinished)
    try:
        unfinished.rename(folder)
    except OSError:  # another run was faster with the same store: its copy is as good
        if not folder.is_dir():
            raise
    sync_folder(folder.parent)


def cannot_write(cache_dir: Path, what: str, reason: str) -> UserError:
    """The error of a cache that cannot be used."""
    return UserError(
        f"data.cache_dir={cache_dir} cannot be used: {reason}; expected a folder to keep the"
        f" {what} in. Try data.cache_dir=<a folder with room that you can write to>"
    )
