"""What to explain: a classifier, its layers, the methods that suit it, the classes."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from strided.config.keys import Config
from strided.errors import UserError, did_you_mean
from strided.evaluation.classifier import Classifier
from strided.explain.filters import Filters, first_filters
from strided.explain.heatmaps import CAMS
from strided.explain.layers import Layer, cam_layer, require_maps, traced
from strided.explain.sanity import randomised
from strided.models.pooled import PooledNetwork, taken_blocks

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """A network, what to look at in it, and the same network with random weights, if asked for.

    `maps` and `cam` name layers; None if the network has no such layer. `methods` have the layers
    that they need; `refused` says why the others do not. `targets` are class indices; None means
    the predicted class.
    """

    classifier: Classifier
    filters: Filters | None
    maps: str | None
    cam: str | None
    methods: list[str]
    refused: dict[str, str]
    targets: list[int] | None
    random: nn.Module | None

    @property
    def net(self) -> nn.Module:
        return self.classifier.task.model


def layers_of(classifier: Classifier) -> dict[str, Layer]:
    """The layers that an image runs through."""
    preprocessing = classifier.preprocessing
    shape = (1, preprocessing.channels, preprocessing.image_size, preprocessing.image_size)
    blank = torch.zeros(shape, device=classifier.device)
    return traced(classifier.task.model, classifier.task.as_input(blank))


def choose(classifier: Classifier, config: Config) -> Subject:
    """Choose layers, methods and classes. Raises UserError."""
    net, layers = classifier.task.model, layers_of(classifier)
    filters = first_filters(net)
    maps = config["layer"]
    if maps:
        require_maps(layers, maps)
    elif filters and filters.name in layers and layers[filters.name].is_maps:
        maps = filters.name
    else:
        log.warning("no feature maps: no convolution comes first. Try layer=? for others")
    preprocessing = classifier.preprocessing
    shape = (preprocessing.channels, preprocessing.image_size, preprocessing.image_size)
    cam, refused = _choose_cam(net, layers, config)
    return Subject(
        classifier,
        filters,
        maps,
        cam,
        [method for method in config["methods"] if method not in refused],
        refused,
        target_indices(config["target"], classifier.classes),
        randomised(net, shape, config["seed"]) if config["sanity"] else None,
    )


def _choose_cam(
    net: nn.Module, layers: Mapping[str, Layer], config: Config
) -> tuple[str | None, dict[str, str]]:
    """The layer of CAMs, and why each requested CAM is refused if other methods remain."""
    cams = [method for method in config["methods"] if method in CAMS]
    if not cams:
        return None, {}
    if typed := config["cam_layer"]:
        require_maps(layers, typed, "cam_layer")
        return typed, {}
    try:
        chosen = cam_layer(net, layers)
        if isinstance(net, PooledNetwork) and len(taken := taken_blocks(net)) > 1:
            log.info("CAMs show %s only, and the head takes %s", chosen, ", ".join(taken))
        return chosen, {}
    except UserError as error:
        if len(cams) == len(config["methods"]):
            raise
        log.warning("%s left out: %s", ", ".join(cams), error)
        return None, dict.fromkeys(cams, str(error))


def target_indices(
    target: str | int | list[str | int] | None, classes: Sequence[str]
) -> list[int] | None:
    """Indices of classes given by name or else by number; None means the predicted class.

    Raises UserError.
    """
    if target is None:
        return None
    found = []
    for given in target if isinstance(target, list) else [target]:
        name = str(given)
        if name in classes:
            found.append(classes.index(name))
        elif name.isdecimal() and int(name) < len(classes):
            found.append(int(name))
        else:
            raise UserError(
                f"target={name} is no class of this network; expected one of its {len(classes)} "
                f"classes by name, or a number from 0 to {len(classes) - 1}. "
                f"{did_you_mean(name, classes)}"
            )
    if not found:
        raise UserError("target=[] names no class; expected one or more. Try target=null")
    return list(dict.fromkeys(found))


def list_layers(net: nn.Module, layers: Mapping[str, Layer]) -> None:
    """Log every layer with its kind and the shape of its output, and the layer for CAMs."""
    width = max(map(len, layers))
    kinds = max(len(layer.kind) for layer in layers.values())
    for name, layer in layers.items():
        log.info("%s  %s  %s", name.ljust(width), layer.kind.ljust(kinds), layer)
    try:
        log.info("CAMs are of %s unless cam_layer= says otherwise", cam_layer(net, layers))
    except UserError as error:
        log.info("no CAMs: %s", error)
