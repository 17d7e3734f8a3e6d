"""The folds of a sweep put together, for its page."""

import html
import logging
from collections.abc import Sequence
from pathlib import Path

from strided.errors import UserError
from strided.report.page import bullets
from strided.sweeps.folder import SweepFolder
from strided.sweeps.summary import Job

log = logging.getLogger(__name__)

FOLD = "data.fold"


def section(folder: Path, jobs: Sequence[Job]) -> str:
    """Write pool.csv of a sweep that has every fold, also of several configs; return it as HTML.

    A sweep over anything else has none. Why folds cannot be put together is told.
    """
    folds = {job.overrides.get(FOLD) for job in jobs}
    tested = all("tested" in job.results for job in jobs)
    if len(folds) < 2 or not tested or any(job.state != "finished" for job in jobs):
        return ""
    from strided.compare.finished_run import FinishedRun  # torch takes seconds
    from strided.compare.pool_comparison import notes, table_of_pools, write_pools
    from strided.compare.pooled_figures import measure
    from strided.compare.pooling import pools_of

    try:
        runs = [FinishedRun.read(folder / str(job.number)) for job in jobs]
        pools = [measure(pool, None) for pool in pools_of(runs)]
    except UserError as error:
        log.info("the folds are not put together: %s", error)
        return f"<h2>Folds</h2><p>They are not put together: {html.escape(str(error))}</p>"
    write_pools(SweepFolder(folder).pool, pools)
    command = html.escape(f'python src/compare.py "pool=[{folder}]"')
    return (
        f"<h2>All folds put together</h2>{table_of_pools(pools)}{bullets(notes(pools))}"
        f"<p>Each class, the confusion and subgroups: <code>{command}</code></p>"
    )
