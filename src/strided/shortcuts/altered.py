"""How a classifier does on altered images: as it is, and with its head trained again on them."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strided.data.renderings import REGIONS, STRESS, rendered
from strided.errors import UserError
from strided.evaluation.from_features import FromFeatures
from strided.evaluation.outputs import predicted
from strided.shortcuts.baselines import Count, inner_folds
from strided.shortcuts.subject import Subject
from strided.training.logistic import compared, solve, targets_of
from strided.training.losses import CrossEntropy
from strided.training.transfer.solved_head import inputs_of, linear_of

# Images of each rendering: there are many, and each costs a forward pass. Folds add up, to twice as
# many as a single run has.
_MOST_STRESS, _LEAST_STRESS = 64, 16
_PENALTIES = (1.0, 0.3, 0.1, 0.03, 0.01)
AS_IT_IS = "as it is"


def by_region(subject: Subject) -> dict[str, Count]:
    """Hits and images without the centre, and with the centre alone; nothing is trained."""
    images = len(subject.test)
    return {
        name: {"hits": int(_right(subject, subject.test, name).sum()), "images": images}
        for name in REGIONS
    }


def by_rendering(subject: Subject, trained_on: Collection[str] = ()) -> dict[str, Count]:
    """Hits on some of the images of each rendering, and `before` on the same ones unaltered.

    A head that was fitted on renderings has `trained`, the images whose rendering it was fitted on:
    all or none. It is asked about all tested images, as that is what it was made for.
    """
    folds = subject.data.rule.num_folds
    most = _MOST_STRESS if folds is None else max(2 * _MOST_STRESS // folds, _LEAST_STRESS)
    count = len(subject.test) if trained_on else min(most, len(subject.test))
    places = np.linspace(0, len(subject.test) - 1, count).round().astype(int)
    before = int(subject.right[places].sum())
    return {
        name: {
            "hits": int(_right(subject, subject.test[places], name).sum()),
            "images": count,
            "before": before,
            **({"trained": count * (name in trained_on)} if trained_on else {}),
        }
        for name in STRESS
    }


def _right(subject: Subject, indices: np.ndarray, rendering: str) -> np.ndarray:
    """On which of these images the classifier is right when they are altered: bool (N,)."""
    classifier, data = subject.classifier, subject.data
    found = []
    if isinstance(classifier, FromFeatures):
        kept = subject.features(rendering)
        for batch in data.loader(subject.split, indices, features=kept):
            found.append(predicted(classifier, batch.images) == batch.labels)
    else:
        for batch in data.loader(subject.split, indices):
            images = torch.from_numpy(rendered(batch.images.numpy(), rendering))
            found.append(predicted(classifier, images) == batch.labels)
    return torch.cat(found).numpy()


def why_not_again(subject: Subject) -> str | None:
    """Why a head cannot be trained again cheaply, as a sentence; None if it can."""
    if not isinstance(subject.classifier, FromFeatures):
        return (
            "Nothing was trained again: the network was not measured on kept features of frozen "
            "layers (transfer=frozen, of stored images and without evaluation.views), and training "
            "it anew on altered images would cost as much as the run."
        )
    try:
        linear_of(subject.classifier.kept.layers.cut.parts.trained)
    except UserError:
        return "Nothing was trained again: the head is not one linear layer (model.head=linear)."
    return None


def trained_again(subject: Subject, solved: dict[str, Any] | None) -> dict[str, Count]:
    """Hits of heads that are solved again: on images as they are, and on each region.

    `solved` is what results.json says of the run's own solution: its penalty is taken, else one is
    chosen by inner folds.
    """
    classifier = subject.classifier
    assert isinstance(classifier, FromFeatures)
    criterion, labels = classifier.task.criterion, torch.from_numpy(subject.train_labels)
    if not isinstance(criterion, CrossEntropy):
        criterion = CrossEntropy(subject.data.classes)
    targets = targets_of(criterion, labels, len(subject.data.classes))
    l2 = None if solved is None else solved["l2"]
    found = {}
    for name in (AS_IT_IS, *REGIONS):
        train, test = _inputs(subject, classifier, None if name == AS_IT_IS else name)
        size = train.shape[1] if solved is None else solved["features"]
        train, test = train[:, :size].double(), test[:, :size].double()
        if l2 is None:
            l2 = _penalty(train, targets, inner_folds(subject))
        hits = solve(train, targets, l2)(test).argmax(1).numpy() == subject.test_labels
        found[name] = {"hits": int(hits.sum()), "images": len(subject.test)}
    return found


def _penalty(features: Tensor, targets: Tensor, folds: np.ndarray) -> float:
    found = compared(features, targets, folds, _PENALTIES, [features.shape[1]])
    return min(found, key=lambda candidate: candidate.loss).l2


def _inputs(subject: Subject, classifier: FromFeatures, rendering: str | None) -> Sequence[Tensor]:
    """What the head's linear layer is given for training and tested images: (N, F) each."""
    kept = classifier.kept if rendering is None else subject.features(rendering)
    kept.require(np.union1d(subject.train, subject.test))  # now: later frozen layers are skipped
    cut, task = classifier.kept.layers.cut, classifier.task
    linear = linear_of(cut.parts.trained)
    with classifier.as_in_training(), cut.taking_features(task):
        return [
            inputs_of(task, linear, subject.data, kept, indices)
            for indices in (subject.train, subject.test)
        ]
