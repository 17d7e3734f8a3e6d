"""One class, several spellings: `café` in two Unicode forms, `Cat` and `cat`, `1` and `01`."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from typing import Literal

Labels = Literal["merge", "keep"]

_NUMBER = re.compile(r"([+-]?)([0-9]+)(?:\.([0-9]*))?")


def label_of(text: str) -> str:
    """A class's name as it is compared and reported: composed (NFC), without blanks around."""
    composed = text if text.isascii() else unicodedata.normalize("NFC", text)
    return composed.strip() or composed


def spelling_key(label: str) -> str:
    """What two spellings of one class have in common: neither case, nor blanks, nor zeros.

    >>> spelling_key("Big  Cat") == spelling_key("big cat"), spelling_key("01.0")
    (True, '1')
    """
    folded = " ".join(unicodedata.normalize("NFC", label_of(label).casefold()).split())
    number = _NUMBER.fullmatch(folded)
    if number is None:
        return folded
    sign, whole, fraction = number.groups()  # as text: a number would round a long one
    digits = f"{whole.lstrip('0') or '0'}.{(fraction or '').rstrip('0')}".rstrip(".")
    return digits if sign != "-" or digits == "0" else f"-{digits}"


def spellings(counts: Mapping[str, int]) -> list[list[str]]:
    """Labels that seem to be one class, each group with its most frequent spelling first."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in sorted(counts, key=lambda label: (-counts[label], label)):
        groups[spelling_key(label)].append(label)
    return [group for group in groups.values() if len(group) > 1]
