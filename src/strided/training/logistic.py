"""Multinomial logistic regression, solved: the one minimum that a linear layer's loss has.

The loss is the mean over images of the cross-entropy, with the weights of the classes, plus
l2 / 2 times the sum of the squared weights; biases are not penalised. scikit-learn's
LogisticRegression has the same minimum for C = 1 / (l2 * images).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from strided.errors import UserError
from strided.training.execution import worthwhile_threads
from strided.training.losses import CrossEntropy

SLOPE = 1e-8  # of the loss, at most, where the search ends
_NEAR = 1e-4  # a slope above this, where the search ends, is not near the minimum
_MOST_STEPS = 10_000
_CORRECTIONS = 20  # pairs of steps and slopes that L-BFGS keeps


class LBFGS(Optimizer):
    """Solve a head on kept features in place of stepping it (Liu & Nocedal 1989).

    l2: the strength of the penalty, or several, of which inner `folds` of the training images
    choose. last: candidates for the last block of model.head=pooled, chosen together with l2.
    """

    def __init__(
        self,
        params: Any,
        l2: float | list[float] = 0.1,
        folds: int = 3,
        last: list[str | int] | None = None,
    ) -> None:
        for value in np.atleast_1d(l2).tolist():
            if not 0 < value < float("inf"):
                raise UserError(
                    f"optimizer.l2={value}; expected above 0: without a penalty, classes that a "
                    "line separates have no solution. Try optimizer.l2=0.1"
                )
        if not np.size(l2) or last == []:
            raise UserError(
                "optimizer.l2 or optimizer.last is empty; expected something to choose from. "
                "Try optimizer.l2=[0.3,0.1,0.03] optimizer.last=null"
            )
        if folds < 2:
            raise UserError(f"optimizer.folds={folds}; expected 2 or more. Try optimizer.folds=3")
        super().__init__(params, {"lr": 0.0})

    def step(self, closure: Any = None) -> Any:
        """Compute the loss; the weights are the solution already."""
        return closure() if closure is not None else None


def is_solved(config: Mapping[str, Any]) -> bool:
    """Whether the head of a run is solved and not stepped."""
    return str((config.get("optimizer") or {}).get("_target_")).endswith("strided.training.LBFGS")


@dataclass(frozen=True)
class Linear:
    """A linear layer in float64: weight (K, F), bias (K,).

    slope is the largest of the loss where the search ended, of standardised features.
    """

    weight: Tensor
    bias: Tensor
    slope: float = 0.0

    @property
    def converged(self) -> bool:
        """Whether it is the minimum, as near as matters. Rounding may end a search early."""
        return self.slope <= _NEAR

    def __call__(self, features: Tensor) -> Tensor:
        """Logits (N, K) of features (N, F)."""
        return features @ self.weight[:, : features.shape[1]].T + self.bias


def solve(
    features: Tensor,
    targets: Tensor,
    l2: float,
    start: Linear | None = None,
    slope: float = SLOPE,
) -> Linear:
    """Minimise over features (N, F), standardised first; the result takes them as they are.

    targets float64 (N, K): each image's share of each class, times the weight of the class. `start`
    is near the solution. A feature that is constant has the weight 0. The search ends at a `slope`.
    Raises UserError for features that are not finite.
    """
    features = features.double()
    if not features.isfinite().all():
        raise UserError(
            "optimizer=lbfgs cannot solve the head: the network's features of some images are not "
            "finite (NaN or infinity); expected numbers. Try other weights"
        )
    mean, std = features.mean(0), features.std(0, correction=0)
    std[std < 1e-12 * mean.abs().clamp_min(1)] = torch.inf  # constant
    first = None if start is None else _standardised(start, mean, std)
    found = _minimise((features - mean) / std, targets, l2, first, slope)
    weight = found.weight / std
    return Linear(weight, found.bias - weight @ mean, found.slope)


def _standardised(layer: Linear, mean: Tensor, std: Tensor) -> Linear:
    """The layer as it would take standardised features."""
    weight = layer.weight[:, : len(mean)]
    return Linear(torch.where(std.isinf(), 0, weight * std), layer.bias + weight @ mean)


def _minimise(
    features: Tensor, targets: Tensor, l2: float, start: Linear | None, slope: float
) -> Linear:
    from scipy.optimize import minimize  # scikit-learn brings scipy

    classes, size = targets.shape[1], features.shape[1]
    sums = targets.sum(1, keepdim=True)

    def loss_and_slope(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weight, bias = _parts(flat, classes, size)
        log_p = torch.addmm(bias, features, weight.T).log_softmax(1)
        loss = -(targets * log_p).sum() / len(features) + l2 / 2 * weight.square().sum()
        of_logits = (log_p.exp() * sums - targets) / len(features)
        slopes = torch.cat([of_logits.T @ features + l2 * weight, of_logits.sum(0)[:, None]], 1)
        return float(loss), slopes.numpy().ravel()

    first = np.zeros((classes, size + 1))
    if start is not None:
        first = torch.cat([start.weight, start.bias[:, None]], 1).numpy()
    options: dict[str, float] = {"gtol": slope, "ftol": 0.0, "maxcor": _CORRECTIONS}
    options |= {"maxiter": _MOST_STEPS, "maxfun": 2 * _MOST_STEPS}
    with worthwhile_threads(torch.device("cpu"), features.numel() * classes):
        found = minimize(
            loss_and_slope, first.ravel(), method="L-BFGS-B", jac=True, options=options
        )
    weight, bias = _parts(found.x, classes, size)
    return Linear(weight, bias, float(np.abs(found.jac).max()))


def _parts(flat: np.ndarray, classes: int, size: int) -> tuple[Tensor, Tensor]:
    both = torch.from_numpy(flat).reshape(classes, size + 1)
    return both[:, :-1], both[:, -1]


def targets_of(criterion: CrossEntropy, labels: Tensor, classes: int) -> Tensor:
    """What `solve` minimises this loss with: float64 (N, K) of labels (N,)."""
    hard = torch.nn.functional.one_hot(labels, classes).double()
    soft = (1 - criterion.label_smoothing) * hard + criterion.label_smoothing / classes
    return soft if criterion.weight is None else soft * criterion.weight.double().cpu()


@dataclass(frozen=True)
class Candidate:
    """A penalty, and how many of the features to take; `loss` is of images left out, in all folds.

    logits float64 (N, K) are theirs; `converged`: the searches of all folds did.
    """

    l2: float
    size: int
    loss: float
    logits: Tensor
    converged: bool


def compared(
    features: Tensor,
    targets: Tensor,
    fold_of: np.ndarray,
    l2: Sequence[float],
    sizes: Sequence[int],
    slope: float = SLOPE,
) -> Iterator[Candidate]:
    """Try each penalty with the first features of each size: each fold by the others."""
    folds = [torch.from_numpy(fold_of == fold) for fold in range(int(fold_of.max()) + 1)]
    for size in sizes:
        own, found = features[:, :size], [None for _ in folds]
        starts: list[Linear | None] = list(found)
        for value in sorted(l2, reverse=True):  # from the easiest on, each from the one before
            logits = torch.empty_like(targets)
            for number, held_out in enumerate(folds):
                layer = solve(own[~held_out], targets[~held_out], value, starts[number], slope)
                starts[number] = layer
                logits[held_out] = layer(own[held_out].double())
            loss = -(targets * logits.log_softmax(1)).sum() / len(targets)
            converged = all(layer is not None and layer.converged for layer in starts)
            yield Candidate(value, size, float(loss), logits, converged)
