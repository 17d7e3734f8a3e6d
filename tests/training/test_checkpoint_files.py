"""The files of checkpoints/ at every instant of a save, and after they were damaged."""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from strided.errors import UserError
from strided.training import checkpoint_files as checkpoints
from strided.training.checkpoint_files import check_sums, find_resumable, make_last
from strided.training.loading import load_task

BEST = {0: True, 1: True, 2: False, 3: True}  # epoch: whether it was better than those before


class Killed(BaseException):
    """Stands for a power cut: nothing catches it."""


def write(folder: Path, epoch: int) -> Path:
    """What Lightning hands over after an epoch."""
    best = max(e for e in range(epoch + 1) if BEST[e])
    state = {
        "epoch": epoch,
        "callbacks": {"Checkpoint": {"best_epoch": best}},
        "state_dict": {"weight": torch.full((1000,), float(epoch))},
    }
    torch.save(state, folder / "last.tmp")
    return folder / "last.tmp"


def save(folder: Path, epoch: int) -> None:
    make_last(write(folder, epoch), also_best=BEST[epoch])


def epoch_of(file: Path) -> int:
    check_sums(file)
    state = torch.load(file, weights_only=True)
    assert float(state["state_dict"]["weight"][0]) == state["epoch"]
    return int(state["epoch"])


def killed_after(steps: int, patch: pytest.MonkeyPatch) -> list[str]:
    """Let only so many steps on files happen, and then none; return their names."""
    done: list[str] = []

    def counting(name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any) -> Any:
            if len(done) == steps:
                raise Killed
            done.append(name)
            return step(*arguments)

        return act

    for name in ("replace", "link", "fsync", "unlink"):
        patch.setattr(os, name, counting(name, getattr(os, name)))
    patch.setattr(shutil, "copyfile", counting("copyfile", shutil.copyfile))
    return done


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("epoch", list(BEST))
def test_at_every_instant_of_a_save_there_is_a_whole_checkpoint_and_the_best_can_be_had(
    epoch: int, links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError("no links here")

    if not links:
        monkeypatch.setattr(os, "link", refuse)
    for steps in range(100):
        folder = tmp_path / str(steps)
        folder.mkdir()
        for before in range(epoch):
            save(folder, before)
        write(folder, epoch)
        with monkeypatch.context() as patch:
            done = killed_after(steps, patch)
            try:
                make_last(folder / "last.tmp", also_best=BEST[epoch])
                finished = True
            except Killed:
                finished = False
        if epoch > 0:
            assert epoch_of(folder / "last.ckpt") in (epoch - 1, epoch)
        last = find_resumable(folder)
        if last is None:
            assert epoch == 0 and not finished
        else:
            state = torch.load(last, weights_only=True)
            assert epoch_of(folder / "best.ckpt") >= state["callbacks"]["Checkpoint"]["best_epoch"]
            assert not list(folder.glob("*.tmp"))
            next_one = epoch_of(last) + 1
            if next_one in BEST:  # nothing of the kill is in the way of the next save
                save(folder, next_one)
                assert epoch_of(folder / "last.ckpt") == next_one
                assert epoch_of(folder / "previous.ckpt") == next_one - 1
        if finished:
            break
    assert finished and len(done) >= 3 and done.count("replace") == 1 + (epoch > 0) + BEST[epoch]


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder after three epochs, the second of which was the best."""
    for epoch in range(3):
        save(tmp_path, epoch)
    return tmp_path


def test_the_checkpoint_before_the_last_is_kept(saved: Path) -> None:
    names = ("last.ckpt", "previous.ckpt", "best.ckpt")
    assert [epoch_of(saved / name) for name in names] == [2, 1, 1]
    assert sorted(file.name for file in saved.iterdir()) == sorted(names)


def test_any_damage_is_found_or_does_not_matter(saved: Path) -> None:
    """Some bytes of a zip file, such as dates, say nothing of what is in it."""
    last = saved / "last.ckpt"
    whole = last.read_bytes()
    (saved / "previous.ckpt").unlink()
    draw = random.Random(0)
    found = 0
    for _ in range(300):
        content = bytearray(whole)
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
        last.write_bytes(content)
        try:
            find_resumable(saved)
        except UserError:
            found += 1
        else:
            assert epoch_of(last) == 2
    assert found > 200
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        last.write_bytes(whole[:length])
        with pytest.raises(UserError, match="no checkpoint that is whole"):
            find_resumable(saved)


def test_a_file_that_cannot_be_opened_is_not_taken_for_a_damaged_one(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(file: Path, *_: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(file))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refuse)
        with pytest.raises(UserError, match="cannot be read"):
            find_resumable(saved)
    assert epoch_of(saved / "last.ckpt") == 2


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("harm", [flip, lambda file: os.truncate(file, 0), Path.unlink])
def test_previous_takes_the_place_of_a_last_checkpoint_that_is_damaged_or_gone(
    harm: Callable[[Path], None], saved: Path
) -> None:
    harm(saved / "last.ckpt")
    assert find_resumable(saved) == saved / "last.ckpt"
    assert epoch_of(saved / "last.ckpt") == epoch_of(saved / "previous.ckpt") == 1


def test_a_save_after_a_fallback_does_not_keep_the_damaged_file(saved: Path) -> None:
    flip(saved / "last.ckpt")
    find_resumable(saved)
    save(saved, 2)
    assert epoch_of(saved / "last.ckpt") == 2 and epoch_of(saved / "previous.ckpt") == 1


def test_a_damaged_best_checkpoint_is_made_again_from_what_was_saved_with_it(saved: Path) -> None:
    flip(saved / "best.ckpt")
    find_resumable(saved)
    assert epoch_of(saved / "best.ckpt") == 1  # from previous.ckpt


def test_a_damaged_best_checkpoint_that_nothing_else_holds_is_a_mistake_before_training(
    tmp_path: Path,
) -> None:
    for epoch in range(3):
        save(tmp_path, epoch)
    save(tmp_path, 2)  # inside the next epoch, say
    flip(tmp_path / "best.ckpt")
    with pytest.raises(UserError, match=r"best\.ckpt cannot be used \(wrong checksum .* epoch 1;"):
        find_resumable(tmp_path)
    with pytest.raises(UserError, match=r"best\.ckpt is damaged: wrong checksum"):
        load_task(tmp_path / "best.ckpt")
    os.truncate(tmp_path / "best.ckpt", 2000)  # a copy that broke off
    with pytest.raises(UserError, match=r"best\.ckpt is damaged: its end is missing.*Try a copy"):
        load_task(tmp_path / "best.ckpt")


def test_lightnings_detour_through_the_temporary_folder_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    checkpoints.PlainFile().save_checkpoint({"epoch": 0}, tmp_path / "last.tmp")
    assert torch.load(tmp_path / "last.tmp", weights_only=True) == {"epoch": 0}
