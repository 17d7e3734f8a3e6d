"""What runs must have in common to be put together: the test of a whole part, images, a config."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from strided.compare.finished_run import FinishedRun
from strided.config.typed_only import leaves
from strided.config.values import fits
from strided.errors import UserError
from strided.runs.folder import RunFolder
from strided.runs.predictions_csv import Predictions

# keys in which the runs of one pool may differ: which part it is, and where things are
_OF_A_RUN = ("name", "log_dir", "tags", "trust", "traceback", "resume", "checkpoint", "logger")
_OF_A_PART = ("fold", "root", "cache_dir", "num_workers")
_OF_A_TABLE = ("csv", "split_column")  # of runs without folds: which images are which part
_SHOWN = 3  # keys in a message


def predictions_of(run: FinishedRun) -> Predictions:
    """Its predictions.csv. Raises UserError for a run that tested nothing."""
    if run.predictions is None or not run.predictions.paths:
        raise UserError(
            f"{run.folder} has tested no image; expected a run with predictions.csv. Try another "
            "run of the fold"
        )
    return run.predictions


def without_answer(run: FinishedRun) -> int:
    """How many of its images have no prediction: the gate refused them."""
    gate: Mapping[str, Any] = run.results.get("gate") or {}
    return int(gate.get("measured", {}).get("refused") or 0)


def require_whole(run: FinishedRun) -> None:
    """Raise UserError for a run whose trainer.limit_test_batches left some of its images out."""
    tested = len(predictions_of(run).paths) + without_answer(run)
    tested += int(run.results.get("skipped") or 0)
    total = run.results["splits"].get("test")
    limit = (run.config.get("trainer") or {}).get("limit_test_batches")
    if limit is not None and fits(total, int) and tested < int(total or 0):
        raise UserError(
            f"{run.folder} has tested {tested} of its {total} test images "
            f"(trainer.limit_test_batches={limit}); expected all of them. Try the same run without "
            "that limit"
        )


def configuration(run: FinishedRun) -> str:
    """What the runs of a pool share, as text; the partition tells split_seed."""
    return json.dumps(_shared(run), sort_keys=True, default=str)


def _shared(run: FinishedRun, of_a_part: Sequence[str] = ()) -> dict[str, Any]:
    """The config without what the runs of a pool may differ in, nor the data's keys `of_a_part`."""
    config: dict[str, Any] = {k: v for k, v in run.config.items() if k not in _OF_A_RUN}
    data, own = config.get("data") or {}, (*_OF_A_PART, *of_a_part)
    config["data"] = {key: value for key, value in data.items() if key not in own}
    return config


def of_one_config(runs: list[FinishedRun]) -> list[FinishedRun]:
    """Return runs without folds. Raises UserError for another config than the first one's."""
    first = leaves("", _shared(runs[0], _OF_A_TABLE))
    for run in runs:
        own = leaves("", _shared(run, _OF_A_TABLE))
        other = [key for key in {**first, **own} if first.get(key) != own.get(key)]
        if other:
            more = ", ..." if len(other) > _SHOWN else ""
            raise UserError(
                f"{run.folder} and {runs[0].folder} differ in "
                f"{', '.join(key.lstrip('.') for key in other[:_SHOWN])}{more}; expected runs that "
                "differ in their part of the images only. Try the runs of one configuration"
            )
    return runs


def of_one_kind(runs: list[FinishedRun]) -> list[FinishedRun]:
    """Return the runs. Raises UserError for other images or classes than the first one's."""
    first = runs[0]
    for run in runs:
        for key, what in (("data_fingerprint", "images"), ("classes", "classes")):
            if run.results.get(key) != first.results.get(key):
                raise UserError(
                    f"{run.folder} has other {what} than {first.folder}; expected parts of one "
                    "data set. Try the runs of one sweep over folds"
                )
        if predictions_of(run).classes != predictions_of(first).classes:
            raise UserError(
                f"{RunFolder(run.folder).predictions} has other classes than that of "
                f"{first.folder}; expected them as the runs wrote them. Try other copies"
            )
    return runs
