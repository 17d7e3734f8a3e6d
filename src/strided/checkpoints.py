"""The files of checkpoints/: replaced whole, the one before kept, checked before a resume."""

import logging
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from strided.durable import put, sync, sync_folder
from strided.errors import UserError

log = logging.getLogger(__name__)


class PlainFile(TorchCheckpointIO):
    """Write a checkpoint where it was asked for.

    Lightning writes into the system's temporary folder first, where a killed run leaves it, and
    holds a second copy in memory meanwhile.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        with open(path, "wb") as stream:
            torch.save(checkpoint, stream)


def keep(unfinished: Path, *, also_best: bool) -> None:
    """Make a file the last.ckpt of its folder, the one until now previous.ckpt.

    Whatever comes in between, last.ckpt is whole, and either best.ckpt is of the epoch that
    last.ckpt calls the best, or last.ckpt itself is: `resumable` then copies it.
    """
    folder = unfinished.parent
    last = folder / "last.ckpt"
    sync(unfinished)
    if last.exists():
        _put_link(last, folder / "previous.ckpt")
    os.replace(unfinished, last)
    if also_best:
        _put_copy(last, folder / "best.ckpt")
    sync_folder(folder)


def _put_link(source: Path, target: Path) -> None:
    """Let `target` be another name of `source`, or a copy where the file system has no links."""
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


def resumable(folder: Path) -> Path | None:
    """Return the checkpoint to go on from, None where nothing was saved yet.

    A damaged last.ckpt is replaced by previous.ckpt; a best.ckpt that is damaged or behind, by the
    one of them that was saved with it. Raises UserError where there is no such file.
    """
    for unfinished in folder.glob("*.tmp"):
        unfinished.unlink()
    last, previous = folder / "last.ckpt", folder / "previous.ckpt"
    reasons = {file: damage(file) for file in (last, previous) if file.is_file()}
    if not reasons:
        return None
    whole = [file for file, reason in reasons.items() if reason is None]
    if not whole:
        found = ", ".join(f"{file.name} ({reason})" for file, reason in reasons.items())
        raise UserError(
            f"{folder} holds no checkpoint that is whole: {found}; expected last.ckpt or the one "
            f"before it, previous.ckpt. Try deleting {folder}: resume={folder.parent} then trains "
            "again from the start"
        )
    if whole[0] == previous:
        log.warning(
            "%s is %s: going on from previous.ckpt, the one before it",
            last,
            f"damaged ({reasons[last]})" if last in reasons else "gone",
        )
        _put_link(previous, last)  # so that the next save does not keep the damaged one
    _require_best(folder, whole)
    return last


def _require_best(folder: Path, whole: list[Path]) -> None:
    """Have best.ckpt of the epoch that the resumed state calls the best, or of a later one.

    A later epoch is trained again, and its best.ckpt then written again.
    """
    best = folder / "best.ckpt"
    state = torch.load(whole[0], weights_only=True, mmap=True)
    epoch = state["callbacks"].get("Checkpoint", {}).get("best_epoch")
    if epoch is None:
        return
    reason = damage(best) if best.is_file() else "it is gone"
    if reason is None:
        found = torch.load(best, weights_only=True, mmap=True)["epoch"]
        if found >= epoch:
            return
        reason = f"it is of epoch {found}"
    for file in whole:
        if torch.load(file, weights_only=True, mmap=True)["epoch"] == epoch:
            log.warning("%s is made again from %s: %s", best, file.name, reason)
            _put_copy(file, best)
            return
    raise UserError(
        f"{best} cannot be used ({reason}), and no other file holds the weights of epoch {epoch}; "
        f"expected the checkpoint that is to be tested. Try deleting {folder}: "
        f"resume={folder.parent} then trains again from the start; or measure the newest weights: "
        f"eval checkpoint={folder / 'last.ckpt'}"
    )


def damage(file: Path) -> str | None:
    """Return what is wrong with a checkpoint, None if it is whole.

    Compares checksums, which torch.load does not. Raises UserError for a file that cannot be
    opened: what it holds is not known then.
    """
    try:
        stream = file.open("rb")
    except OSError as error:
        raise UserError(
            f"{file} cannot be read ({error.strerror}); expected a file that this user can read. "
            "Try again, or another user"
        ) from error
    with stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                broken = archive.testzip()
        except Exception as error:  # of any kind: the bytes may say anything
            return str(error) or type(error).__name__
    return f"wrong checksum of {broken}" if broken else None
