"""What `resume=` makes of a run folder, whatever state that is in."""

import fcntl
import json
import os
import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import yaml
from tests.stopping import (
    TRUST,
    assert_same_outcome,
    checkpoint,
    results,
    resume,
    rows,
    stopping,
    train,
)

from strided.cli import main

pytestmark = pytest.mark.usefixtures("blank_figures")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs of the case in one session. Read only."""
    return train(tmp_path_factory.mktemp("uninterrupted"), "trainer.max_epochs=3")


def test_a_run_that_began_before_a_key_existed_goes_on(log_dir: Path, uninterrupted: Path) -> None:
    folder = train(log_dir, "trainer.max_epochs=3", *stopping(5), code=143)
    config = folder / "config.yaml"
    kept = [line for line in config.read_text().splitlines() if "channels_last" not in line]
    config.write_text("\n".join(kept))
    resume(folder, TRUST)
    assert_same_outcome(folder, uninterrupted)


def test_resume_without_a_checkpoint_starts_again_in_the_folder(
    uninterrupted: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    shutil.rmtree(folder / "checkpoints")
    for name in ("results.json", "predictions.csv", "report.html"):
        (folder / name).unlink()
    resume(folder)
    assert_same_outcome(folder, uninterrupted)


def test_resume_after_fit_completes_test_and_report(uninterrupted: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    kept = {k: v for k, v in results(folder).items() if not k.startswith("test/")}
    (folder / "results.json").write_text(json.dumps({**kept, "state": "interrupted"}))
    for name in ("predictions.csv", "report.html", "figures/loss.png"):
        (folder / name).unlink()
    resume(folder)
    assert_same_outcome(folder, uninterrupted)
    assert results(folder)["train_seconds"] == kept["train_seconds"]


def test_a_finished_run_whose_checkpoints_are_deleted_is_trained_again(
    uninterrupted: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    shutil.rmtree(folder / "checkpoints")
    resume(folder)
    assert_same_outcome(folder, uninterrupted)


def test_resume_after_a_kill_between_fit_and_results_completes_the_run(
    uninterrupted: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    for name in ("results.json", "predictions.csv", "report.html"):
        (folder / name).unlink()
    resume(folder)
    assert_same_outcome(folder, uninterrupted)
    assert results(folder)["command"] == results(uninterrupted)["command"]


def test_resume_of_a_complete_run_changes_no_number(uninterrupted: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    resume(folder)
    assert_same_outcome(folder, uninterrupted)


def test_more_epochs_continue_as_if_asked_for_at_first(log_dir: Path) -> None:
    case = ("scheduler=constant",)
    long = train(log_dir, *case, "trainer.max_epochs=4")
    folder = train(log_dir, *case, "trainer.max_epochs=2")
    resume(folder, "trainer.max_epochs=4")
    assert_same_outcome(folder, long)


@pytest.mark.parametrize("scheduler", ["cosine", "one_cycle"])
def test_more_epochs_stretch_the_schedule(scheduler: str, log_dir: Path) -> None:
    case = (f"scheduler={scheduler}",)
    long = train(log_dir, *case, "trainer.max_epochs=4")
    folder = train(log_dir, *case, "trainer.max_epochs=2")
    resume(folder, "trainer.max_epochs=4")
    found = rows(folder)
    assert [row["epoch"] for row in found] == ["0", "1", "2", "3"]
    rates = [float(row["lr"]) for row in found]
    expected = [float(row["lr"]) for row in rows(long)]
    assert rates[2:] == pytest.approx(expected[2:])
    assert rates[1] < expected[1]  # what the short run had come down to


def test_fewer_epochs_than_were_made_are_refused(
    copied_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", f"resume={copied_run}", "trainer.max_epochs=1"]) == 1
    assert "has made 2 epochs" in capsys.readouterr().err


def test_a_logger_typed_on_resume_keeps_what_else_the_run_said_of_it(
    log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wandb.init", lambda **_: 1 / 0)  # the run goes on without it
    words = ("logger=wandb", "logger.wandb.project=mine", "logger.wandb.offline=true")
    folder = train(log_dir, *words, "trainer.max_epochs=1")
    resume(folder, "trainer.max_epochs=2", "logger.wandb.init_timeout=20.0")
    logger = yaml.safe_load((folder / "config.yaml").read_text())["logger"]["wandb"]
    assert logger["project"] == "mine" and logger["init_timeout"] == 20.0
    resume(folder, "logger=wandb", "logger.wandb.watch=gradients")
    logger = yaml.safe_load((folder / "config.yaml").read_text())["logger"]["wandb"]
    assert logger["project"] == "mine" and logger["init_timeout"] == 20.0
    assert logger["watch"] == "gradients"


def damage(file: Path) -> None:
    """Flip a bit in the middle, among the weights: torch.load would not notice."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_damaged_last_checkpoint_is_replaced_by_the_one_before(
    uninterrupted: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    assert checkpoint(folder, "previous.ckpt")["epoch"] == 1
    damage(folder / "checkpoints" / "last.ckpt")
    (folder / "results.json").unlink()
    resume(folder)
    assert "going on from previous.ckpt" in (folder / "run.log").read_text()
    assert_same_outcome(folder, uninterrupted)


def test_checkpoints_that_are_all_damaged_are_a_mistake_that_says_what_to_try(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    damage(folder / "checkpoints" / "last.ckpt")
    os.truncate(folder / "checkpoints" / "previous.ckpt", 0)
    resume(folder, code=1)
    said = capsys.readouterr().err
    assert "previous.ckpt (its end is missing" in said and "Traceback" not in said
    assert f"Try deleting {folder / 'checkpoints'}" in said
    shutil.rmtree(folder / "checkpoints")
    (folder / "results.json").unlink()
    resume(folder)
    assert_same_outcome(folder, uninterrupted)


def test_more_epochs_for_a_run_that_stopped_early_change_nothing_and_that_is_said(
    log_dir: Path,
) -> None:
    case = ("optimizer.lr=0", "callbacks.early_stopping.patience=2", "trainer.max_epochs=5")
    folder = train(log_dir, *case)
    before, found = rows(folder), results(folder)
    assert len(before) == 3
    resume(folder, "trainer.max_epochs=9")
    assert rows(folder) == before and results(folder)["test/acc"] == found["test/acc"]
    said = (folder / "run.log").read_text().count("stopped early, before epoch 3")
    assert said == 2 and results(folder)["resumed_with"] == [["trainer.max_epochs=9"]]


seen: list[dict[str, Any]] = []


class Witness(pl.Callback):
    """Notes what results.json says while training."""

    def on_train_start(self, trainer: pl.Trainer, task: pl.LightningModule) -> None:
        seen.append(results(Path(trainer.default_root_dir)))


def test_results_of_a_run_under_way_say_so_and_hold_no_earlier_test(log_dir: Path) -> None:
    seen.clear()
    witness = f"+callbacks.witness._target_={__name__}.Witness"
    folder = train(log_dir, "trainer.max_epochs=1", TRUST, witness)
    first = results(folder)
    assert "test/acc" in first and "confusion" in first
    resume(folder, TRUST, "trainer.max_epochs=2")
    assert [kept["state"] for kept in seen] == ["running", "running"]
    stale = [key for key in seen[1] if key.startswith("test/") or key in ("confusion", "error")]
    assert stale == [] and seen[1]["best_epoch"] == first["best_epoch"]
    assert results(folder)["state"] == "finished" and "test/acc" in results(folder)


def test_a_folder_of_eval_cannot_be_resumed_and_stays_as_it_is(
    uninterrupted: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", f"checkpoint={uninterrupted}", f"log_dir={log_dir}"]) == 0
    (folder,) = log_dir.glob("eval/*/*")
    before = contents(folder)
    resume(folder, code=1)
    assert "is not a run of train" in capsys.readouterr().err
    assert contents(folder) == before


def test_a_run_that_another_process_is_at_work_in_is_left_alone(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    before = contents(folder)
    with (folder / "run.log").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        resume(folder, "trainer.max_epochs=9", code=1)
        assert "another process is at work" in capsys.readouterr().err
        assert contents(folder) == before
    resume(folder)  # the lock ends with its holder


def test_a_second_start_with_several_processes_leaves_a_run_alone_too(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    before = contents(folder)
    with (folder / "run.log").open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        resume(folder, "trainer.max_epochs=9", "trainer.devices=2", code=1)
    assert "another process is at work" in capsys.readouterr().err
    assert contents(folder) == before


def test_a_damaged_results_file_is_named(
    uninterrupted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(uninterrupted, tmp_path / "run"))
    os.truncate(folder / "results.json", 100)
    resume(folder, code=1)
    assert "results.json is damaged" in capsys.readouterr().err
    (folder / "results.json").unlink()
    resume(folder)
    assert_same_outcome(folder, uninterrupted)


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
