"""Fit the gate of a network, and ask it: which images are of another kind than the training's."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from strided.config.keys import Config
from strided.data import ImageDataModule
from strided.decision.gate import REASONS, Gate, Gated, Images, least_images
from strided.decision.input_gate import looks
from strided.decision.triage import SEPARATOR
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.evaluation.intervals import wilson_interval
from strided.evaluation.outputs import MOST_IMAGES, outputs_of
from strided.runs.predictions_csv import Row
from strided.training.task import ClassificationTask
from strided.training.transfer.inner_folds import belonging_together

log = logging.getLogger(__name__)

_FOLDS = 5  # of training images, where there are no others


class Measured:
    """Collects what a gate measures of images."""

    def __init__(self, layer: str) -> None:
        self.layer = layer
        self._features: list[np.ndarray] = []
        self._looks: list[np.ndarray] = []

    def see(self, features: np.ndarray, pixels: np.ndarray) -> None:
        """See outputs.Watch."""
        self._features.append(features)
        self._looks.append(looks(pixels))

    @property
    def images(self) -> Images:
        """All of them so far."""
        return Images(np.concatenate(self._features), np.concatenate(self._looks))


class Asked:
    """Asks the gate about images, and keeps its answers."""

    def __init__(self, gate: Gate) -> None:
        self.gate, self.layer = gate, gate.layer
        self._found: list[Gated] = []

    def see(self, features: np.ndarray, pixels: np.ndarray) -> None:
        """See outputs.Watch."""
        self._found.append(self.gate(features, pixels))

    @property
    def gated(self) -> Gated:
        """The answers about all of them so far."""
        reasons = [reason for found in self._found for reason in found.reasons]
        return Gated(np.concatenate([np.empty(0), *(f.ood for f in self._found)]), reasons)


def gated_outputs(
    classifier: Classifier, data: ImageDataModule, split: str, chosen: np.ndarray
) -> tuple[Tensor, Tensor, Gated | None]:
    """See outputs_of; also what the classifier's gate, if it has one, says of the same images."""
    asked = Asked(classifier.gate) if classifier.gate else None
    logits, labels = outputs_of(classifier, data, split, chosen, asked)
    return logits, labels, asked.gated if asked else None


def refuse_gate(config: Config, task: ClassificationTask, data: ImageDataModule) -> None:
    """Raise UserError for a gate that could not be fitted after training."""
    keys = config.get("evaluation") or {}
    if keys.get("gate") is None:
        return
    last_linear(task)
    share = keys.get("false_alarms") or 0.05
    held, least = len(data.spread("val", MOST_IMAGES)), least_images(share)
    if not held and np.ptp(_folds(data, config["seed"])) > 0:
        held = len(data.spread("train", MOST_IMAGES))
    if held < least:
        raise UserError(
            f"evaluation.false_alarms={share}, but {held} images are held out of training; "
            f"expected {least} or more, as fewer cannot show so small a share. Try "
            + (f"evaluation.false_alarms={1.5 / (held + 1):.2g}, or " if held > 1 else "")
            + "a larger data.val_fraction"
        )


@torch.no_grad()
def last_linear(task: ClassificationTask) -> str:
    """The name of the linear layer whose output is the network's. Raises UserError."""
    size, channels = task.preprocessing.image_size, task.preprocessing.channels
    outputs: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out}))
        for name, layer in task.model.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    was_training = task.training
    task.eval()
    try:
        logits = task.model.forward(torch.zeros(1, channels, size, size, device=task.device))
    finally:
        task.train(was_training)
        for handle in handles:
            handle.remove()
    for name in reversed(outputs):
        if outputs[name].shape == logits.shape and torch.equal(outputs[name], logits):
            return name
    raise UserError(
        "evaluation.gate looks at what the last linear layer is given, and this network's output "
        "is of no linear layer; expected one that ends in one, as most do. Try model.head=linear, "
        "or evaluation.gate=null"
    )


def fit_gate(config: Config, classifier: Classifier, data: ImageDataModule) -> Gate | None:
    """Fit what evaluation.gate asks for on at most 5,000 training images, spread over all.

    Its limits are chosen on validation images, or by folds of the training images without any.
    """
    keys = config.get("evaluation") or {}
    method, share = keys.get("gate"), keys.get("false_alarms") or 0.05
    if method is None:
        return None
    layer = last_linear(classifier.task)
    own, labels = _measured(classifier, data, "train", layer)
    held_out: Images | np.ndarray
    if len(data.splits["val"]):
        held_out, _ = _measured(classifier, data, "val", layer)
    else:
        held_out = _folds(data, config["seed"])
    gate = Gate.fit(method, own, labels, held_out, layer, share)
    log.info(
        "gate (%s): fitted on %d training images, limits chosen on %d %s, of which %g %% may be "
        "refused",
        *(method, len(labels), gate.images),
        "of them that were left out in turn" if gate.out_of_fold else "validation images",
        100 * share,
    )
    return gate


def _measured(
    classifier: Classifier, data: ImageDataModule, split: str, layer: str
) -> tuple[Images, np.ndarray]:
    watch = Measured(layer)
    _, labels = outputs_of(classifier, data, split, data.spread(split, MOST_IMAGES), watch)
    return watch.images, labels.numpy()


def _folds(data: ImageDataModule, seed: int) -> np.ndarray:
    """The fold of each training image that `fit_gate` looks at; groups and copies are whole."""
    indices = data.readable("train")
    chosen = indices[np.isin(indices, data.spread("train", MOST_IMAGES))]
    together, members = np.unique(belonging_together(data, chosen), return_inverse=True)
    dealt: np.ndarray = np.random.default_rng([seed, _FOLDS]).permutation(len(together)) % _FOLDS
    return dealt[members]


def refusals_of(rows: Sequence[Row]) -> dict[str, Any] | None:
    """How many of the images that a gate has judged it refuses, and why; None without a gate."""
    judged = [row for row in rows if row.ood is not None]
    if not judged:
        return None
    refused = [row for row in judged if row.refused]
    reasons = [reason for row in refused for reason in row.reasons.split(SEPARATOR)]
    share = len(refused) / len(judged)
    return {
        "images": len(judged),
        "refused": len(refused),
        "share": share,
        "share_ci95": wilson_interval(share, len(judged)),
        "reasons": {name: reasons.count(name) for name in REASONS if name in reasons},
    }


def facts_of_gate(gate: Gate | None) -> dict[str, Any]:
    """What results.json says of a gate itself; None: of several checkpoints' together."""
    if gate is None:
        return {"method": "median", "false_alarms": None}
    return {
        "method": gate.features.method,
        "layer": gate.layer,
        "false_alarms": gate.false_alarms,
        "images": gate.images,
        "out_of_fold": gate.out_of_fold,
    }
