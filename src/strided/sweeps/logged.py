"""A sweep or a search in W&B, if its jobs are: a run of its own, with the summary."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from strided.config.keys import Config
from strided.config.targets import build
from strided.sweeps.folder import SweepFolder
from strided.sweeps.grouped import CHOSEN_BY, Job, criterion_of, measured, ranking, rows, values
from strided.sweeps.summary import Table

METRICS = (*CHOSEN_BY, "test/acc", "val/acc")  # the first that the jobs have is drawn


def log_sweep(folder: Path, config: Config, jobs: Sequence[Job], table: Table) -> None:
    """Log the summary to W&B if `config`, that of a job, names it; a quick sweep is not logged."""
    node = config.get("logger", {}).get("wandb")
    if not node or config["trainer"].get("fast_dev_run"):
        return
    from strided.loggers import FinishedSweep, WandbLogger  # torch takes seconds

    logger: Any = build(node, "logger.wandb")
    if not isinstance(logger, WandbLogger):
        return
    grouped = rows(jobs)
    metric = next((m for m in METRICS if any(values(row, m) for row in grouped)), measured(jobs)[0])
    means = [
        (", ".join(f"{key}={value}" for key, value in row[0].items()), fmean(found))
        for row in grouped
        if (found := values(row, metric))
    ]
    done = sum(job.state == "finished" for job in jobs)
    logger.log_sweep(
        FinishedSweep(
            folder=folder,
            config={**config, "name": folder.parent.name},
            head=table.head,
            rows=[[*map(_as_number, row)] for row in table.rows],
            page=SweepFolder(folder).page,
            metric=metric,
            means=means,
            summary={"num_jobs": len(jobs), "num_finished": done, **_best(jobs)},
        )
    )


def _best(jobs: Sequence[Job]) -> dict[str, Any]:
    """The best combination by validation, its mean, and the values that were typed for it."""
    grouped = rows(jobs)
    criterion = criterion_of(grouped)
    if criterion is None:
        return {}
    best = ranking(grouped, criterion)[0]
    typed = {f"best/{key}": value for key, value in best[0].items()}
    return {criterion: fmean(values(best, criterion)), "best/job": best[1][0].number, **typed}


def _as_number(value: Any) -> Any:
    """What was typed as a number, so that W&B can sort by it; None for a missing value."""
    if value == "":
        return None
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
