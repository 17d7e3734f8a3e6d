"""How far simple classifiers get that see no subject: what they can tell, a network can too."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from strided.shortcuts.columns import is_id_like, of_column, of_files, of_names, stems
from strided.shortcuts.pictures import Plain
from strided.shortcuts.subject import Subject
from strided.training.logistic import Candidate, compared, solve

_PENALTIES = (1.0, 0.1, 0.01)
_FOLDS = 3
_COMPONENTS = 64  # of thumbnails
_SLOPE = 1e-4  # a tenth of a point of accuracy needs no more steps

Count = dict[str, int]
FILES = "file size, width and height"
NAMES = "the files' names"


def of_pictures(subject: Subject, train: Plain, test: Plain) -> dict[str, Count]:
    """Hits and images of logistic regressions on plain pictures, and on facts of the files."""
    others = test.features()
    found = {name: _count(subject, own, others[name]) for name, own in train.features().items()}
    files = of_files(subject.data, np.concatenate([subject.train, subject.test]))
    if files is not None:
        found[FILES] = _of_both(subject, files)
    return found


def of_metadata(subject: Subject) -> tuple[dict[str, Count], dict[str, Count]]:
    """The same of each column of the data set's table; those like an id, and names, apart."""
    both = np.concatenate([subject.train, subject.test])
    source = subject.data.source
    units = len(source) if source.group is None else len(np.unique(source.group))
    columns: dict[str, Count] = {}
    ids: dict[str, Count] = {}
    for name, values in subject.data.metadata().items():
        own = [values[index] for index in both.tolist()]
        if is_id_like(values, units):
            ids[name] = _of_both(subject, of_names(own))
        else:
            columns[name] = _of_both(subject, of_column(own))
    if (names := stems(subject.data, both)) is not None:
        ids[NAMES] = _of_both(subject, of_names(names))
    return columns, ids


def best_of(found: Mapping[str, Count]) -> str | None:
    """The name of the one with the most hits for its images."""
    return max(found, key=lambda name: found[name]["hits"] / found[name]["images"], default=None)


def _of_both(subject: Subject, features: np.ndarray) -> Count:
    return _count(subject, features[: len(subject.train)], features[len(subject.train) :])


def _count(subject: Subject, train: np.ndarray, test: np.ndarray) -> Count:
    """Solve on features of the training images, with the penalty that inner folds choose."""
    features, others = _fewer(torch.from_numpy(train).double(), torch.from_numpy(test).double())
    labels = torch.from_numpy(subject.train_labels)
    targets = torch.nn.functional.one_hot(labels, len(subject.data.classes)).double()
    size, folds = features.shape[1], inner_folds(subject)
    l2 = _penalty(compared(features, targets, folds, _PENALTIES, [size], _SLOPE))
    logits = solve(features, targets, l2, slope=_SLOPE)(others)
    hits = int((logits.argmax(1).numpy() == subject.test_labels).sum())
    return {"hits": hits, "images": len(test)}


def _fewer(train: Tensor, test: Tensor) -> tuple[Tensor, Tensor]:
    """Project features (N, F) on the principal components of training, if they are many.

    Neighbouring pixels say nearly the same, so that few components have most of it, and a solution
    on all pixels takes many times as long.
    """
    if train.shape[1] <= _COMPONENTS:
        return train, test
    mean, std = train.mean(0), train.std(0, correction=0).clamp_min(1e-6)
    train, test = (train - mean) / std, (test - mean) / std
    _, axes = torch.linalg.eigh(train.T @ train)
    chosen = axes[:, -_COMPONENTS:]
    return train @ chosen, test @ chosen


def _penalty(candidates: Iterator[Candidate]) -> float:
    """The first penalty, from the largest on, that the next one does not better; it costs less."""
    best = next(candidates)
    for candidate in candidates:
        if candidate.loss >= best.loss:
            break
        best = candidate
    return best.l2


def inner_folds(subject: Subject) -> np.ndarray:
    """The inner fold of each training image; groups stay whole."""
    group = subject.data.source.group
    together = subject.train if group is None else group[subject.train]
    _, unit = np.unique(together, return_inverse=True)
    turn = np.random.default_rng(0).permutation(int(unit.max()) + 1) % _FOLDS
    folds: np.ndarray = turn[unit]
    return folds
