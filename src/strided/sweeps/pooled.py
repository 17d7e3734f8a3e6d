"""The folds of a sweep put together, for its page."""

import html
from collections.abc import Sequence
from pathlib import Path

from strided.errors import UserError
from strided.report.page import bullets
from strided.runs.ending import from_here, typed_here
from strided.sweeps.folder import SweepFolder
from strided.sweeps.summary import Job

FOLD = "data.fold"


def section(folder: Path, jobs: Sequence[Job]) -> tuple[str, str]:
    """Write pool.csv of a sweep that has every fold, also of several configs.

    Returns it as HTML, and the lines for the terminal: a sweep over anything else has none. Why
    folds cannot be put together is told.
    """
    folds = {job.overrides.get(FOLD) for job in jobs}
    tested = all("tested" in job.results for job in jobs)
    if len(folds) < 2 or not tested or any(job.state != "finished" for job in jobs):
        return "", ""
    from strided.compare.finished_run import FinishedRun  # torch takes seconds
    from strided.compare.pool_comparison import headline, notes, table_of_pools, write_pools
    from strided.compare.pooled_figures import measure
    from strided.compare.pooling import pools_of

    try:
        runs = [FinishedRun.read(folder / str(job.number)) for job in jobs]
        pools = [measure(pool, None) for pool in pools_of(runs)]
    except UserError as error:
        why = f"the folds are not put together: {error}"
        return f"<h2>Folds</h2><p>{html.escape(why)}</p>", why
    write_pools(SweepFolder(folder).pool, pools)
    command = html.escape(typed_here("compare", f"pool=[{from_here(folder)}]"))
    return (
        f"<h2>All folds put together</h2>{table_of_pools(pools)}{bullets(notes(pools))}"
        f"<p>Each class, the confusion and subgroups: <code>{command}</code></p>",
        "\n".join(f"all folds together: {headline(pooled)}" for pooled in pools),
    )
