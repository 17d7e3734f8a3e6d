"""The shortcut checks of a pool's runs, added up, and the errors of all of them to label again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.errors import UserError
from strided.report.shortcuts import section
from strided.runs.predictions_csv import Predictions, Suspect, suspects, write_suspects
from strided.runs.results import Results
from strided.shortcuts.check import added


def check_of(several: Sequence[Results]) -> dict[str, Any] | None:
    """The checks of runs, added up; None unless all have one.

    Raises UserError for a check that is not as a run writes it.
    """
    found = [check for results in several if (check := results.get("shortcuts"))]
    if len(found) < len(several):
        return None
    try:
        total = added(found)
        section(total)  # where anything else that the page needs is missing
    except (LookupError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise UserError(
            "the results.json of a run in pool has a damaged entry shortcuts; expected it as the "
            "run wrote it. Try another copy of the run folder"
        ) from error
    return total


def write_label_suspects(file: Path, several: Mapping[str, Predictions]) -> None:
    """Write the errors in the predictions of each pool, by its label, the surest first."""
    found: list[Suspect] = []
    for label, known in several.items():
        images = zip(known.paths, known.labels.tolist(), known.probabilities.tolist(), strict=True)
        found += suspects(images, known.classes, label if len(several) > 1 else "")
    write_suspects(file, sorted(found, key=lambda suspect: -suspect.probability))
