"""The section of a report that shows what a check for shortcuts has found."""

import html
from collections.abc import Iterator, Mapping
from typing import Any

from strided.evaluation.intervals import wilson_interval
from strided.pages.page import Cell, bullets, heading, table
from strided.shortcuts.altered import AS_IT_IS
from strided.shortcuts.verdict import kept

_NONE = (
    "Nothing found speaks for a shortcut. That does not show that there is none: images of another "
    "source would."
)


def warning(found: Mapping[str, Any] | None) -> str:
    """What the headline says of a check: a warning, or nothing."""
    if not found or not found["verdict"]["warnings"]:
        return ""
    return f" Warning, a shortcut is likely. {' '.join(found['verdict']['warnings'])}"


def section(found: Mapping[str, Any] | None, of: str = "") -> str:
    """Return the section; nothing for a run that was not checked. `of` follows its title."""
    if not found:
        return ""
    verdict = found["verdict"]
    told = verdict["warnings"] or [_NONE]
    if "why_none" in verdict:
        told = [f"There is no verdict: {verdict['why_none']}"]
    heads = ["", "accuracy", "95 % interval", "of the gain"]
    parts = [
        heading(f"Does it take a shortcut?{of}"),
        "".join(f"<p><b>{html.escape(sentence)}</b></p>" for sentence in told),
        bullets(verdict["evidence"]),
        "<h3>What is left without the subject</h3>",
        table(heads, _rows(found)),
        f'<p class="note">{html.escape(_note(found))}</p>',
        "<h3>The same images, shown differently</h3>",
        table(["", "images", "accuracy", "before", *_trained_head(found)], _stress(found)),
        _copies(found["near_copies"]),
    ]
    return "\n".join(parts)


def _rows(found: Mapping[str, Any]) -> Iterator[list[Cell]]:
    whole = {"hits": found["model"], "images": found["images"]}
    yield _row(found, "the model", whole)
    yield _row(found, "the largest class always", {**whole, "hits": found["majority"]})
    for name, count in found["regions"].items():
        yield _row(found, f"the model, {name}", count)
    again = found.get("again", {})
    for name, count in again.items():
        yield _row(found, f"trained again, {name}", count, again[AS_IT_IS])
    for name, count in found["baselines"].items():
        yield _row(found, f"regression on {name}", count)
    for name, count in found["columns"].items():
        yield _row(found, f"regression on the column {name}", count)
    for name, count in found["id_like"].items():
        yield _row(found, f"given away by {name}", count)


def _row(
    found: Mapping[str, Any],
    name: str,
    count: Mapping[str, int],
    of: Mapping[str, int] | None = None,
) -> list[Cell]:
    share = count["hits"] / count["images"]
    low, high = wilson_interval(share, count["images"])
    part = kept(found, dict(count), None if of is None else dict(of))
    return [name, f"{share:.1%}", f"{low:.1%} to {high:.1%}", f"{part:.0%}"]


def _note(found: Mapping[str, Any]) -> str:
    again = found.get("why_not_again", "Trained again: the head, on features of altered images.")
    return (
        "The gain is what the model has over the largest class; of a head trained again, what the "
        f"same head has on images as they are. {again} The regressions were trained on "
        f"{found['trained_on']:,} training images. The intervals are Wilson's, as if images were "
        f"independent. {_cost(found)}"
    )


def _cost(found: Mapping[str, Any]) -> str:
    """What the check took beside the run, and why, where that is much."""
    words = f"The check took {found['seconds']:.0f} s"
    if "run_seconds" not in found:
        return f"{words}."
    words += f", the run before it {found['run_seconds']:.0f} s."
    if found["computed"] and 2 * found["seconds"] > found["run_seconds"]:
        words += (
            f" Most of that is the network's work on {found['computed']:,} altered images, each as "
            "much as on an image as it is. It is kept for other folds, seeds and heads."
        )
    return words


def _trained_head(found: Mapping[str, Any]) -> list[str]:
    """The head of one more column, of a head that was fitted on renderings."""
    return ["fitted on it"] if any("trained" in one for one in found["stress"].values()) else []


def _stress(found: Mapping[str, Any]) -> Iterator[list[Cell]]:
    more = bool(_trained_head(found))
    for name, count in found["stress"].items():
        images, fitted = count["images"], "yes" if count.get("trained") else "no: left out"
        row = [name, images, f"{count['hits'] / images:.1%}", f"{count['before'] / images:.1%}"]
        yield [*row, fitted] if more else row


def _copies(found: Mapping[str, Any]) -> str:
    others = "one of training or validation"
    if found["external"]:
        others += f", or of the {found['external']:,} of data.external"
    words = f"No tested image is nearly the same picture as {others}."
    if found["tested"]:
        words = (
            f"{found['tested']:,} tested images are nearly the same picture as {others} "
            "(correlation of their details 0.9 or more), the most alike first:"
        )
    pairs = table(["tested", "nearly the same", "of", "correlation"], found["first"])
    return f"<p>{words}</p>{pairs if found['first'] else ''}"
