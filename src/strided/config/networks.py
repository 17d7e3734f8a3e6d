"""The networks in a list of names: options of the model group, torchvision's, timm's."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.config.compose import compose
from strided.config.keys import Config, Node
from strided.config.overrides import typed_value, without
from strided.config.yaml_files import config_folders, group_options
from strided.errors import UserError, did_you_mean


def compose_models(
    verb: str, config: Config, chosen: str, words: Sequence[str], config_dir: Path | None
) -> dict[str, Node]:
    """Return the node of each of `models`, or of the one that `model=` has chosen, if any.

    Typed `model.` keys hold for each. Raises UserError for an unknown name.
    """
    others = without(without(words, "models"), "model")
    if config["models"]:
        if any(word.lstrip("+").startswith("model.name=") for word in others):
            raise UserError(
                "model.name was typed beside models=, which names its networks itself; "
                "expected one of the two. Try the name in models=[...]"
            )
        if one := typed_value(words, "model"):
            raise UserError(
                f"model={one} would do nothing beside models=, which names all networks; expected "
                f"one of the two. Try it in models=[{one},...]"
            )
        return {
            name: compose(verb, [*model_words(name, config_dir), *others], config_dir)["model"]
            for name in config["models"]
        }
    return {chosen: config["model"]} if config.get("model") else {}


def model_words(name: str, config_dir: Path | None = None) -> list[str]:
    """Return the overrides of a network: an option's name comes first, then torchvision's, timm's.

    Raises UserError.
    """
    options = group_options(config_folders(config_dir))["model"]
    if name in options:
        return [f"model={name}"]
    import timm
    from torchvision import models

    if name in models.list_models(module=models):
        return ["model=torchvision", f"model.name={name}"]
    if timm.is_model(name):
        return ["model=timm", f"model.name={name}"]
    raise UserError(
        f"models has {name}, which is no option of model and no network of torchvision or timm. "
        f"{did_you_mean(name, options)}"
    )


def label(config: Mapping[str, Any]) -> str:
    """Name a network in a message: `alexnet`, `LeNet5`."""
    return str(config.get("name") or config["_target_"].rsplit(".", 1)[-1])
