"""Measure a network on the features that its training has kept, in place of images."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from strided.data import ImageDataModule
from strided.data.loader import BatchLoader
from strided.evaluation.classifier import Classifier
from strided.evaluation.precision import evaluating_in
from strided.system.devices import sent
from strided.training.transfer.cut import Cut, CutError
from strided.training.transfer.features import (
    KeptFeatures,
    arithmetic,
    features_folder,
    frozen_layers,
)
from strided.training.transfer.parts import parts


class FromFeatures(Classifier):
    """A classifier whose `logits` and `outputs` take kept features of images, as it loads them."""

    reads_pixels = False

    def __init__(self, classifier: Classifier, kept: KeptFeatures) -> None:
        super().__init__(classifier.task, str(classifier.device), classifier.precision)
        self.decision = classifier.decision
        self.kept = kept

    def loader(
        self, data: ImageDataModule, split: str, indices: np.ndarray | None = None
    ) -> BatchLoader:
        """See Classifier; features that are not kept yet are computed when they are read."""
        return data.loader(split, indices, device=self.device, features=self.kept)

    @torch.inference_mode()
    def outputs(self, pixels: Tensor) -> Tensor:
        """See Classifier; `pixels` are features (B, ...)."""
        features = sent(pixels, self.device)
        with (
            self.as_in_training(),
            evaluating_in(self.precision, self.device),
            self.kept.layers.cut.taking_features(self.task),
        ):
            return self.task(features).float()


def from_features(
    classifier: Classifier,
    data: ImageDataModule,
    stages: Sequence[Mapping[str, Any]],
    epoch: int | None,
) -> Classifier:
    """Return the classifier as it is measured on these data: on kept features, if there are any.

    It has the weights of `epoch` of a run with these stages, as in results.json. What it gives is
    the same but for rounding.
    """
    kept = None  # there are none of other views
    if classifier.views == "none":
        kept = _kept(classifier, data, stages, epoch)
    return classifier if kept is None else FromFeatures(classifier, kept)


def _kept(
    classifier: Classifier,
    data: ImageDataModule,
    stages: Sequence[Mapping[str, Any]],
    epoch: int | None,
) -> KeptFeatures | None:
    """The features of these frozen layers; None if the stage of the epoch kept none.

    Streamed images are read, as only their pixels tell whether they were seen in training.
    """
    begun = [stage for stage in stages if epoch is not None and stage["first_epoch"] <= epoch]
    if not begun or "features" not in begun[-1] or data.pipeline == "streaming":
        return None
    task, device, precision = classifier.task, classifier.device, classifier.precision

    @contextmanager
    def context() -> Iterator[None]:
        with classifier.as_in_training(), evaluating_in(precision, device), torch.no_grad():
            yield

    own = arithmetic(precision, task.matmul_precision, device)
    try:
        cut = Cut(task.model, parts(task.model, begun[-1]["trainable"]))
        layers = frozen_layers(cut, task, data, context, own)
    except CutError:
        return None
    # other weights or another precision have another folder: nobody has kept theirs
    return KeptFeatures(layers) if features_folder(layers).exists() else None
