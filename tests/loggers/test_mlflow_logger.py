import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from strided.cli import main
from strided.runs.folder import read_results

pytestmark = pytest.mark.usefixtures("blank_figures")

FAST = ("model=mlp", "data.train_fraction=0.2", "data.batch_size=32", "logger=mlflow")

Train = Callable[..., Path]


def client(log_dir: Path) -> MlflowClient:
    return MlflowClient(f"sqlite:///{log_dir / 'mlflow' / 'mlflow.db'}")


def run_of(folder: Path, log_dir: Path) -> Run:
    return client(log_dir).get_run(yaml.safe_load((folder / "mlflow.yaml").read_text())["run_id"])


def test_a_run_and_its_rest_are_one_run_of_the_store_that_all_runs_share(
    run_train: Train, log_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    folder = run_train(*FAST, "tags=[a,b]")
    other = run_train(*FAST, "model=lenet5", "trainer.limit_train_batches=1")
    assert main(["train", f"resume={folder}", "trainer.max_epochs=2"]) == 0
    assert not list(elsewhere.iterdir())

    run, results, mlflow = run_of(folder, log_dir), read_results(folder), client(log_dir)
    experiment = mlflow.get_experiment_by_name("strided")
    assert experiment is not None
    found = mlflow.search_runs([experiment.experiment_id])
    assert {r.info.run_id for r in found} == {run.info.run_id, run_of(other, log_dir).info.run_id}
    assert run.info.run_name == f"mlp-digits/{folder.name}" and run.info.status == "FINISHED"
    assert run.data.params["optimizer.lr"] == "0.001"
    assert run.data.tags.keys() >= {"a", "b"}
    assert run.data.tags["mlflow.source.git.commit"] == results["git"]["commit"]
    for name in ("test/acc", "best_val/acc", "train_seconds"):
        assert run.data.metrics[name] == results[name]
    epochs = mlflow.get_metric_history(run.info.run_id, "val/acc")
    assert len(epochs) == 2 and epochs[0].step < epochs[1].step

    names = {file.path for file in mlflow.list_artifacts(run.info.run_id)}
    figures = {file.name for file in (folder / "figures").iterdir()}
    assert {"confusion.png", "loss.png", "misclassified.png"} < figures
    assert names == {"config.yaml", "results.json", "report.html", *figures}
    kept = Path(run.info.artifact_uri.removeprefix("file://"))
    assert log_dir / "mlflow" in kept.parents
    assert (kept / "report.html").read_bytes() == (folder / "report.html").read_bytes()
    assert json.loads((kept / "results.json").read_text())["test/acc"] == results["test/acc"]


def test_the_jobs_of_a_sweep_go_to_the_server_of_the_environment_with_its_name_as_a_tag(
    log_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = f"sqlite:///{tmp_path / 'own.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    words = (*FAST, "logger.mlflow.experiment=mine", "trainer=cpu", "trainer.max_epochs=1")
    rates = ("optimizer=sgd", "optimizer.lr=0.01,1e30")  # the second one diverges
    assert main(["train", "-m", *words, *rates, f"log_dir={log_dir}"]) == 1
    assert not (log_dir / "mlflow" / "mlflow.db").exists() and not list(elsewhere.iterdir())
    (sweep,) = log_dir.glob("multirun/*/*")
    mlflow = MlflowClient(server)
    experiment = mlflow.get_experiment_by_name("mine")
    assert experiment is not None
    failed, finished = mlflow.search_runs([experiment.experiment_id])  # the newest first
    assert (finished.info.status, failed.info.status) == ("FINISHED", "FAILED")
    for number, run in (("0", finished), ("1", failed)):
        kept = yaml.safe_load((sweep / number / "mlflow.yaml").read_text())
        assert kept["run_id"] == run.info.run_id
        assert run.data.tags["sweep"] == f"mlp-digits/{sweep.name}"


def test_a_server_that_cannot_be_reached_does_not_stop_a_run(
    run_train: Train, log_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder = run_train(*FAST, "logger.mlflow.tracking_uri=http://127.0.0.1:9")
    assert read_results(folder)["state"] == "finished"
    assert (folder / "run.log").read_text().count("MLflow did not start") == 1
    assert not (log_dir / "mlflow").exists()


def test_nothing_is_sent_to_mlflows_makers() -> None:
    assert os.environ.get("MLFLOW_DISABLE_TELEMETRY") == "true"
