"""Filters that training begins with: the identity in each layer, whitened patches in the first."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from strided.errors import UserError
from strided.models.stems import first_convolution

_LEAST_VARIANCE = 5e-4  # added to each variance; Jordan 2024, in its code
_PIXELS = 2**16  # of images whose patches are made at once: 7x7x3 numbers each take 150 MB
_FIXED = "has_fixed_filters"  # attribute of a convolution


@torch.no_grad()
def begin_with_identity(net: nn.Module) -> None:
    """Let the first filters of each convolution copy one of its input maps each, as they are.

    Other filters keep their random start. A layer of C input maps then hands these on in its first
    C maps, like a shortcut without one (Zagoruyko & Komodakis 2017, arXiv:1706.00388; of a part of
    the filters Jordan 2024, arXiv:2404.00498). Grouped convolutions are left out. Raises UserError
    if there are no others.
    """
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d) and m.groups == 1]
    if not layers:
        raise UserError(
            f"model.dirac=true, but {type(net).__name__} has no convolution of all maps; expected "
            "one. Try model.dirac=false"
        )
    for layer in layers:
        nn.init.dirac_(layer.weight[: layer.in_channels])


@torch.no_grad()
def begin_with_whitening(net: nn.Module, images: Iterable[Tensor]) -> str:
    """Fit the first convolution to the patches of normalised images (B, C, S, S); return a line.

    Its filters become the components of the patches, of the largest variance first, each divided
    by its deviation and followed by as many negatives (Page 2019, "How to train your ResNet", part
    8; Jordan 2024, arXiv:2404.00498). Of fewer filters, these are the first; of more, the others
    keep their random start. Raises UserError for a grouped convolution, or without one.
    """
    name, layer = _first(net)
    components = whitened(images, layer)
    half = min(layer.out_channels // 2, len(components))
    for place, filters in enumerate((components[:half], -components[:half])):
        layer.weight[place * half : (place + 1) * half] = filters
    of = math.prod(layer.weight.shape[1:])
    return f"{name}: {2 * half} of {layer.out_channels} filters whiten patches of {of} numbers"


def whitened(images: Iterable[Tensor], layer: nn.Conv2d) -> Tensor:
    """Return the components of the images' patches over their deviations: (P, C, h, w).

    P is C * h * w. The patches are not centred: images have zero mean in each channel.
    """
    size = math.prod(layer.weight.shape[1:])
    total, count = torch.zeros(size, size, dtype=torch.float64), 0
    for batch in images:
        for part in batch.split(max(1, _PIXELS // math.prod(batch.shape[2:]))):
            patches = F.unfold(part.float(), layer.kernel_size, layer.dilation)
            flat = patches.transpose(1, 2).reshape(-1, size).double()
            total += flat.T @ flat
            count += len(flat)
    variances, vectors = torch.linalg.eigh(total / count)
    scaled = vectors / (variances.clamp_min(0) + _LEAST_VARIANCE).sqrt()
    return scaled.flip(1).T.reshape(size, *layer.weight.shape[1:]).to(layer.weight.dtype)


def fix_first_filters(net: nn.Module) -> None:
    """Keep the first convolution's filters as they are, in every stage; its bias may learn."""
    layer = _first(net)[1]
    layer.weight.requires_grad_(False)
    setattr(layer, _FIXED, True)  # a stage that trains all layers asks for gradients of all others


def fixed_filters(net: nn.Module) -> set[int]:
    """The `id` of each parameter that `fix_first_filters` keeps."""
    return {id(m.weight) for m in net.modules() if isinstance(m, nn.Conv2d) and hasattr(m, _FIXED)}


def _first(net: nn.Module) -> tuple[str, nn.Conv2d]:
    """The convolution that sees the image. Raises UserError without one of whole patches."""
    if any(isinstance(module, nn.Conv2d) for module in net.modules()):
        name, layer = first_convolution(net)
        if layer.groups == 1:
            return name, layer
    raise UserError(
        f"model.whitening=true, but {type(net).__name__} has no first convolution that sees whole "
        "patches; expected one. Try model.whitening=false"
    )
