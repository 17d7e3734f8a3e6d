"""Which images a network was trained and validated on: checkpoints/seen.npy.

An entry is the digest of an image's decoded pixels. Names, tables and split seeds cannot hide an
image behind it. Its lowest bit says whether the image was trained on (1) or validated on (0).
"""

import hashlib
import logging
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from strided.data import ImageDataModule
from strided.errors import UserError
from strided.runs.folder import SEEN
from strided.system.durable import put, sync_folder
from strided.system.processes import gathered, is_first

log = logging.getLogger(__name__)

_TRAINED = np.uint64(1)
_ENTRY = np.dtype("<u8")


class SeenImages:
    """The entries of a run so far, in the order in which they were written.

    A store knows all of them at once. With data.pipeline=streaming they come as images are first
    read, so the file grows. It does so only at its end: a checkpoint names the number and the hash
    of the entries that it knows, and these stay true.
    """

    def __init__(self) -> None:
        self.entries: np.ndarray | None = np.empty(0, _ENTRY)  # None: not all of them are known
        self.name: dict[str, Any] | None = None  # of the entries, as a checkpoint holds it
        self._found = 0  # entries that the data gave last

    def begin(self, weights: str | None) -> None:
        """Begin with what the network was trained on whose weights are the first ones."""
        if weights is None or Path(weights).suffix != ".ckpt":
            return  # not of a run: nobody has kept its images
        file = Path(weights)  # gone, maybe, when a run goes on
        entries = read_seen(file, trained_on(file)) if file.is_file() else None
        if entries is None:
            log.info(
                "overlap with the images behind model.weights=%s cannot be checked: it has no %s",
                weights,
                SEEN,
            )
        else:
            self.entries = entries

    def go_on(self, checkpoint: Path, weights: str | None, data: ImageDataModule) -> None:
        """Go on with what a checkpoint of this run names; without it, begin again if possible."""
        entries = None
        with suppress(UserError):  # the file is damaged
            entries = read_seen(checkpoint, trained_on(checkpoint))
        if entries is not None:
            self.entries = entries
        elif data.pipeline == "streaming":  # nobody knows what was read before
            self.entries = None
        else:
            self.begin(weights)

    def keep(self, folder: Path, data: ImageDataModule) -> dict[str, Any] | None:
        """Write the file, if there is more to write; return what a checkpoint holds of it.

        All processes call it together; the first writes. None means that some images of the run
        are unknown: those of an earlier session, or those behind kept features.
        """
        streaming = data.pipeline == "streaming"
        if streaming and data.serves_features and not data.is_read:
            self.entries = None
        if self.entries is None:
            return None
        found = _entries(data)
        fresh = found[:0]
        if len(found) != self._found:
            self._found = len(found)
            fresh = np.setdiff1d(found, self.entries)
        if streaming:  # each process has read its share
            fresh = np.unique(np.concatenate(gathered(fresh)))
        if len(fresh) or self.name is None:
            self.entries = np.concatenate([self.entries, fresh]).astype(_ENTRY)
            if is_first():
                _write(folder / SEEN, self.entries)
            self.name = {"file": SEEN, "images": len(self.entries), "sha256": _hash(self.entries)}
        return self.name


def _entries(data: ImageDataModule) -> np.ndarray:
    train, val = (own[own != 0] & ~_TRAINED for own in map(data.digests, ("train", "val")))
    return np.concatenate([train | _TRAINED, val])


def _write(file: Path, entries: np.ndarray) -> None:
    unfinished = file.with_suffix(".tmp")
    with unfinished.open("wb") as stream:
        np.save(stream, entries, allow_pickle=False)
    put(unfinished, file)
    sync_folder(file.parent)  # before the checkpoint that names it gets its own name


def _hash(entries: np.ndarray) -> str:
    return hashlib.sha256(entries.tobytes()).hexdigest()


def trained_on(checkpoint: Path) -> Mapping[str, Any]:
    """What a checkpoint says about the images it was trained on; empty if it is no checkpoint."""
    mapped = zipfile.is_zipfile(checkpoint)  # others' may be in the format of torch before 1.6
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=mapped)
    known = saved.get("strided", {}).get("trained_on", {}) if isinstance(saved, dict) else {}
    return known if isinstance(known, dict) else {}


def read_seen(checkpoint: Path, known: Mapping[str, Any]) -> np.ndarray | None:
    """The entries that a checkpoint names in `trained_on`, from the file beside it.

    Returns None if it names none, or the file is not there. Raises UserError for another file than
    the one that it names: what it leaves out would be measured.
    """
    name, file = known.get("seen"), checkpoint.with_name(SEEN)  # never a path from a checkpoint
    if name is None or not file.is_file():
        return None
    try:
        entries = np.lib.format.open_memmap(file, mode="r")
        fits = entries.ndim == 1 and entries.dtype == _ENTRY and name["file"] == SEEN
        named = np.array(entries[: name["images"]]) if fits else None
        if named is not None and len(named) == name["images"] and _hash(named) == name["sha256"]:
            return named
    except Exception:  # a damaged header makes numpy raise nearly anything, a TokenError too
        log.debug("%s cannot be read", file, exc_info=True)
    raise UserError(
        f"{file} is not the list of images that {checkpoint.name} was saved with; expected the "
        "checkpoints/ of one run, as they were written. Try copying both files from there once "
        f"more; without any {SEEN} beside it, overlap is not checked"
    )


def are_seen(entries: np.ndarray, digests: np.ndarray, *, trained: bool) -> np.ndarray:
    """bool (N,): which of the digests (N,) the entries hold; `trained`: as images trained on."""
    if trained:
        entries = entries[entries & _TRAINED == _TRAINED]
    found: np.ndarray = np.isin(digests & ~_TRAINED, entries & ~_TRAINED)
    return found
