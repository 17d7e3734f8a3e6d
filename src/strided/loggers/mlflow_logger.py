"""MLflow: a run of a tracking server, or of the local store that all runs share."""

import logging
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from strided.errors import UserError
from strided.evaluation.examples import Example
from strided.loggers.run_logger import RunLogger, StartedRun, flat, summary
from strided.runs.folder import RunFolder, log_folder
from strided.runs.results import Results
from strided.system.durable import write_text
from strided.system.plain_data import read_yaml

log = logging.getLogger(__name__)

# MLflow is configured by environment variables; variables that are set already win.
ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # its 7 would block a run for minutes ...
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",  # seconds; ... each of them for two
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_DISABLE_TELEMETRY": "true",  # no data leaves unless the user sends it
}
MOST_PARAMS = 100  # in one request, a limit of MLflow's


class MLflowLogger(RunLogger):
    """Log to MLflow: scalars per epoch, the config as params, report and figures as artifacts.

    The server is `tracking_uri`, else MLFLOW_TRACKING_URI, else a store in `<log_dir>/mlflow`. All
    runs share that store, since MLflow compares only runs of one store. The run's id is kept in
    `<run folder>/mlflow.yaml`, so that a resumed run continues the same MLflow run.

    Args:
        tracking_uri: Address of the server; null: MLFLOW_TRACKING_URI, else a store in log_dir.
        experiment: The name of the experiment that the run belongs to.
    """

    title, package = "MLflow", "mlflow"

    def __init__(self, tracking_uri: str | None = None, experiment: str = "strided") -> None:
        super().__init__()
        self.tracking_uri, self.experiment = tracking_uri, experiment

    def _start(self, run: StartedRun) -> None:
        file = run.folder / "mlflow.yaml"
        self._step = 0
        with _quiet():
            from mlflow.tracking import MlflowClient

            store = (log_folder(run.config["log_dir"]) / "mlflow").resolve()
            uri = self.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
            uri = uri or f"sqlite:///{store / 'mlflow.db'}"
            is_local = uri.startswith("sqlite:")
            if is_local:
                store.mkdir(parents=True, exist_ok=True)
            self._client = MlflowClient(uri)
            known = _run_id_of(file, store, uri if self.tracking_uri else None)
            self._run_id = known or self._create(run, store if is_local else None)
            self._client.update_run(self._run_id, status="RUNNING")
        said = {"run_id": self._run_id, "store": str(store), "tracking_uri": self.tracking_uri}
        write_text(file, yaml.safe_dump(said))

    def _create(self, run: StartedRun, store: Path | None) -> str:
        from mlflow.entities import Param

        known = self._client.get_experiment_by_name(self.experiment)
        # by default, artifacts of a local store would go into ./mlruns
        artifacts = (store / "artifacts").as_uri() if store else None
        if known and artifacts and known.artifact_location != artifacts:
            raise UserError(
                f"MLflow's store {store} keeps files in {known.artifact_location}; expected "
                f"{artifacts}. Try another logger.mlflow.experiment=<name>"
            )
        experiment = (
            known.experiment_id
            if known
            else self._client.create_experiment(self.experiment, artifacts)
        )
        tags = {"mlflow.source.git.commit": run.commit, "sweep": run.sweep}
        tags |= dict.fromkeys(run.config["tags"], "")
        created = self._client.create_run(
            experiment, run_name=run.name, tags={k: v for k, v in tags.items() if v is not None}
        ).info.run_id
        params = [Param(key, str(value)) for key, value in flat(run.config).items()]
        for at in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(created, params=params[at : at + MOST_PARAMS])
        config = yaml.safe_dump(run.config, sort_keys=False)
        self._client.log_text(created, config, RunFolder(run.folder).config.name)
        return str(created)

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        from mlflow.entities import Metric

        self._step, now = step, int(time.time() * 1000)
        rows = [Metric(name, value, now, step) for name, value in metrics.items()]
        self._client.log_batch(self._run_id, metrics=rows)

    def _finish(self, folder: Path, results: Results, errors: Sequence[Example]) -> None:
        self._log(summary(results), self._step)
        finished, files = {**results, "state": "finished"}, RunFolder(folder)
        self._client.log_dict(self._run_id, finished, files.results.name)
        for file in [files.report, *sorted(files.figures.glob("*.png"))]:
            self._client.log_artifact(self._run_id, str(file))

    def _close(self, failed: bool) -> None:
        self._client.set_terminated(self._run_id, "FAILED" if failed else "FINISHED")


def _run_id_of(file: Path, store: Path, tracking_uri: str | None) -> str | None:
    """Return the id that mlflow.yaml keeps, None if it is of another store or server.

    The file may be a stranger's: it decides nothing else, and the store is never its own.
    """
    try:
        known = read_yaml(file) if file.is_file() else {}
    except ValueError:
        return None
    if not isinstance(known, dict) or not re.fullmatch(r"\w+", str(known.get("run_id", ""))):
        return None
    if known.get("tracking_uri") != tracking_uri or known.get("store") != str(store):
        log.warning(
            "MLflow starts a new run: this one was in another store (%s). To go on there, add "
            "log_dir=<the folder above it>, or logger.mlflow.tracking_uri=<its server>",
            known.get("store"),
        )
        return None
    return str(known["run_id"])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence MLflow's messages on its set-up, and on each attempt to reach a missing server."""
    for variable, value in ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on its use of SQLAlchemy, which users cannot change
        yield
