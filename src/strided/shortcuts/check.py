"""The shortcut check of a run: counts, in which folds can be added up, and a verdict on them."""

import logging
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from strided.data import ImageDataModule
from strided.evaluation.classifier import Classifier
from strided.evaluation.evaluation import Evaluation
from strided.shortcuts.altered import by_region, by_rendering, trained_again, why_not_again
from strided.shortcuts.baselines import of_metadata, of_pictures
from strided.shortcuts.external import KEY, external_files, near_external
from strided.shortcuts.near_copies import details, near_copies
from strided.shortcuts.pictures import Plain, plain_pictures
from strided.shortcuts.subject import Subject, subject_of
from strided.shortcuts.verdict import judged

log = logging.getLogger(__name__)

_SHOWN = 10  # pairs of near copies


def look_for_shortcuts(
    classifier: Classifier,
    data: ImageDataModule,
    evaluation: Evaluation,
    solved: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Check a classifier that was evaluated on these data; what results.json has of it.

    `solved` is what results.json says of a solved head.
    """
    started = time.perf_counter()
    subject = subject_of(classifier, data, evaluation)
    train = plain_pictures(data, "train", subject.train)
    test = plain_pictures(data, subject.split, subject.test)
    columns, ids = of_metadata(subject)
    found: dict[str, Any] = {
        "images": len(subject.test),
        "left_out": subject.left_out,
        "trained_on": len(subject.train),
        "model": int(subject.right.sum()),
        "majority": subject.majority,
        "baselines": of_pictures(subject, train, test),
        "columns": columns,
        "id_like": ids,
        "regions": by_region(subject),
        "stress": by_rendering(subject, (solved or {}).get("renderings", ())),
        "near_copies": _near_copies(subject, train, test),
    }
    if reason := why_not_again(subject):
        found["why_not_again"] = reason
    else:
        found["again"] = trained_again(subject, solved)
    found["computed"] = subject.computed
    found["seconds"] = round(time.perf_counter() - started, 3)
    return {**found, "verdict": judged(found)}


def _near_copies(subject: Subject, train: Plain, test: Plain) -> dict[str, Any]:
    """Pairs of a tested image and another split's that are nearly the same picture."""
    data, tested = subject.data, details(test.detail)
    others = {"train": (subject.train, train)}
    if subject.split != "val" and len(subject.val):
        others["val"] = subject.val, plain_pictures(data, "val", subject.val)
    paths, files = data.source.paths, external_files(data)
    pairs = [
        (likeness, paths[subject.test[i]], paths[indices[j]], split)
        for split, (indices, plain) in others.items()
        for i, j, likeness in near_copies(tested, details(plain.detail))
    ]
    pairs += [
        (likeness, paths[subject.test[i]], str(file), KEY)
        for i, file, likeness in near_external(tested, data, files)
    ]
    pairs.sort(reverse=True)
    return {
        "tested": len({path for _, path, _, _ in pairs}),
        "pairs": len(pairs),
        "external": len(files),
        "first": [[*where, round(likeness, 3)] for likeness, *where in pairs[:_SHOWN]],
    }


def added(several: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Add up the checks of folds, which test each image once; judged anew."""
    counts = [{k: v for k, v in one.items() if k != "verdict"} for one in several]
    total: dict[str, Any] = _sum(counts)
    first = total["near_copies"]["first"]
    total["trained_on"] //= len(several)  # of each
    total["near_copies"]["external"] //= len(several)  # the same files for each
    total["near_copies"]["first"] = sorted(first, key=lambda pair: -pair[-1])[:_SHOWN]
    return {**total, "verdict": judged(total)}


def _sum(values: Sequence[Any]) -> Any:
    """Add numbers and lists; of mappings what all have, and of sentences the first."""
    first = values[0]
    if isinstance(first, dict):
        keys = [key for key in first if all(key in value for value in values)]
        return {key: _sum([value[key] for value in values]) for key in keys}
    if isinstance(first, list):
        return [item for value in values for item in value]
    return first if isinstance(first, str) else np.sum(values).item()
