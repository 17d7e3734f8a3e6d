"""The failed models of a table: listed below it, and raised as an error at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

from strided.errors import UserError


def reasons(rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The first line of each failed model's error, by model."""
    return {row["model"]: row["error"].splitlines()[0] for row in rows if "error" in row}


def failure_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each model that failed."""
    return [f"{model} failed: {reason}" for model, reason in reasons(rows).items()]


def raise_failures(rows: Sequence[Mapping[str, Any]], lacking: str) -> None:
    """Raise UserError, with the reasons, if a model failed; `lacking` says what the model lacks."""
    if failed := reasons(rows):
        told = "\n".join(f"{model}: {reason}" for model, reason in failed.items())
        raise UserError(f"{len(failed)} of {len(rows)} models {lacking}:\n{told}")
