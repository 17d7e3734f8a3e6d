"""The folds of a sweep put together, for its page."""

import html
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strided.errors import UserError
from strided.report.page import bullets
from strided.runs.ending import from_here, typed_here
from strided.sweeps.folder import SweepFolder
from strided.sweeps.summary import Job

if TYPE_CHECKING:
    from strided.compare.pooled_figures import Pooled

FOLD = "data.fold"


def section(folder: Path, jobs: Sequence[Job]) -> tuple[str, str]:
    """Write pool.csv and label_suspects.csv of a sweep over all folds, also of several configs.

    Returns the pool as HTML, with the checks for shortcuts, and the lines for the terminal: a sweep
    over anything else has none. Why folds cannot be put together is told.
    """
    folds = {job.overrides.get(FOLD) for job in jobs}
    tested = all("tested" in job.results for job in jobs)
    if len(folds) < 2 or not tested or any(job.state != "finished" for job in jobs):
        return "", ""
    from strided.compare.finished_run import FinishedRun  # torch takes seconds
    from strided.compare.pool_comparison import write_pools
    from strided.compare.pooled_figures import measure
    from strided.compare.pooled_shortcuts import check_of_pool, write_label_suspects
    from strided.compare.pooling import pools_of

    try:
        runs = [FinishedRun.read(folder / str(job.number)) for job in jobs]
        pools = [measure(pool, None) for pool in pools_of(runs)]
        checks = [check_of_pool(pooled.pool) for pooled in pools]
    except UserError as error:
        why = f"the folds are not put together: {error}"
        return f"<h2>Folds</h2><p>{html.escape(why)}</p>", why
    write_pools(SweepFolder(folder).pool, pools)
    write_label_suspects(SweepFolder(folder).label_suspects, [pooled.pool for pooled in pools])
    return _page(folder, pools, checks), "\n".join(_lines(pools, checks))


def _page(
    folder: Path, pools: "Sequence[Pooled]", checks: Sequence[Mapping[str, Any] | None]
) -> str:
    from strided.compare.pool_comparison import headline, notes, table_of_pools
    from strided.report import shortcuts

    command = html.escape(typed_here("compare", f"pool=[{from_here(folder)}]"))
    parts = ["<h2>All folds put together</h2>"]
    for pooled, check in zip(pools, checks, strict=True):
        told = html.escape(f"{headline(pooled)}.{shortcuts.warning(check)}")
        parts.append(f'<p class="headline">{told[0].upper()}{told[1:]}</p>')
    parts += [table_of_pools(pools), bullets(notes(pools))]
    parts.append(f"<p>Each class, the confusion and subgroups: <code>{command}</code></p>")
    for pooled, check in zip(pools, checks, strict=True):
        name = f" ({pooled.pool.label})" if len(pools) > 1 else ""
        parts.append(shortcuts.section(check, name))
    return "\n".join(parts)


def _lines(pools: "Sequence[Pooled]", checks: Sequence[Mapping[str, Any] | None]) -> Iterator[str]:
    from strided.compare.pool_comparison import headline

    for pooled, check in zip(pools, checks, strict=True):
        yield f"all folds together: {headline(pooled)}"
        for sentence in check["verdict"]["warnings"] if check else ():
            yield f"shortcut: {sentence}"
