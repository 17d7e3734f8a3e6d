"""From a model config to a network."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from strided.config import locate
from strided.errors import UserError

# Keys of a model config that are not the target's: they say where its values come from.
_INITIALISATION = ("pretrained", "weights")


def build_model(
    config: Mapping[str, Any], *, num_classes: int, in_channels: int, image_size: int
) -> nn.Module:
    """Build the network of a model config, untrained: nothing is read or downloaded.

    Its `_target_` is called with the config's other keys, `num_classes`, `in_channels` and, where
    it takes one, `image_size`. Raises UserError if it cannot be.
    """
    target = locate(config["_target_"])
    own = {k: v for k, v in config.items() if k != "_target_" and k not in _INITIALISATION}
    given = {"num_classes": num_classes, "in_channels": in_channels}
    if "image_size" in inspect.signature(target).parameters:
        given["image_size"] = image_size
    _check_arguments(config["_target_"], target, own, given)
    try:
        net = target(**own, **given)
    except UserError:
        raise
    except Exception as error:  # a user's own network may fail in any way
        raise UserError(
            f"model {config['_target_']} cannot be built for {num_classes} classes and "
            f"{in_channels}x{image_size}x{image_size} images: {type(error).__name__}: {error}. "
            f"Expected arguments that it accepts. Try other values for {_keys(own)}"
        ) from error
    if not isinstance(net, nn.Module):
        raise UserError(
            f"model._target_={config['_target_']} gave a {type(net).__name__}. Expected a "
            "torch.nn.Module. Try the class of a network, or a function that returns one"
        )
    return net


def _check_arguments(
    name: str, target: Callable[..., Any], own: dict[str, Any], given: dict[str, int]
) -> None:
    """Tell a wrong key from a TypeError inside the network."""
    repeated = sorted(own.keys() & given.keys())
    if repeated:
        raise UserError(
            f"model.{repeated[0]} was given, but the data set decides it. Expected model keys "
            f"without {', '.join(given)}. Try removing model.{repeated[0]}"
        )
    try:
        inspect.signature(target).bind(**own, **given)
    except TypeError as error:
        accepted = [p for p in inspect.signature(target).parameters if p not in given]
        raise UserError(
            f"model._target_={name} cannot be called: {error}. Expected it to take num_classes, "
            f"in_channels and the keys of its config. Try only {_keys(accepted)}"
        ) from error


def _keys(names: Any) -> str:
    return ", ".join(f"model.{name}" for name in names) or "no other model keys"
