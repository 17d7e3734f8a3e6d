"""UserError, for mistakes that a user can correct, and helpers for messages."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake in typed words or data; says what was given, what was expected and what to try."""


def describe_error(error: BaseException) -> str:
    """Return the message of a UserError; for any other error also its type."""
    text = str(error).strip()
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return the sentence that offers the closest of `words`, or all of them when few."""
    known = sorted(set(words))
    if close := get_close_matches(word, known, n=1, cutoff=0.6):
        return f"Did you mean {close[0]}?"
    shown = ", ".join(known[:30]) + (", ..." if len(known) > 30 else "")
    return f"Known: {shown}" if known else ""


def first_line(error: BaseException) -> str:
    """Return the first line of an error, shortened: some list everything they know."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
