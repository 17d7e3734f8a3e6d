"""Whether a chain is whole: the first row that is not as it was written."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from strided.audit.row import GENESIS, hash_of


@dataclass(frozen=True)
class Finding:
    """rows: how many follow each other rightly, head the hash of the last of these.

    bad: seq of the first that does not; None if all do.
    """

    rows: int
    head: str
    bad: int | None = None
    why: str = ""


def checked(rows: Iterable[Mapping[str, Any]], anchors: Mapping[int, str] | None = None) -> Finding:
    """Follow a chain from its first row. anchors: the hashes of some rows, kept elsewhere.

    Rows that were cut off the end, and a chain that was made anew, are only seen by anchors.
    """
    anchors = anchors or {}
    seq, previous = 0, GENESIS
    for row in rows:
        if why := _fault(row, seq + 1, previous):
            return Finding(seq, previous, min(seq + 1, row["seq"]), why)
        if anchors.get(row["seq"], row["hash"]) != row["hash"]:
            why = "the anchor has another hash: this row, or one before it, was written anew"
            return Finding(seq, previous, row["seq"], why)
        seq, previous = row["seq"], row["hash"]
    if anchors and max(anchors) > seq:
        return Finding(seq, previous, seq + 1, f"missing: the anchor knows row {max(anchors)}")
    return Finding(seq, previous)


def _fault(row: Mapping[str, Any], seq: int, previous: str) -> str:
    """Why a row does not follow, if it does not."""
    if row["seq"] != seq:
        return "missing" if row["seq"] > seq else "a row that was never written"
    if row["previous"] != previous:
        return "it does not follow the row before it"
    try:
        expected = hash_of(row)
    except (TypeError, ValueError):
        return "it has a value that no row can have"
    return "" if row["hash"] == expected else "its content has another hash"
