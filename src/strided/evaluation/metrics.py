"""Metrics of a finished evaluation, from stored probabilities; see docs/run_folder.md, metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from strided.data.reading.files import as_text
from strided.decision.calibration import ece
from strided.decision.selective import RiskCoverage
from strided.evaluation.ranking import Curve, in_top5


def classification_metrics(
    probabilities: Tensor, labels: Tensor, classes: list[str]
) -> dict[str, float | None]:
    """Return metrics of probabilities (N, K) against labels (N,), as fractions of 1.

    Averages are over classes (macro). A class with no image has null in each metric, and does not
    count in the averages.
    """
    num_classes = probabilities.shape[1]
    predicted = probabilities.argmax(1)
    confusion = confusion_matrix(predicted, labels, num_classes)
    per_class = _per_class(confusion, probabilities, labels)
    metrics: dict[str, float | None] = {"acc": (predicted == labels).double().mean().item()}
    if num_classes > 5:
        metrics["acc_top5"] = float(in_top5(probabilities.numpy(), labels.numpy()).mean())
    for name, values in per_class.items():
        known = [value for value in values if value is not None]
        metrics[name] = sum(known) / len(known) if known else None
    metrics["balanced_acc"] = metrics["recall"]  # Brodersen et al. 2010: the mean over classes
    of_label = probabilities.double().gather(1, labels[:, None]).clamp_min(1e-12)
    metrics["nll"] = -of_label.log().mean().item()
    metrics["ece"] = ece(probabilities.numpy(), labels.numpy())
    one_hot = torch.nn.functional.one_hot(labels, num_classes)
    # half the squared distance, as for two classes: between 0 and 1
    metrics["brier"] = (probabilities.double() - one_hot).square().sum(1).mean().item() / 2
    curve = RiskCoverage.of(
        probabilities.max(1).values.double().numpy(), (predicted == labels).numpy()
    )
    metrics["aurc"] = curve.aurc()
    metrics["acc_at_80"] = curve.accuracy_at(0.8)[0]
    for name, values in per_class.items():
        metrics.update({f"{name}/{label}": v for label, v in zip(classes, values, strict=True)})
    return metrics


def confusion_matrix(predicted: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Return counts (K, K): rows are the true class, columns the predicted one."""
    pairs = torch.bincount(labels * num_classes + predicted, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


def _per_class(
    confusion: Tensor, probabilities: Tensor, labels: Tensor
) -> dict[str, list[float | None]]:
    hits = confusion.diag().tolist()
    support = confusion.sum(1).tolist()
    predicted = confusion.sum(0).tolist()
    total = int(confusion.sum())
    each = list(zip(hits, support, predicted, strict=True))
    return {
        "precision": [h / max(p, 1) if s else None for h, s, p in each],
        "recall": [h / s if s else None for h, s, _ in each],
        "f1": [2 * h / (s + p) if s else None for h, s, p in each],
        "specificity": [1 - (p - h) / (total - s) if 0 < s < total else None for h, s, p in each],
        "npv": [
            (total - s - p + h) / max(total - p, 1) if 0 < s < total else None for h, s, p in each
        ],
        **_ranking(probabilities, labels, [0 < s < total for s in support]),
    }


def _ranking(
    probabilities: Tensor, labels: Tensor, defined: list[bool]
) -> dict[str, list[float | None]]:
    """AUROC and average precision (AUPRC) of each class against the rest."""
    scores, of = probabilities.numpy(), labels.numpy()
    curves = [Curve.of(scores[:, k], of == k) if known else None for k, known in enumerate(defined)]
    return {
        "auroc": [curve.auroc() if curve else None for curve in curves],
        "auprc": [curve.auprc() if curve else None for curve in curves],
    }


def class_table(
    results: Mapping[str, Any], split: str, confusion: Sequence[Sequence[int]]
) -> tuple[list[str], list[list[Any]]]:
    """Return the columns class, precision, ..., images of a split, and a row per class.

    The intervals are not among them.
    """
    each = [key.split("/", 2)[1:] for key in results if key.startswith(f"{split}/")]
    names = list(dict.fromkeys(key[0] for key in each if len(key) == 2))
    names = [name for name in names if not name.endswith("_ci95")]
    labels = results["classes"] if names else []
    support: list[int | None] = [sum(row) for row in confusion] or [None] * len(labels)
    rows = [
        [as_text(label), *(results.get(f"{split}/{name}/{label}") for name in names), images]
        for label, images in zip(labels, support, strict=False)
    ]
    return ["class", *names, "images"], rows
