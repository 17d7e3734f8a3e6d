"""The files of checkpoints/: replaced whole, with the previous one kept, and checked on resume."""

import logging
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from strided.errors import UserError, first_line
from strided.runs.folder import BEST, LAST, PREVIOUS
from strided.system.durable import put, sync, sync_folder

log = logging.getLogger(__name__)


class PlainFile(TorchCheckpointIO):
    """Write a checkpoint directly to its path.

    Lightning writes into the system's temporary folder first, where a killed run leaves it, and
    holds a second copy in memory meanwhile.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        with open(path, "wb") as stream:
            torch.save(checkpoint, stream)


def make_last(unfinished: Path, *, also_best: bool) -> None:
    """Make a file the last.ckpt of its folder; the last.ckpt before becomes previous.ckpt.

    At any moment last.ckpt is whole. Also at any moment, best.ckpt holds the epoch that last.ckpt
    calls the best, or last.ckpt itself does: `find_resumable` then copies it.
    """
    folder = unfinished.parent
    last = folder / LAST
    sync(unfinished)
    if last.exists():
        _put_link(last, folder / PREVIOUS)
    os.replace(unfinished, last)
    if also_best:
        _put_copy(last, folder / BEST)
    sync_folder(folder)


def _put_link(source: Path, target: Path) -> None:
    """Make `target` another name of `source`, or a copy if the file system has no links."""
    unfinished = target.with_suffix(".tmp")
    unfinished.unlink(missing_ok=True)
    try:
        os.link(source, unfinished)
    except OSError:
        _put_copy(source, target)
        return
    os.replace(unfinished, target)
    unfinished.unlink(missing_ok=True)  # still there if both were names of one file already


def _put_copy(source: Path, target: Path) -> None:
    unfinished = target.with_suffix(".tmp")
    shutil.copyfile(source, unfinished)
    put(unfinished, target)


def find_resumable(folder: Path) -> Path | None:
    """Return the checkpoint to resume from, None if nothing was saved yet.

    A damaged last.ckpt is replaced by previous.ckpt. A damaged or outdated best.ckpt is replaced by
    whichever of the two holds the best epoch. Raises UserError if there is no such file.
    """
    for unfinished in folder.glob("*.tmp"):
        unfinished.unlink()
    last, previous = folder / LAST, folder / PREVIOUS
    states: dict[Path, dict[str, Any]] = {}
    reasons: dict[Path, str] = {}
    for file in (last, previous):
        if file.is_file():
            try:
                states[file] = _read(file)
            except DamagedError as error:
                reasons[file] = str(error)
    if not states and not reasons:
        return None
    if not states:
        found = ", ".join(f"{file.name} ({reason})" for file, reason in reasons.items())
        raise UserError(
            f"{folder} holds no checkpoint that is whole: {found}; expected last.ckpt or the one "
            f"before it, previous.ckpt. Try deleting {folder}: resume={folder.parent} then trains "
            "again from the start"
        )
    if last not in states:
        what = f"damaged ({reasons[last]})" if last in reasons else "gone"
        log.warning("%s is %s: going on from previous.ckpt, the one before it", last, what)
        _put_link(previous, last)  # so that the next save does not keep the damaged one
    _require_best(folder / BEST, states)
    return last


def _require_best(best: Path, states: dict[Path, dict[str, Any]]) -> None:
    """Require best.ckpt of the epoch that the first of the states calls the best, or a later one.

    A later epoch will be trained again, and its best.ckpt then written again.
    """
    resumed = next(iter(states.values()))
    epoch = resumed["callbacks"].get("Checkpoint", {}).get("best_epoch")
    if epoch is None:
        return
    try:
        found = _read(best)["epoch"] if best.is_file() else None
        reason = "it is gone" if found is None else f"it is of epoch {found}"
    except DamagedError as error:
        found, reason = None, str(error)
    if found is not None and found >= epoch:
        return
    for file, state in states.items():
        if state["epoch"] == epoch:
            log.warning("%s is made again from %s: %s", best, file.name, reason)
            _put_copy(file, best)
            return
    raise UserError(
        f"{best} cannot be used ({reason}), and no other file holds the weights of epoch {epoch}; "
        f"expected the checkpoint that is to be tested. Try deleting {best.parent}: "
        f"resume={best.parent.parent} then trains again from the start; or measure the newest "
        f"weights: eval checkpoint={best.with_name(LAST)}"
    )


class DamagedError(Exception):
    """A checkpoint differs from what was written; the message says where."""


def _read(file: Path) -> dict[str, Any]:
    """Load a checkpoint, its tensors mapped. Raises DamagedError."""
    check_sums(file)
    try:
        return dict(torch.load(file, map_location="cpu", weights_only=True, mmap=True))
    except Exception as error:  # of any kind: the bytes between the sums may hold anything
        raise DamagedError(first_line(error)) from error


def is_packed(file: Path) -> bool:
    """Whether a checkpoint is a zip, whole or cut off, as torch writes since version 1.6."""
    with file.open("rb") as stream:
        return stream.read(4) == b"PK\3\4"


def check_sums(file: Path) -> None:
    """Compare a checkpoint with its checksums, which torch.load does not do.

    Raises DamagedError; raises UserError for a file that cannot be opened, since its content is
    then unknown.
    """
    try:
        stream = file.open("rb")
    except OSError as error:
        raise UserError(
            f"{file} cannot be read ({error.strerror}); expected a file that this user can read. "
            "Try again, or as another user"
        ) from error
    with stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                if any(member.compress_type for member in archive.infolist()):
                    # a few bytes may unpack to gigabytes
                    raise DamagedError("it is packed, and torch packs nothing")
                broken = archive.testzip()
        except DamagedError:
            raise
        except zipfile.BadZipFile as error:
            cut = not zipfile.is_zipfile(file)
            reason = "its end is missing, as of a copy that broke off" if cut else first_line(error)
            raise DamagedError(reason) from error
        except Exception as error:  # of any kind, as above
            raise DamagedError(first_line(error)) from error
    if broken:
        raise DamagedError(f"wrong checksum of {broken}")
