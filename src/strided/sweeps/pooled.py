"""The folds of a sweep put together, for its page."""

import html
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from strided.config.overrides import listed
from strided.errors import UserError
from strided.pages.page import bullets, heading
from strided.runs.ending import from_here, typed_here
from strided.sweeps.folder import SweepFolder
from strided.sweeps.grouped import Job

if TYPE_CHECKING:
    from strided.compare.pooled_figures import Pooled

FOLD = "data.fold"


def section(folder: Path, jobs: Sequence[Job]) -> tuple[str, str]:
    """Write pool.csv, label_suspects.csv and card.md of a sweep over all folds of each config.

    Returns the pool as HTML, with the checks for shortcuts, and the lines for the terminal: a sweep
    over anything else has none. Why folds cannot be put together is told.
    """
    folds = {job.overrides.get(FOLD) for job in jobs}
    tested = all("tested" in job.results for job in jobs)
    if len(folds) < 2 or not tested or any(job.state != "finished" for job in jobs):
        return "", ""
    from strided.compare.finished_run import FinishedRun  # torch takes seconds
    from strided.compare.pool_card import write_pool_cards
    from strided.compare.pool_comparison import headline, warnings, write_errors, write_pools
    from strided.compare.pooled_figures import measure
    from strided.compare.pooling import pools_of

    try:
        runs = [FinishedRun.read(folder / str(job.number)) for job in jobs]
        pools = [measure(pool, None) for pool in pools_of(runs)]
        body = _page(folder, pools)
    except UserError as error:
        why = f"the folds are not put together: {error}"
        return f"{heading('Folds')}<p>{html.escape(why)}</p>", why
    write_pools(SweepFolder(folder).pool, pools)
    write_errors(SweepFolder(folder).label_suspects, pools)
    write_pool_cards(SweepFolder(folder).card, pools)
    lines = []
    for pooled in pools:
        lines.append(f"all folds together: {headline(pooled)}")
        lines += [f"shortcut: {sentence}" for sentence in warnings(pooled)]
    return body, "\n".join(lines)


def _page(folder: Path, pools: "Sequence[Pooled]") -> str:
    from strided.compare.pool_comparison import headline_paragraph, notes, table_of_pools
    from strided.report.shortcuts import section as of_shortcuts

    command = html.escape(typed_here("compare", f"pool={listed([from_here(folder)])}"))
    parts = [heading("All folds put together"), *map(headline_paragraph, pools)]
    parts += [table_of_pools(pools), bullets(notes(pools))]
    parts.append(f"<p>Each class, the confusion and subgroups: <code>{command}</code></p>")
    for pooled in pools:
        name = f" ({pooled.pool.label})" if len(pools) > 1 else ""
        parts.append(of_shortcuts(pooled.pool.shortcuts, name))
    return "\n".join(parts)
