"""Any classification network of torchvision: right head and channels, logits out."""

import difflib
import re
from typing import Any, Self

from torch import Tensor, nn

from strided.errors import UserError
from strided.models.heads import Kind, set_head
from strided.models.pooled import Pool
from strided.models.stems import Stem, choose_stem, require_small_stem, set_in_channels
from strided.system.verbosity import shows_bars

# Weight of each auxiliary head's loss in training: Szegedy et al. 2015, section 5, for GoogLeNet;
# 0.4 for Inception v3 as in its authors' and torchvision's training code.
_AUXILIARY_WEIGHTS = {"googlenet": 0.3, "inception_v3": 0.4}
_INCEPTION_AUXILIARY_SIZE = 299  # pixels; below, the 5x5 convolution of the head does not fit

# Names in old weights files, which torchvision itself translates while loading.
_OLD_NAMES = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


class AuxiliaryLogits(tuple[Tensor, ...]):
    """Outputs of the auxiliary heads for the last batch; not part of a copied or saved network.

    They belong to a graph that is computed once. On them deepcopy (for an average of the weights)
    would fail, and pickle would carry a batch of activations along.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)()

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()


def torchvision_model(
    name: str,
    num_classes: int,
    in_channels: int = 3,
    image_size: int = 224,
    stem: Stem = "auto",
    dropout: float | None = None,
    head: Kind = "original",
    head_hidden: int = 256,
    head_dropout: float | None = None,
    pooled: list[str | int] | None = None,
    pool: Pool = "mean_std",
) -> nn.Module:
    """Build torchvision's network `name`, untrained.

    GoogLeNet and Inception v3 return logits only. They keep the outputs of their auxiliary heads in
    `auxiliary_logits` (empty in eval mode), which the loss weights by `auxiliary_weight`. Raises
    UserError if torchvision has no such network, or if it has no small stem or no dropout.

    Args:
        name: The network, one of torchvision.models.list_models().
        stem: How the first layers take the image in: imagenet shrinks it as published, small keeps
            the resolution of small images, auto chooses.
        dropout: Part of the units that the network's own dropout leaves out; null: its default.
        head: The classifier: the network's original one; linear; mlp, with a hidden layer;
            flatten_mlp, with the whole last map before that; or pooled, of several blocks.
        head_hidden: Units of the hidden layer of head=mlp and head=flatten_mlp.
        head_dropout: Part of the units before the output of strided's heads that are left out while
            training; null: 0.5 for the two mlp, none for linear.
        pooled: The blocks, by name or number, whose maps head=pooled takes.
        pool: What it takes of each map: the mean, or the mean and the standard deviation.
    """
    from torchvision.models import get_model

    check_name(name)
    arguments = _arguments(name, image_size) | ({} if dropout is None else {"dropout": dropout})
    try:
        net: nn.Module = get_model(name, weights=None, num_classes=num_classes, **arguments)
    except TypeError as error:
        raise UserError(f"{name} refuses an argument: {error}. Try model.dropout=null") from error
    if choose_stem("torchvision", name, stem, image_size) == "small":
        require_small_stem("torchvision", name).apply(net)
    set_in_channels(net, in_channels)
    if name in _AUXILIARY_WEIGHTS:
        net.auxiliary_weight = _AUXILIARY_WEIGHTS[name]  # type: ignore[assignment]
        net.auxiliary_logits = AuxiliaryLogits()  # type: ignore[assignment]
        net.register_forward_hook(_keep_auxiliary_logits)
    shape = (in_channels, image_size, image_size)
    return set_head(net, head, num_classes, shape, head_hidden, head_dropout, pooled, pool)


def check_name(name: str) -> None:
    """Raise UserError with the closest names if torchvision has no classifier `name`."""
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.4) or ["resnet18"]
        raise UserError(
            f"torchvision has no classification network {name!r}. Expected one of its "
            f"{len(names)}, the closest: {', '.join(close)}. Try model.name={close[0]}"
        )


def pretrained_preprocessing(name: str) -> dict[str, Any]:
    """Size (pixels), resize, crop fraction, interpolation, mean and std the weights expect."""
    transforms = _default_weights(name).transforms()
    size = transforms.crop_size[0]
    mean, std = tuple(transforms.mean), tuple(transforms.std)
    if name in _AUXILIARY_WEIGHTS:
        # These two were trained on (pixel - 0.5) / 0.5. torchvision normalises with ImageNet's
        # mean and std, then undoes that in the network (transform_input); here both are left out.
        mean = std = (0.5, 0.5, 0.5)
    return {
        "image_size": size,
        "resize": "crop",
        "crop_fraction": size / transforms.resize_size[0],
        "interpolation": transforms.interpolation.value,
        "mean": mean,
        "std": std,
    }


def published(name: str) -> dict[str, Any]:
    """What torchvision says of its ImageNet weights (DEFAULT); nothing is downloaded.

    top1 and top5 are fractions of ImageNet's 50,000 validation images; parameters and gmacs
    describe the network; image_size is in pixels; `source` names the weights. Raises UserError if
    there are none.
    """
    weights = _default_weights(name)
    accuracy = weights.meta["_metrics"]["ImageNet-1K"]
    return {
        "top1": round(accuracy["acc@1"] / 100, 5),
        "top5": round(accuracy["acc@5"] / 100, 5),
        "source": f"torchvision {weights}",
        "parameters": weights.meta["num_params"],
        "gmacs": weights.meta["_ops"],
        "image_size": weights.transforms().crop_size[0],
    }


def pretrained_state(name: str) -> dict[str, Tensor]:
    """ImageNet weights (torchvision's DEFAULT) from TORCH_HOME, or downloaded there."""
    from torch import hub

    weights = _default_weights(name)
    file = weights.url.rsplit("/", 1)[-1]
    folder = f"{hub.get_dir()}/checkpoints"
    try:
        state: dict[str, Tensor] = weights.get_state_dict(
            check_hash=True, progress=shows_bars(), map_location="cpu", weights_only=True
        )
    except Exception as error:  # network, disk, hash and unpickling each raise their own kind
        raise UserError(
            f"the ImageNet weights of {name} could not be loaded: {error}. Expected {file} in "
            f"{folder}, or a connection. Try putting the file there (from {weights.url}), or "
            "model.weights=<file>, or model.pretrained=false"
        ) from error
    return state


def current_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Bring names of older torchvision releases in the state up to date."""
    return {_current_name(key): tensor for key, tensor in state.items()}


def _current_name(key: str) -> str:
    for old, new in _OLD_NAMES:
        key = old.sub(new, key)
    return key


def _default_weights(name: str) -> Any:
    from torchvision.models import get_model_weights

    check_name(name)
    weights = list(get_model_weights(name))
    if not weights:
        raise UserError(
            f"torchvision has no pretrained weights for {name}. Expected a network that has. "
            "Try model.pretrained=false, or model.weights=<file>"
        )
    return get_model_weights(name).DEFAULT


def _arguments(name: str, image_size: int) -> dict[str, Any]:
    """Arguments that some constructors need besides the number of classes."""
    if name.startswith("vit_"):
        return {"image_size": image_size}
    if name.startswith("maxvit"):
        return {"input_size": (image_size, image_size)}
    if name == "googlenet":
        return {"init_weights": False, "transform_input": False}
    if name == "inception_v3":
        auxiliary = image_size >= _INCEPTION_AUXILIARY_SIZE
        return {"init_weights": False, "transform_input": False, "aux_logits": auxiliary}
    return {}


def _keep_auxiliary_logits(net: nn.Module, images: object, output: Any) -> Tensor:
    """Forward hook: return the logits, and keep the auxiliary heads' outputs on the network."""
    logits, *auxiliary = (output,) if isinstance(output, Tensor) else output
    kept = AuxiliaryLogits(a for a in auxiliary if a is not None)
    net.auxiliary_logits = kept  # type: ignore[assignment]
    return logits
