"""The shortcut checks of a pool's runs, added up, and the errors of all of them to label again."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strided.compare.pooling import Pool
from strided.errors import UserError
from strided.report.shortcuts import section
from strided.runs.predictions_csv import suspects, write_suspects
from strided.runs.results import Results
from strided.shortcuts.check import added

log = logging.getLogger(__name__)


def check_of(several: Sequence[Results]) -> dict[str, Any] | None:
    """The checks of runs, added up; None unless all have one.

    Raises UserError for a check that is not as a run writes it.
    """
    found = [check for results in several if (check := results.get("shortcuts"))]
    if len(found) < len(several):
        return None
    try:
        total = added(found)
        section(total)
    except (LookupError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise UserError(
            "the results.json of a run in pool has a damaged entry shortcuts; expected it as the "
            "run wrote it. Try another copy of the run folder"
        ) from error
    return total


def check_of_pool(pool: Pool) -> dict[str, Any] | None:
    """The checks of its runs; see `check_of`."""
    return check_of([run.results for run in pool.runs])


def write_label_suspects(file: Path, pools: Sequence[Pool]) -> None:
    """Write the errors of all pools, the surest first; no run had seen the image of its error."""
    found = [
        suspect
        for pool in pools
        for suspect in suspects(
            zip(
                pool.predictions.paths,
                pool.predictions.labels.tolist(),
                pool.predictions.probabilities.tolist(),
                strict=True,
            ),
            pool.predictions.classes,
            pool.label if len(pools) > 1 else "",
        )
    ]
    write_suspects(file, sorted(found, key=lambda suspect: -suspect.probability))
