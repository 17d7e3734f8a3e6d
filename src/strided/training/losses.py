"""Losses of logits (B, K) against labels: int64 (B,), or probabilities (B, K) after mixup.

Both average over images. torch's weighted mean divides by the weights in a batch instead: an
epoch's loss would then depend on the division into batches, and a batch of one class would not
be weighted at all.
"""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from strided.config.keys import Config, Node
from strided.config.targets import build, locate
from strided.errors import UserError, did_you_mean, first_line

ClassWeights = dict[str, float] | Literal["auto"] | None


class CrossEntropy(nn.Module):
    """Cross-entropy, with each class's share multiplied by its weight.

    Args:
        class_weights: A weight for each class by name, or auto: rare classes count more; those not
            named have 1, null: all.
        label_smoothing: Spread this much of each label, 0 to 1, evenly over the classes (Szegedy et
            al. 2016, section 7).
    """

    weight: Tensor | None

    def __init__(
        self,
        classes: Sequence[str],
        class_weights: ClassWeights = None,
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight_tensor(classes, class_weights), persistent=False)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the images."""
        if self.weight is None:
            return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)
        weight = self.weight.to(logits.dtype)
        each = F.cross_entropy(
            logits, labels, weight, reduction="none", label_smoothing=self.label_smoothing
        )
        return each.mean()


class FocalLoss(nn.Module):
    """Cross-entropy times (1 - p) ** gamma: images that are already easy count less.

    Lin et al. 2017, arXiv:1708.02002, section 3, with the softmax in place of their sigmoids;
    `class_weights` take the place of alpha.

    Args:
        class_weights: A weight for each class by name, or auto: rare classes count more; those not
            named have 1, null: all.
        gamma: How much less easy images count; 0: cross-entropy.
    """

    weight: Tensor | None

    def __init__(
        self,
        classes: Sequence[str],
        class_weights: ClassWeights = None,
        gamma: float = 2.0,
    ) -> None:
        super().__init__()
        if not 0 <= gamma < math.inf:
            raise UserError(f"loss.gamma={gamma}; expected 0 or more. Try loss.gamma=2")
        self.register_buffer("weight", weight_tensor(classes, class_weights), persistent=False)
        self.gamma = gamma

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Mean over the images."""
        log_p = logits.log_softmax(1)
        if labels.ndim == 1:
            labels = F.one_hot(labels, logits.shape[1]).to(log_p.dtype)
        # above 0, where a power below 1 has no slope
        others = (-log_p.expm1()).clamp_min(torch.finfo(log_p.dtype).tiny)
        each = -labels * others**self.gamma * log_p
        return (each if self.weight is None else each * self.weight).sum(1).mean()


def weight_tensor(classes: Sequence[str], class_weights: ClassWeights) -> Tensor | None:
    """Return float32 (K,) in the order of `classes`. Raises UserError."""
    if class_weights is None:
        return None
    assert class_weights != "auto", "balanced() comes first"
    weights = dict.fromkeys(classes, 1.0)
    for key, value in class_weights.items():
        name = str(key)  # YAML reads a class called 7 as a number
        if name not in weights:
            raise UserError(
                f"loss.class_weights names {name}, which is no class; expected names of classes. "
                f"{did_you_mean(name, classes)}"
            )
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise UserError(
                f"loss.class_weights.{name}={value}; expected a number of 0 or more. "
                f"Try loss.class_weights.{name}=1"
            )
        weights[name] = float(value)
    if not any(weights.values()):
        raise UserError(
            f"loss.class_weights={class_weights} makes every loss 0; expected a class that counts. "
            "Try loss.class_weights=auto"
        )
    return torch.tensor(list(weights.values()))


def balanced(node: Mapping[str, Any], classes: Sequence[str], labels: np.ndarray) -> Node:
    """Return a loss node with `class_weights: auto` as numbers: n / (K n_k) for n_k images of n.

    Every class then weighs the same in an epoch, and the mean weight of its images is 1 (King &
    Zeng 2001; scikit-learn's "balanced"). `labels` are the training images' labels.
    """
    if node.get("class_weights") != "auto":
        return dict(node)
    counts = np.bincount(labels, minlength=len(classes))
    weights = len(labels) / (len(classes) * counts)
    return {**node, "class_weights": dict(zip(classes, weights.tolist(), strict=True))}


def build_loss(node: Mapping[str, Any], classes: Sequence[str]) -> nn.Module:
    """Build the criterion of a loss node; torch's classes, which take no `classes`, get none.

    Raises UserError.
    """
    takes_classes = "classes" in inspect.signature(locate(node["_target_"], "loss")).parameters
    filled_in = {"classes": list(classes)} if takes_classes else {}
    criterion: nn.Module = build(dict(node), "loss", **filled_in)
    return criterion


def add_auxiliary(loss: Tensor, model: nn.Module, criterion: nn.Module, labels: Tensor) -> Tensor:
    """Add the weighted losses of the auxiliary heads of the last forward pass, if there are any.

    Szegedy et al. 2015, section 5.
    """
    for logits in getattr(model, "auxiliary_logits", ()):
        loss = loss + model.auxiliary_weight * criterion(logits, labels)
    return loss


def try_loss(node: dict[str, Any], classes: list[str], *, soft_labels: bool) -> None:
    """Raise UserError if the loss refuses logits and labels: torch checks its arguments late.

    `soft_labels`: probabilities in the shape of the logits, as mixup and cutmix give.
    """
    criterion = build_loss(balanced(node, classes, np.arange(len(classes))), classes)
    shape = (2, len(classes))
    trials = [torch.zeros(2, dtype=torch.long), torch.full(shape, 1 / len(classes))]
    for labels in trials if soft_labels else trials[:1]:
        try:
            loss = criterion(torch.zeros(shape), labels)
            if not (isinstance(loss, Tensor) and loss.ndim == 0):
                shown = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
                raise TypeError(f"it gave {shown} in place of one number, a Tensor of shape ()")
        except Exception as error:  # a user's loss may fail in any way
            keys = ", ".join(f"loss.{key}={value}" for key, value in node.items() if key[0] != "_")
            unmixed = ", or augment.mixup=0 augment.cutmix=0" if labels.ndim == 2 else ""
            raise UserError(
                f"{node['_target_']} fails on logits {shape} and labels {tuple(labels.shape)}: "
                f"{first_line(error)}. Expected a loss of these. Try "
                f"{f'other values for what was given: {keys}' if keys else 'another loss'}{unmixed}"
            ) from error


def refuse_two_balances(config: Config) -> None:
    """Raise UserError for a sampler and class weights together: rare classes would count twice."""
    sampler, weights = config["data"].get("sampler"), config["loss"].get("class_weights")
    if sampler is not None and weights is not None:
        raise UserError(
            f"data.sampler={sampler} with loss.class_weights={weights} would make up for rare "
            "classes twice; expected one of them. Try loss.class_weights=null, or data.sampler=null"
        )
