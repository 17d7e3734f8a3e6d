"""How a network takes in the image: its first convolution, and the stems for small images.

A stem made for 224 px shrinks the image 4 to 32 times before the first block, which leaves
nothing of a 32 px image to classify. The small stems keep the resolution: He et al. 2015,
section 4.2.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

from torch import nn

from strided.errors import UserError

Library = Literal["torchvision", "timm"]
Stem = Literal["auto", "imagenet", "small"]
SMALL_IMAGE = 64  # pixels; the largest size at which stem=auto keeps the resolution


class SmallStem(NamedTuple):
    """The change to a network for small images: in words, and as a function that makes it."""

    description: str
    apply: Callable[[nn.Module], None]


def first_convolution(net: nn.Module) -> tuple[str, nn.Conv2d]:
    """Name and module of the convolution that sees the image."""
    return next((n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d))


def set_in_channels(net: nn.Module, in_channels: int) -> None:
    """Make the first convolution take `in_channels`, with new filters if the number changes."""
    name, old = first_convolution(net)
    if old.in_channels != in_channels:
        _replace_convolution(net, name, in_channels, old.kernel_size, old.stride, old.padding)


def small_stem(library: Library, name: str) -> SmallStem | None:
    """The small stem of the library's network `name`, or None if no rule exists for it."""
    stems = _SMALL_STEMS[library]
    return next((stem for prefix, stem in stems.items() if name.startswith(prefix)), None)


def choose_stem(
    library: Library, name: str, stem: Stem, image_size: int, pretrained: bool = False
) -> Literal["imagenet", "small"]:
    """Decide `auto`: small for small images, if a rule exists and no weights have to fit."""
    if stem == "auto":
        is_small = image_size <= SMALL_IMAGE and not pretrained
        return "small" if is_small and small_stem(library, name) else "imagenet"
    return stem


def require_small_stem(library: Library, name: str) -> SmallStem:
    """Return `small_stem` for a user who asked for it; UserError if no rule exists."""
    stem = small_stem(library, name)
    if stem is None:
        raise UserError(
            f"model.stem=small was given, but {name} has no stem for small images. Expected one "
            f"of {library}'s families {', '.join(_SMALL_STEMS[library])}. Try "
            "model.stem=imagenet, with a larger data.image_size if the images are small"
        )
    return stem


def _replace_convolution(
    net: nn.Module,
    name: str,
    in_channels: int,
    kernel_size: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
) -> None:
    old = net.get_submodule(name)
    assert isinstance(old, nn.Conv2d)
    new = nn.Conv2d(
        in_channels,
        old.out_channels,
        kernel_size,  # type: ignore[arg-type]  # torch declares Conv2d's own attributes wider
        stride,  # type: ignore[arg-type]
        padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    # By fan-in, so that the first maps have the same spread for 1 channel as for 3.
    nn.init.kaiming_normal_(new.weight, nonlinearity="relu")
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    net.set_submodule(name, new)


def _keep_resolution(convolution: str, pool: str, net: nn.Module) -> None:
    """Make the first convolution 3x3 with stride 1, and remove the first pool."""
    _replace_convolution(net, convolution, 3, (3, 3), (1, 1), (1, 1))
    net.set_submodule(pool, nn.Identity())


def _unit_stride(net: nn.Module) -> None:
    first_convolution(net)[1].stride = (1, 1)


def _narrow_vgg(net: nn.Module) -> None:
    """Global pooling and 512-512-512-K instead of 25088-4096-4096-K.

    torchvision would repeat the 1x1 map of a 32 px image to 7x7: 103 of VGG-16's 138 million
    weights would read 49 copies of the same 512 numbers.
    """
    net.set_submodule("avgpool", nn.AdaptiveAvgPool2d(1))
    for name in ("classifier.0", "classifier.3"):
        hidden = nn.Linear(512, 512)
        # torchvision's std of 0.01 suits 25,088 inputs; with 512 the signal would vanish
        nn.init.kaiming_normal_(hidden.weight, nonlinearity="relu")
        nn.init.zeros_(hidden.bias)
        net.set_submodule(name, hidden)
    num_classes = net.get_submodule("classifier.6").out_features
    net.set_submodule("classifier.6", nn.Linear(512, num_classes))  # type: ignore[arg-type]


def _small_alexnet(net: nn.Module) -> None:
    """Make the first convolution 3x3 with stride 1; the classifier reads a 3x3 map at 32 px."""
    _replace_convolution(net, "features.0", 3, (3, 3), (1, 1), (1, 1))
    net.set_submodule("avgpool", nn.AdaptiveAvgPool2d(3))
    net.set_submodule("classifier.1", nn.Linear(256 * 3 * 3, 4096))


def _first_layers(convolution: str, pool: str) -> SmallStem:
    change = partial(_keep_resolution, convolution, pool)
    return SmallStem("first convolution 3x3 with stride 1, no first pool", change)


_RESNET = _first_layers("conv1", "maxpool")
_STRIDE = SmallStem("first convolution with stride 1", _unit_stride)
_SMALL_STEMS: dict[Library, dict[str, SmallStem]] = {
    "torchvision": {
        "alexnet": SmallStem("first convolution 3x3 with stride 1, 3x3 last map", _small_alexnet),
        "densenet": _first_layers("features.conv0", "features.pool0"),
        "efficientnet": _STRIDE,
        "googlenet": _first_layers("conv1.conv", "maxpool1"),
        "mobilenet": _STRIDE,
        "resnet": _RESNET,
        "resnext": _RESNET,
        "vgg": SmallStem("global pooling before a 512-512 classifier", _narrow_vgg),
        "wide_resnet": _RESNET,
    },
    "timm": dict.fromkeys(
        (
            *("efficientnet", "tf_efficientnet", "tf_mobilenetv3"),
            *("mobilenetv1", "mobilenetv2", "mobilenetv3", "mobilenetv4"),
        ),
        _STRIDE,
    ),
}
