import csv
import json
import logging
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import wandb
import yaml
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from PIL import Image
from sklearn.datasets import load_digits
from wandb.proto.wandb_internal_pb2 import Record  # type: ignore[attr-defined]

from strided import compose
from strided.cli import main
from strided.config.schema import MONITORS
from strided.config.yaml_files import CONF_DIR
from strided.loggers import WandbLogger
from strided.training.loading import load_task

pytestmark = pytest.mark.usefixtures("blank_figures")

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
    ends = time.monotonic() + 10
    while True:
        try:
            return parsed(file.read_bytes())
        except DecodeError:  # W&B's own process may still be writing the last one
            if time.monotonic() > ends:
                raise
            time.sleep(0.1)


def parsed(data: bytes) -> list[Record]:
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
    assert run.job_type == "train" and run.run_group == ""
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
    assert "confusion" not in summary and "state" not in summary
    assert [row["lr"] for row in history] == [0.001, 0.001]
    steps = {r.metric.glob_name or r.metric.name: r.metric for r in found if r.HasField("metric")}
    assert steps["*"].step_metric == "trainer/global_step"


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


def eventually(is_so: Callable[[], bool]) -> bool:
    """Wait for what W&B's own process writes a little after the run has ended."""
    for _ in range(60):
        if is_so():
            return True
        time.sleep(0.5)
    return False


def test_an_unreachable_server_means_an_offline_run(
    run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_MODE")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    folder = run_train(*FAST, "logger.wandb.init_timeout=2")
    assert results(folder)["state"] == "finished"
    assert (folder / "run.log").read_text().count("W&B did not start (online)") == 1
    assert eventually(lambda: any(history_of(records(run)) for run in offline_runs(folder)))


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
    assert eventually(
        lambda: [r.exit.exit_code for r in records(offline) if r.HasField("exit")] == [1]
    )


def test_a_quick_run_does_not_log_to_wandb(run_train: Train) -> None:
    assert not (run_train(*FAST, "debug=fast_dev_run") / "wandb").exists()


def test_a_logger_that_was_never_started_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    logger = WandbLogger()
    with caplog.at_level(logging.INFO):
        logger.log_metrics({"a": 1.0}, 1)
        logger.finish(Path(), {"test/acc": 1.0}, [])
        logger.close(failed=False)
    assert not caplog.records and logger.version is None


@pytest.fixture(scope="module")
def grouped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a sweep of two jobs with two loggers; all that can be asked for is logged."""
    log_dir = tmp_path_factory.mktemp("sweep")
    words = ("model=mlp", "data.train_fraction=0.2", "trainer=cpu", "trainer.max_epochs=2")
    asked = (
        "logger=[csv,wandb,tensorboard]",
        "logger.wandb.watch=gradients",
        "logger.wandb.log_model=true",
        "logger.wandb.notes=two seeds",
        "tags=[digits]",
    )
    assert main(["train", "-m", *words, *asked, "seed=0,1", f"log_dir={log_dir}"]) == 0
    wandb.teardown()
    (folder,) = log_dir.glob("multirun/*/*")
    return folder


@pytest.fixture(scope="module")
def job(grouped: Path) -> Path:
    """The folder of the first job."""
    return grouped / "0"


def test_the_jobs_of_a_sweep_are_runs_of_their_own_in_one_group(grouped: Path) -> None:
    runs = []
    for number in ("0", "1"):
        (offline,) = offline_runs(grouped / number)
        assert list((grouped / number / "tensorboard").iterdir())
        runs.append(next(r.run for r in records(offline) if r.HasField("run")))
    assert runs[0].run_id != runs[1].run_id
    assert {run.run_group for run in runs} == {f"mlp-digits/{grouped.name}"}
    assert [run.display_name[-2:] for run in runs] == ["/0", "/1"]


def test_the_summary_of_a_sweep_is_a_run_of_the_same_group(grouped: Path) -> None:
    (offline,) = offline_runs(grouped)
    found = records(offline)
    run = next(r.run for r in found if r.HasField("run"))
    assert (run.job_type, run.run_group) == ("sweep", f"mlp-digits/{grouped.name}")
    assert run.display_name == f"mlp-digits/{grouped.name}" and run.notes == "two seeds"
    assert list(run.tags) == ["digits"] and config_of(found)["model"]["hidden"] == [512, 256]
    tables, (first, second) = tables_of(grouped), (results(grouped / n) for n in "01")
    columns, rows = tables["jobs"]["columns"], tables["jobs"]["data"]
    assert [row[columns.index("seed")] for row in rows] == [0, 1]
    accuracies = [row[columns.index("test/acc")] for row in rows]
    assert accuracies == [first["test/acc"], second["test/acc"]]
    (chart,) = (table for key, table in tables.items() if key.startswith("chart"))
    mean = (first["best_val/acc"] + second["best_val/acc"]) / 2
    assert [bar[1] for bar in chart["data"]] == pytest.approx([mean])
    summary = summary_of(found)
    assert summary["num_finished"] == 2 and summary["best_val/acc"] == pytest.approx(mean)
    (page,) = (offline / "files/media/html").iterdir()
    assert page.read_bytes() == (grouped / "summary.html").read_bytes()


def test_an_offline_run_is_complete(job: Path) -> None:
    (offline,) = offline_runs(job)
    found, known = records(offline), results(job)
    run = next(r.run for r in found if r.HasField("run"))
    assert (list(run.tags), run.notes, run.job_type) == (["digits"], "two seeds", "train")
    config = config_of(found)
    kept = yaml.safe_load((job / "config.yaml").read_text())
    assert {key: config[key] for key in kept} == kept
    summary = summary_of(found)
    numbers = {key: value for key, value in known.items() if isinstance(value, float)}
    assert {key: summary[key] for key in numbers} == numbers
    with (job / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    history = [row for row in history_of(found) if "val/acc" in row]
    for row, line in zip(history, rows, strict=True):
        logged = {name: row[name] for name, value in line.items() if value and name != "step"}
        assert logged == pytest.approx({name: float(line[name]) for name in logged})
    media = media_of(found)
    pictures = {key.removeprefix("figures/") for key in media if key.startswith("figures/")}
    assert pictures == {file.stem for file in (job / "figures").glob("*.png")}
    assert {"report", "test/misclassified", "test/classes"} < media.keys()
    for file in media.values():
        assert (offline / "files" / file["path"]).stat().st_size == file["size"]


def media_of(found: list[Record]) -> dict[str, dict[str, Any]]:
    """The pictures, pages and tables that a history refers to, by what is logged."""
    media: dict[str, dict[str, Any]] = {}
    for row in history_of(found):
        for key, value in row.items():
            name, _, fact = key.rpartition("/")
            if fact in ("path", "size"):
                media.setdefault(name, {})[fact] = value
    return media


def tables_of(job: Path) -> dict[str, dict[str, Any]]:
    """The tables that an offline run would upload, by what is logged; with what they refer to."""
    (offline,) = offline_runs(job)
    found: dict[str, dict[str, Any]] = {}
    for record in records(offline):
        artifact = record.artifact
        for entry in artifact.manifest.contents:
            if entry.path.endswith(".table.json"):
                key = entry.path.removesuffix(".table.json")
                files = {e.path: Path(e.local_path) for e in artifact.manifest.contents}
                found[key] = {**json.loads(files[entry.path].read_text()), "files": files}
    return found


def test_the_most_confident_errors_are_logged_with_their_pictures(job: Path) -> None:
    table = tables_of(job)["test/misclassified"]
    assert table["columns"] == ["picture", "true", "predicted", "probability", "path"]
    with (job / "predictions.csv").open(newline="") as stream:
        rows = {row["path"]: row for row in csv.DictReader(stream)}
    wrong = [row for row in rows.values() if row["label"] != row["predicted"]]
    sure = sorted((float(row[f"prob/{row['predicted']}"]) for row in wrong), reverse=True)
    assert len(table["data"]) == min(16, len(wrong)) > 3
    assert [row[3] for row in table["data"]] == pytest.approx(sure[:16], abs=1e-6)
    for picture, true, predicted, _, path in table["data"]:
        assert true == rows[path]["label"] != predicted == rows[path]["predicted"]
        pixels = np.asarray(Image.open(table["files"][picture["path"]]))
        original = load_digits().images[int(path)] * 255 / 16
        assert np.abs(pixels[..., 0] - original).max() <= 1


def test_a_row_per_class_and_the_confusion_matrix_are_logged(job: Path) -> None:
    tables, known = tables_of(job), results(job)
    columns, rows = tables["test/classes"]["columns"], tables["test/classes"]["data"]
    assert columns[:2] == ["class", "precision"] and [row[0] for row in rows] == known["classes"]
    assert rows[3][columns.index("recall")] == pytest.approx(known["test/recall/3"])
    (confusion,) = (t for key, t in tables.items() if key.startswith("test/confusion"))
    counts = [row[2] for row in confusion["data"]]
    assert counts == [count for row in known["confusion"] for count in row]


def test_gradients_the_report_and_the_best_checkpoint_are_logged_when_asked_for(job: Path) -> None:
    (offline,) = offline_runs(job)
    found = records(offline)
    history = [row for row in history_of(found) if "val/acc" in row]
    network = load_task(job / "checkpoints" / "best.ckpt").model
    for row in history:
        watched = {key.split("/")[1] for key in row if key.startswith("gradients/")}
        assert watched == {name for name, _ in network.named_parameters()}
    first, second = ({k: v for k, v in row.items() if "output.bias" in k} for row in history)
    assert sum(history[0]["gradients/output.bias/values"]) == 10 and first != second
    (page,) = (offline / "files/media/html").iterdir()
    assert page.read_bytes() == (job / "report.html").read_bytes()
    artifacts = [r.artifact for r in found]
    (model,) = (artifact for artifact in artifacts if artifact.type == "model")
    (file,) = model.manifest.contents
    assert "best" in model.aliases and model.name.endswith((job / "wandb/run_id").read_text())
    assert Path(file.local_path).read_bytes() == (job / "checkpoints/best.ckpt").read_bytes()
    assert job in Path(file.local_path).parents, "a run folder is all there is of a run"


def test_a_job_leaves_the_environment_as_it_was(grouped: Path) -> None:
    assert "WANDB_DATA_DIR" not in os.environ


def test_the_sweep_in_the_documents_is_one_that_an_agent_can_run() -> None:
    sweep = yaml.safe_load((CONF_DIR.parent / "docs" / "wandb_sweep.yaml").read_text())
    assert sweep["metric"]["name"] in MONITORS and (CONF_DIR.parent / sweep["program"]).is_file()
    values = {
        key: parameter["values"][0] if "values" in parameter else parameter["min"]
        for key, parameter in sweep["parameters"].items()
    }
    # what the agent puts in for its macros
    macros = {
        "${env}": ["/usr/bin/env"],
        "${interpreter}": ["python"],
        "${program}": [sweep["program"]],
        "${args_no_hyphens}": [f"{key}={value}" for key, value in values.items()],
    }
    command = [word for part in sweep["command"] for word in macros.get(part, [part])]
    assert command[:3] == ["/usr/bin/env", "python", "src/train.py"]
    config = compose("train", command[3:])
    assert config["optimizer"]["lr"] == values["optimizer.lr"] and "wandb" in config["logger"]
