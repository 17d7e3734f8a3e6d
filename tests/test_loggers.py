import csv
import json
import logging
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import wandb
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from strided.cli import main
from strided.loggers import WandbLogger

FAST = ("model=mlp", "data.train_fraction=0.2", "data.batch_size=32", "logger=wandb")

Train = Callable[..., Path]


@pytest.fixture(autouse=True)
def stop_the_service() -> Iterator[None]:
    """wandb keeps a process of its own, which would hold on to this test's settings."""
    yield
    wandb.teardown()


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def offline_runs(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("offline-run-*"))


def records(offline_run: Path) -> list[Record]:
    """What an offline run would send to the server: protobufs in LevelDB's log format."""
    (file,) = offline_run.glob("run-*.wandb")
    data = file.read_bytes()
    found, part, at = [], b"", 7  # after wandb's own header
    while at + 7 <= len(data):
        if (room := 32_768 - at % 32_768) < 7:  # a block ends with padding
            at += room
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        part += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            found.append(Record.FromString(part))
            part = b""
    return found


def config_of(found: list[Record]) -> dict[str, Any]:
    updates = [item for r in found if r.HasField("run") for item in r.run.config.update]
    return {item.key: json.loads(item.value_json) for item in updates}


def summary_of(found: list[Record]) -> dict[str, Any]:
    updates = [item for r in found if r.HasField("summary") for item in r.summary.update]
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in updates}


def history_of(found: list[Record]) -> list[dict[str, Any]]:
    return [
        {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in r.history.item}
        for r in found
        if r.HasField("history")
    ]


def test_an_offline_run_lies_inside_the_run_folder_and_nowhere_else(
    run_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder = run_train(*FAST, "trainer.max_epochs=2", "tags=[a,b]")
    (offline,) = offline_runs(folder)
    assert not list(elsewhere.iterdir())
    assert not [path for path in tmp_path.rglob("*wandb*") if folder not in path.parents]

    found = records(offline)
    run = next(r.run for r in found if r.HasField("run"))
    assert (folder / "wandb" / "run_id").read_text() == run.run_id
    assert run.project == "strided" and run.display_name == f"mlp-digits/{folder.name}"
    assert list(run.tags) == ["a", "b"]

    config = config_of(found)
    assert config["model"]["hidden"] == [512, 256] and config["seed"] == 0
    assert config["git_commit"] == results(folder)["git"]["commit"]

    history = [row for row in history_of(found) if "val/acc" in row]
    with (folder / "metrics.csv").open(newline="") as stream:
        kept = [float(row["val/acc"]) for row in csv.DictReader(stream)]
    assert [row["val/acc"] for row in history] == pytest.approx(kept)
    assert history[0]["trainer/global_step"] < history[1]["trainer/global_step"]
    summary = summary_of(found)
    assert summary["test/acc"] == results(folder)["test/acc"]
    assert summary["best_val/acc"] == results(folder)["best_val/acc"]


def test_a_resumed_run_goes_on_in_the_same_wandb_run(run_train: Train) -> None:
    folder = run_train(*FAST)
    run_id = (folder / "wandb" / "run_id").read_text()
    assert main(["train", f"resume={folder}", "trainer.max_epochs=2"]) == 0
    assert (folder / "wandb" / "run_id").read_text() == run_id
    ids = {r.run.run_id for run in offline_runs(folder) for r in records(run) if r.HasField("run")}
    assert ids == {run_id}


def test_no_account_and_no_network_are_needed_with_offline_true(
    run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    folder = run_train(*FAST, "logger.wandb.offline=true")
    assert len(offline_runs(folder)) == 1 and "W&B" not in (folder / "run.log").read_text()


def test_an_unreachable_server_means_an_offline_run(
    run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    folder = run_train(*FAST, "logger.wandb.init_timeout=2")
    assert results(folder)["state"] == "finished"
    assert (folder / "run.log").read_text().count("W&B did not start (online)") == 1
    assert any(history_of(records(run)) for run in offline_runs(folder))


def test_wandb_that_does_not_start_does_not_stop_a_run(
    run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init(**_: Any) -> None:
        raise RuntimeError("no such thing today\nand more lines")

    monkeypatch.setattr(wandb, "init", init)
    folder = run_train(*FAST)
    assert results(folder)["state"] == "finished" and results(folder)["test/acc"] > 0
    warnings = (folder / "run.log").read_text().count("W&B did not start")
    assert warnings == 1, "offline was asked for: there is nothing else to try"


class BrokenRun:
    """A W&B run whose server has gone."""

    id = "abc"
    summary: dict[str, Any]

    def __init__(self) -> None:
        self.summary = {}
        self.calls = 0

    def define_metric(self, *_: Any, **__: Any) -> None:
        pass

    def log(self, *_: Any, **__: Any) -> None:
        self.calls += 1
        raise ConnectionError("the server has gone")

    def finish(self, **_: Any) -> None:
        raise ConnectionError("the server has gone")


def test_wandb_that_fails_later_is_switched_off_with_one_warning(
    run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = BrokenRun()
    monkeypatch.setattr(wandb, "init", lambda **_: broken)
    folder = run_train(*FAST, "trainer.max_epochs=3")
    assert results(folder)["state"] == "finished" and broken.calls == 1
    assert (folder / "run.log").read_text().count("switched off") == 1


def test_a_failed_run_is_a_failed_run_at_wandb(log_dir: Path) -> None:
    words = (*FAST, "trainer=cpu", "trainer.max_epochs=1", "optimizer=sgd", "optimizer.lr=1e30")
    assert main(["train", *words, f"log_dir={log_dir}"]) == 1
    (folder,) = log_dir.glob("train/*/*")
    (offline,) = offline_runs(folder)
    assert [r.exit.exit_code for r in records(offline) if r.HasField("exit")] == [1]


def test_a_quick_run_does_not_log_to_wandb(run_train: Train) -> None:
    assert not (run_train(*FAST, "debug=fast_dev_run") / "wandb").exists()


def test_a_logger_that_was_never_started_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    logger = WandbLogger()
    with caplog.at_level(logging.INFO):
        logger.log_metrics({"a": 1.0}, 1)
        logger.log_summary({"a": 1.0})
        logger.close(failed=False)
    assert not caplog.records and (logger.name, logger.version) == ("strided", None)


def test_runs_in_one_process_are_runs_of_their_own(run_train: Train) -> None:
    first, second = run_train(*FAST), run_train(*FAST)
    ids = [(folder / "wandb" / "run_id").read_text() for folder in (first, second)]
    assert ids[0] != ids[1] and all(len(offline_runs(folder)) == 1 for folder in (first, second))


def test_csv_logger_adds_nothing(run_train: Train) -> None:
    folder = run_train("model=mlp", "data.train_fraction=0.2", "logger=csv")
    assert not (folder / "wandb").exists() and (folder / "metrics.csv").exists()
    shutil.rmtree(folder)
