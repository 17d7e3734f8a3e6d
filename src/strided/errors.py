"""UserError, for mistakes that a user can correct, and helpers for messages."""

import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


class UserError(ValueError):
    """A mistake in typed words or data; says what was given, what was expected and what to try."""


def describe_error(error: BaseException) -> str:
    """Return the message of a UserError; for any other error also its type."""
    text = str(error).strip()
    return text if isinstance(error, UserError) else f"{type(error).__name__}: {text}"


def did_you_mean(word: str, words: Iterable[str], otherwise: str | None = None) -> str:
    """Return the sentence that offers the closest of `words`; without one, what to do `otherwise`.

    None: the sentence lists all of them when few, in a message that has not done so.
    """
    known = sorted(set(words))
    if close := get_close_matches(word, known, n=1, cutoff=0.6):
        return f"Did you mean {one_line(close[0])}?"
    if otherwise is not None:
        return otherwise
    shown = ", ".join(map(one_line, known[:30])) + (", ..." if len(known) > 30 else "")
    return f"Known: {shown}" if known else ""


def sought_from(path: Path) -> str:
    """Return ` (in <working directory>)` for a relative path that was not found, else nothing."""
    if path.is_absolute():
        return ""
    try:
        return f" (in {Path.cwd()})"
    except FileNotFoundError:
        return " (in a working directory that was deleted)"


def printable(text: str) -> str:
    """Return text as a terminal may show it: a control character becomes its escape.

    Names of files and classes, and words of files, may be a stranger's. They could clear the
    screen, set its title or, by a bidirectional override, read as another name. Half a surrogate
    pair could not be written at all. Tabs and newlines stay; bytes that are no valid text do too,
    for the stream to show.
    """
    return text if text.isprintable() else _UNPRINTABLE.sub(_escaped, text)


# C0 without tab and newline, DEL and C1, separators of lines, marks and overrides of direction,
# surrogates except those that stand for bytes
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    "\ufff9-\ufffb\ud800-\udc7f\udd00-\udfff\U000e0000-\U000e007f]"
)


def _escaped(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def one_line(text: str) -> str:
    """Return a name, or another word of a file, as it may stand within a line: `printable`.

    Its tabs and line breaks become escapes too: they would tear the line, or forge another one.
    """
    return printable(text).replace("\t", r"\t").replace("\n", r"\n")


def first_line(error: BaseException) -> str:
    """Return the first line of an error, shortened: some list everything they know."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
