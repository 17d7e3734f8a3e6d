"""Put the tests of folds together: one prediction of every image, by a run that never saw it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from strided.compare.finished_run import FinishedRun
from strided.compare.poolable import (
    configuration,
    of_one_config,
    of_one_kind,
    predictions_of,
    require_whole,
    without_answer,
)
from strided.compare.pooled_shortcuts import check_of
from strided.config.values import fits
from strided.errors import UserError, one_line
from strided.runs.folder import RunFolder, read_overrides
from strided.runs.predictions_csv import Predictions

_MOST_FOLDS = 100_000
_SHOWN = 3  # paths in a message


@dataclass(frozen=True)
class Pool:
    """The runs of all folds of one partition, in order; `label` tells it from other pools."""

    label: str
    runs: list[FinishedRun]

    @cached_property
    def predictions(self) -> Predictions:
        """The predictions of all runs, one after the other."""
        each = [predictions_of(run) for run in self.runs]
        groups = [own.groups for own in each if own.groups is not None]
        sets = [own.sets for own in each if own.sets is not None]
        columns = [name for name in each[0].subgroups if all(name in e.subgroups for e in each)]
        return Predictions(
            paths=[path for own in each for path in own.paths],
            labels=np.concatenate([own.labels for own in each]),
            predicted=np.concatenate([own.predicted for own in each]),
            probabilities=np.concatenate([own.probabilities for own in each]),
            classes=each[0].classes,
            groups=np.concatenate(groups) if len(groups) == len(each) else None,
            subgroups={n: np.concatenate([own.subgroups[n] for own in each]) for n in columns},
            sets=np.concatenate(sets) if len(sets) == len(each) else None,
        )

    @cached_property
    def shortcuts(self) -> dict[str, Any] | None:
        """The shortcut checks of all runs, added up; None unless all have one. Raises UserError."""
        return check_of([run.results for run in self.runs])

    @property
    def num_groups(self) -> int | None:
        """None if groups are not known."""
        groups = self.predictions.groups
        return None if groups is None else len(np.unique(groups))


def read_pools(folders: Sequence[Path]) -> list[Pool]:
    """Read runs, or sweeps of them, and put those together that differ in their fold only.

    Raises UserError unless each pool has every fold of one partition once, and no image twice.
    """
    places = [place for folder in folders for place in _runs_in(folder)]
    if len({place.resolve() for place in places}) < max(2, len(places)):
        raise UserError(
            f"pool has {', '.join(map(str, folders))}; expected two or more different runs, or a "
            'sweep over folds. Try "pool=[logs/multirun/<name>/<date_time>]"'
        )
    return pools_of([FinishedRun.read(place) for place in places])


def _runs_in(folder: Path) -> list[Path]:
    """The jobs of a sweep, or the run itself."""
    if RunFolder(folder).config.is_file():
        return [folder]
    jobs = [job for job in folder.glob("*/") if job.name.isdecimal()]
    return sorted(jobs, key=lambda job: int(job.name)) or [folder]


def pools_of(runs: Sequence[FinishedRun]) -> list[Pool]:
    """Put runs together as `read_pools` does. Raises UserError."""
    for run in runs:
        if run.split != "test":
            raise UserError(
                f"{run.folder} measured {run.split}; expected runs that measured test, which they "
                "had not seen. Try src/eval.py with split=test"
            )
        require_whole(run)
    numbered = [run for run in runs if _is_numbered(run)]
    if not numbered:
        return [Pool("all", _covering(of_one_config(of_one_kind(list(runs)))))]
    if len(numbered) < len(runs):
        other = next(run for run in runs if "num_folds" not in run.results)
        raise UserError(
            f"{other.folder} has no fold, and other runs have; expected folds of one partition. "
            "Try runs that were trained with data.num_folds and data.fold"
        )
    parts: dict[tuple[str, str], list[FinishedRun]] = {}
    for run in runs:
        parts.setdefault((configuration(run), _partition(run)), []).append(run)
    pools = [
        sorted(of_one_kind(own), key=lambda run: run.results["fold"]) for own in parts.values()
    ]
    _require_all_folds(pools)
    for own in pools:
        _require_each_image_once(own)
    labels = _labels(pools)
    return [Pool(label, own) for label, own in zip(labels, pools, strict=True)]


def _is_numbered(run: FinishedRun) -> bool:
    """Whether a run tells its fold. Raises UserError for what no run writes."""
    fold, count = run.results.get("fold"), run.results.get("num_folds")
    if fold is None and count is None:
        return False
    numbers = fits(fold, int) and fits(count, int)
    if not numbers or not 0 <= int(fold or 0) < int(count or 0) <= _MOST_FOLDS:
        raise UserError(
            f"{RunFolder(run.folder).results} is damaged: fold {fold} of {count}; expected it as "
            "the run wrote it. Try another copy of the run folder"
        )
    return True


def _partition(run: FinishedRun) -> str:
    return str(run.results.get("partition_hash"))


def _require_all_folds(pools: Sequence[Sequence[FinishedRun]]) -> None:
    """Raise UserError for a fold that is there twice, or not at all."""
    partitions = {_partition(run) for pool in pools for run in pool}
    for pool in pools:
        count, found = pool[0].results["num_folds"], [run.results["fold"] for run in pool]
        for one, other in pairwise(pool):
            if one.results["fold"] == other.results["fold"]:
                raise UserError(
                    f"pool has fold {one.results['fold']} twice: {one.folder} and {other.folder}; "
                    "expected each fold once. Try leaving one of them out"
                )
        if missing := [fold for fold in range(count) if fold not in found]:
            several = len(partitions) > 1 and (
                "; others of the runs are of different partitions of the images (data.split_seed), "
                "whose folds overlap"
            )
            raise UserError(
                f"pool has fold {_listed(found)} of 0 to {count - 1} in {pool[0].folder.parent}, "
                f"and not {_listed(missing)}{several or ''}; expected every fold of one partition, "
                "of runs that differ in nothing else. Try running the rest with -m "
                f'"data.fold={_listed(missing, ",")}" and what was typed for the others'
            )


def _listed(numbers: Sequence[int], between: str = ", ") -> str:
    return between.join(map(str, numbers))


def _require_each_image_once(runs: Sequence[FinishedRun]) -> None:
    """Raise UserError for an image that two runs have tested."""
    of: dict[str, FinishedRun] = {}
    for run in runs:
        paths = predictions_of(run).paths
        if twice := [path for path in paths if path in of]:
            raise UserError(
                f"{run.folder} and {of[twice[0]].folder} have tested the same images "
                f"({', '.join(map(one_line, twice[:_SHOWN]))}{', ...' * (len(twice) > _SHOWN)}: "
                f"{len(twice)} in all); expected folds, which do not overlap. Try the runs of one "
                "sweep over data.fold"
            )
        of.update(dict.fromkeys(paths, run))


def _covering(runs: list[FinishedRun]) -> list[FinishedRun]:
    """Return runs without numbers of folds, as of a table for each. Raises UserError for gaps."""
    _require_each_image_once(runs)
    total = sum(size for size in runs[0].results["splits"].values() if fits(size, int))
    tested = sum(len(predictions_of(run).paths) + without_answer(run) for run in runs)
    tested += max(int(run.results.get("skipped") or 0) for run in runs)  # of the whole data set
    if "train" in runs[0].results["splits"] and tested < total:
        raise UserError(
            f"the runs of pool have tested {tested} of the {total} images, and no fold is named; "
            "expected every image once. Try adding the runs that tested the others"
        )
    return runs


def _labels(pools: Sequence[Sequence[FinishedRun]]) -> list[str]:
    """What was typed for the runs of a pool and not for all, but for the fold."""
    if len(pools) == 1:
        return ["all"]
    typed = [
        [word for word in read_overrides(pool[0].folder) if not word.startswith("data.fold=")]
        for pool in pools
    ]
    common = set.intersection(*map(set, typed))
    found = [" ".join(word for word in words if word not in common) for words in typed]
    if all(found) and len(set(found)) == len(found):
        return found
    return [f"{label} {pool[0].folder}".strip() for label, pool in zip(found, pools, strict=True)]
