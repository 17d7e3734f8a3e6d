"""Read a finished run folder of train or eval: results, curves, predictions."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from strided.config.keys import Config
from strided.config.values import fits
from strided.errors import UserError
from strided.runs.folder import RunFolder, read_config, read_overrides, read_results
from strided.runs.metrics_csv import read_metrics
from strided.runs.predictions_csv import Predictions
from strided.runs.results import Results, by_name
from strided.system.plain_data import is_there

_LONGEST = 60  # letters of a label
_METRICS = ("loss", "acc_top5", "f1", "auroc", "nll", "ece", "brier")  # beside acc


@dataclass
class FinishedRun:
    """A run's results; `split` is the one it measured, `label` tells it from the compared runs."""

    folder: Path
    config: Config
    results: Results
    split: str
    label: str = ""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a run folder. Raises UserError unless it is a finished run of train or eval."""
        config, results = read_config(folder), read_results(folder)
        if results.get("state") != "finished":
            raise UserError(
                f"{folder} is {results.get('state', 'not finished')}; expected finished runs. Try "
                f"src/train.py resume={folder} first, or a new run of src/eval.py"
            )
        split = str(config.get("split", "test"))
        if results.get("splits") is None or results.get("classes") is None:
            raise UserError(
                f"{folder} is no run of train or eval; expected a folder of logs/train or "
                "logs/eval. Try runs=[logs/train/<name>/<date_time>,...]"
            )
        _require_numbers(folder, by_name(results), split)
        return cls(folder, config, results, split)

    @cached_property
    def predictions(self) -> Predictions | None:
        """predictions.csv; None if nothing was tested."""
        file = RunFolder(self.folder).predictions
        return Predictions.read(file) if is_there(file) else None

    @cached_property
    def curves(self) -> dict[str, list[float]]:
        """The columns of metrics.csv; empty for a run of eval."""
        file = RunFolder(self.folder).metrics
        return read_metrics(file) if is_there(file) else {}

    @property
    def checkpoint(self) -> Path:
        """The checkpoint that was measured; the first of several that answered as one."""
        given = self.config.get("checkpoint") or str(self.folder)
        return Path(os.path.expanduser(given if isinstance(given, str) else given[0]))

    @property
    def shared(self) -> int | None:
        """How many of the measured images it had seen in training; None if that is unknown."""
        found = self.results.get("overlap")
        if not isinstance(found, dict) or not isinstance(found.get("shared"), int):
            return None
        return 0 if found.get("excluded") else int(found["shared"])

    @property
    def _measured(self) -> int | None:
        """How many images its figures are of: a test may leave some out, and a gate refuse some."""
        return self.results.get("tested", self.results["splits"].get(self.split))

    def row(self) -> dict[str, Any]:
        """The row of compare.csv; None for values that this run lacks."""
        results, named, split = self.results, by_name(self.results), self.split
        low, high = named.get(f"{split}/acc_ci95") or (None, None)
        return {
            "run": self.label,
            "split": split,
            "images": self._measured if f"{split}/acc" in named else None,
            "acc": named.get(f"{split}/acc"),
            "acc_low": low,
            "acc_high": high,
            **{name: named.get(f"{split}/{name}") for name in _METRICS},
            "seen_in_training": self.shared,
            "best_val/acc": results.get("best_val/acc"),
            "best_epoch": results.get("best_epoch"),
            "train_seconds": results.get("train_seconds"),
            "parameters": (named.get("parameters") or {}).get("total"),
            "macs": results.get("macs"),
            "seed": results.get("seed"),
            "data_fingerprint": results.get("data_fingerprint"),
            "folder": str(self.folder),
        }


def _require_numbers(folder: Path, named: Mapping[str, Any], split: str) -> None:
    """Raise UserError unless what is shown of a run are numbers: its file may be a stranger's."""
    shown = {f"{split}/{name}": named.get(f"{split}/{name}") for name in ("acc", *_METRICS)}
    shown |= {"parameters": (named.get("parameters") or {}).get("total"), "macs": named.get("macs")}
    wrong = [key for key, value in shown.items() if value is not None and not fits(value, float)]
    ends = named.get(f"{split}/acc_ci95")
    if ends is not None and not (fits(ends, Sequence[float]) and len(ends) == 2):
        wrong.append(f"{split}/acc_ci95")
    if wrong:
        raise UserError(
            f"{RunFolder(folder).results} is damaged: {wrong[0]} is no number, or not two for an "
            "interval; expected it as the run wrote it. Try another copy of the run folder"
        )


def read_runs(folders: list[Path]) -> list[FinishedRun]:
    """Read two or more runs and give each a distinct label. Raises UserError."""
    if len({folder.resolve() for folder in folders}) < max(2, len(folders)):
        raise UserError(
            f"runs has {', '.join(map(str, folders))}; expected two or more different runs. Try "
            "runs=[logs/train/<name>/<date_time>,logs/train/<other>/<date_time>]"
        )
    runs = [FinishedRun.read(folder) for folder in folders]
    names = [str(run.config.get("name") or run.folder.parent.name) for run in runs]
    short = ["/".join(run.folder.resolve().parts[-2:]) for run in runs]
    for index, run in enumerate(runs):
        ways = (names, _distinct_overrides(runs), short, [str(folder) for folder in folders])
        run.label = next(labels[index] for labels in ways if len(set(labels)) == len(runs))
    return runs


def _distinct_overrides(runs: list[FinishedRun]) -> list[str]:
    """The overrides that were typed for some runs only: they tell the jobs of a sweep apart."""
    typed = [read_overrides(run.folder) for run in runs]
    common = set.intersection(*map(set, typed))
    found = [" ".join(word for word in words if word not in common) for words in typed]
    return found if max(map(len, found)) <= _LONGEST and all(found) else [""] * len(runs)
