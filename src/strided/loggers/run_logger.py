"""A logger that cannot stop a run: its failure is reported once, and training continues."""

import importlib.util
import logging
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lightning.pytorch.loggers import Logger
from torch import nn

from strided.config.keys import Config
from strided.errors import UserError, first_line
from strided.evaluation.examples import Example
from strided.runs.results import Results

log = logging.getLogger(__name__)

# Prefixes of results.json's keys that sum a run up; numbers of single classes are not among them.
SUMMARY = ("test/", "best_", "train_seconds")


@dataclass(frozen=True)
class StartedRun:
    """What a logger gets at the start: the run folder, its resolved config, the code version."""

    folder: Path
    config: Config
    commit: str | None
    network: nn.Module

    @property
    def name(self) -> str:
        """`<name>/<date_time>`, with the number of the job within a sweep."""
        place = self.folder.parts[-2:] if self.sweep else self.folder.parts[-1:]
        return "/".join([self.config["name"], *place])

    @property
    def sweep(self) -> str | None:
        """`<name>/<date_time>` of this run's sweep, if any: the job's folder is only a number."""
        return "/".join(self.folder.parts[-3:-1]) if self.folder.name.isdigit() else None


@dataclass(frozen=True)
class FinishedSweep:
    """What a logger gets of a sweep or a search at its end.

    head, rows: the table of its jobs, None where a value is missing; page: summary.html; means: the
    metric of each combination of values, over its repeats; summary: single values to find it by.
    """

    folder: Path
    config: Config
    head: Sequence[str]
    rows: Sequence[Sequence[Any]]
    page: Path
    metric: str
    means: Sequence[tuple[str, float]]
    summary: Mapping[str, Any]


class RunLogger(Logger):
    """What strided asks of a logger; the first failure switches it off, with one warning.

    A subclass opens its run in `_start`, and uses it in the other methods.
    """

    title: ClassVar[str]
    package: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._on = False
        if importlib.util.find_spec(self.package) is None:
            extra = self.package
            raise UserError(
                f"logger={extra} was given, and the package {extra} is not installed; expected "
                f"strided with its extra of that name. Try pip install 'strided[{extra}]'"
            )

    @property
    def name(self) -> str | None:
        """strided does not use it."""
        return self.title

    @property
    def version(self) -> str | None:
        """strided does not use it."""
        return None

    def start(self, run: StartedRun) -> None:
        """Open the run, or continue it if an earlier session has opened it."""
        try:
            self._start(run)
            self._on = True
        except Exception as error:  # no failure there is a reason to stop training
            log.warning("%s did not start and is off: %s", self.title, first_line(error))

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at an optimizer step."""
        self._safely(lambda: self._log(metrics, step or 0))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `start` has logged the whole config."""

    def finish(self, folder: Path, results: Results, errors: Sequence[Example]) -> None:
        """Log results.json, the report and the figures of a finished run."""
        self._safely(lambda: self._finish(folder, results, errors))

    def close(self, *, failed: bool) -> None:
        """End the logger's run, so that the next job of a sweep opens another one."""
        self._safely(lambda: self._close(failed))
        self._on = False

    def _safely(self, action: Callable[[], None]) -> None:
        if not self._on:
            return
        try:
            action()
        except Exception as error:
            self._on = False
            log.warning(
                "%s failed and is switched off for this run: %s", self.title, first_line(error)
            )

    @abstractmethod
    def _start(self, run: StartedRun) -> None: ...

    @abstractmethod
    def _log(self, metrics: Mapping[str, float], step: int) -> None: ...

    @abstractmethod
    def _finish(self, folder: Path, results: Results, errors: Sequence[Example]) -> None: ...

    @abstractmethod
    def _close(self, failed: bool) -> None: ...


def summary(results: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of results.json that sum a run up."""
    return {
        key: value
        for key, value in results.items()
        if key.startswith(SUMMARY) and key.count("/") < 2 and isinstance(value, int | float)
    }


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str | int | float]:
    """Return a config as `{"optimizer.lr": 0.001}`; other values than numbers become text."""
    found: dict[str, str | int | float] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[prefix + key] = value if isinstance(value, str | int | float) else str(value)
    return found
