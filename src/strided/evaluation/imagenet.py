"""A network with published ImageNet weights, for predict and explain: nothing is trained."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from strided.config.networks import label
from strided.errors import UserError
from strided.evaluation.classifier import Classifier
from strided.evaluation.members import members
from strided.models import load_weights, plan
from strided.models.weights import pretrained_preprocessing, pretrained_state
from strided.models.weights_file import State, read_weights
from strided.training.task import ClassificationTask

log = logging.getLogger(__name__)


def chosen_classifier(config: Mapping[str, Any]) -> Classifier:
    """The classifier of `checkpoint`, or else of `model` with its ImageNet weights.

    Raises UserError.
    """
    device, precision = config["accelerator"], config.get("precision")
    if config["checkpoint"]:
        checkpoints = members(config["checkpoint"])
        if len(checkpoints) > 1:
            raise UserError(
                f"checkpoint= has {len(checkpoints)} networks, and this looks into one; expected "
                f"one run. Try checkpoint={checkpoints[0].parent.parent}"
            )
        chosen = Classifier.load(checkpoints[0], device=device, precision=precision)
    else:
        chosen = Classifier(pretrained_task(config["model"]), device, precision)
    chosen.use_views((config.get("evaluation") or {}).get("views"))
    return chosen


def pretrained_task(config: Mapping[str, Any]) -> ClassificationTask:
    """Build torchvision's or timm's network with its weights, preprocessing and class names.

    The weights are `model.pretrained` ones, or an ImageNet file in `model.weights`. Raises
    UserError unless the weights fill every layer, including the last one.
    """
    _check_trained(config)
    path = config.get("weights")
    classes = imagenet_classes()
    # plan knows the preprocessing of pretrained weights, but not of a file of them
    requested = pretrained_preprocessing(config) if path else {}
    decided = plan(
        config, num_classes=len(classes), channels=3, native_size=None, requested=requested
    )
    task = ClassificationTask(
        model={**decided.model, "pretrained": False, "weights": None},
        classes=classes,
        preprocessing=decided.preprocessing.asdict(),
        loss={"_target_": "torch.nn.CrossEntropyLoss"},
        optimizer={},
        scheduler={},
        data={},
    )
    size = decided.preprocessing.image_size
    state = _state_of_file(Path(path)) if path else pretrained_state(config, size)
    source = path or f"the pretrained weights of {config['name']}"
    report = load_weights(task.model, state, len(classes), source)
    if report.head:
        raise UserError(
            f"{source} has no output for ImageNet's 1,000 classes ({', '.join(report.head)} does "
            "not fit). Expected weights of a classifier of these. Try model=efficientnet_lite0 "
            "model.pretrained=true, or checkpoint=<run> for a network that strided trained"
        )
    log.info("%s", report.describe())
    return task


def imagenet_classes() -> list[str]:
    """Return ImageNet-1k's class names in the order of the logits, as in torchvision."""
    from torchvision.models import ResNet18_Weights

    names: list[str] = ResNet18_Weights.DEFAULT.meta["categories"]
    assert len(set(names)) == len(names) == 1000, "predictions are keyed by name"
    return names


def _state_of_file(path: Path) -> State:
    """The tensors of a weights file; UserError for a checkpoint of strided: other classes."""
    file = read_weights(path)
    if file.made_with:
        raise UserError(
            f"model.weights={path} was trained by strided, on other classes; expected "
            f"ImageNet weights. Try checkpoint={path} without model="
        )
    return file.state


def _check_trained(config: Mapping[str, Any]) -> None:
    """Raise UserError for random weights, which would give an answer too, or for another stem."""
    name = label(config)
    if not (config.get("pretrained") or config.get("weights")):
        raise UserError(
            f"{name} would answer with random weights. Expected trained ones. Try "
            "model.pretrained=true, or model.weights=<file>, or checkpoint=<run> for a network "
            "that strided trained"
        )
    if config.get("stem") == "small":
        raise UserError(
            f"model.stem=small was given, but the ImageNet weights of {name} were made with its "
            "published stem. Expected that one. Try model.stem=imagenet"
        )
