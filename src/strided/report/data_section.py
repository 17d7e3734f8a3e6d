"""The part of a report on its data: their classes, splits and faults, and some images."""

from collections.abc import Mapping, Sequence
from typing import Any

from strided.pages.page import folded, heading, photo, table
from strided.report.contents import Contents
from strided.report.gallery import Sample
from strided.report.matrix import MOST_CLASSES

_SIDE = 128  # pixels, at most, of a picture


def data_section(contents: Contents) -> str:
    """The card of the data and some training images; nothing if there are neither."""
    parts = [heading("Data")] if contents.card or contents.samples else []
    if contents.card:
        parts.append(_card(contents.card))
    if contents.samples:
        parts.append(_samples(contents.samples))
    return "\n".join(parts)


def _samples(samples: Sequence[Sample]) -> str:
    words = "Training images as the network is given them: they are not augmented."
    if any(sample.augmented is not None for sample in samples):
        words = "Training images as they are, and beside it as the augmentation may change them."
    return f'<p class="note">{words}</p><ul class="cases">{"".join(map(_sample, samples))}</ul>'


def _sample(sample: Sample) -> str:
    shown = photo(sample.picture, sample.label, _SIDE)
    if sample.augmented is not None:
        shown += photo(sample.augmented, "augmented", _SIDE)
    return f'<li class="case"><div>{shown}</div></li>'


def _card(card: Mapping[str, Any]) -> str:
    facts = [("name", card["name"]), ("size of the files", card["sizes"])]
    if card["fold"] is not None:
        facts.append(("test split", card["fold"]))
    if card["groups"] is not None:
        facts.append(("groups", card["groups"]))
    facts.append(("files ignored, by ending", card["ignored"]))
    facts.append(("images unreadable", str(card["skipped"])))
    if card["left_out"]:
        facts.append(("folders left out", "; ".join(card["left_out"])))
    if card["duplicates"] is None:
        facts.append(("duplicates", "not looked for"))
    else:
        pairs = f": {'; '.join(card['pairs'])}" if card["pairs"] else ""
        facts.append(("same pixels in two splits", f"{card['duplicates']} images{pairs}"))
    if card["missing"]:
        facts.append(("classes without images", "; ".join(card["missing"])))
    return table(["", ""], facts, "the data") + _counts(card)


def _counts(card: Mapping[str, Any]) -> str:
    totals = [sum(counts[i] for _, counts in card["counts"]) for i in range(len(card["splits"]))]
    rows = [[name, *counts] for name, counts in card["counts"]] + [["all", *totals]]
    counts = table(["class", *card["splits"]], rows)
    if len(card["counts"]) > MOST_CLASSES:
        counts = folded(f"{len(card['counts'])} classes", counts)
    return counts
