"""Build a network from a model config."""

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from strided.config.targets import EXTRA_KEYS, build, locate
from strided.models.stems import Library
from strided.models.timm_models import timm_model
from strided.models.torchvision_models import torchvision_model


def build_model(
    config: Mapping[str, Any], *, num_classes: int, in_channels: int, image_size: int
) -> nn.Module:
    """Build the network of a model config, untrained: nothing is read or downloaded.

    Calls `_target_` with the config's other keys, `num_classes`, `in_channels` and, if it takes
    one, `image_size`. Raises UserError if that fails.
    """
    own = {key: value for key, value in config.items() if key not in EXTRA_KEYS["model"]}
    given = {"num_classes": num_classes, "in_channels": in_channels}
    if "image_size" in inspect.signature(locate(config["_target_"], "model")).parameters:
        given["image_size"] = image_size
    net: nn.Module = build(own, "model", **given)
    return net


def library(config: Mapping[str, Any]) -> Library | None:
    """Which library's adapter a model config names; None for any other network."""
    adapters: dict[Any, Library] = {torchvision_model: "torchvision", timm_model: "timm"}
    return adapters.get(locate(config["_target_"], "model"))
