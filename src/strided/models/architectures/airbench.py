"""The networks that hold the CIFAR-10 speed record: Jordan, "94% on CIFAR-10 in 3.29 Seconds on a
Single GPU", 2024, arXiv:2404.00498"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from strided.errors import UserError


class Airbench(nn.Module):
    """A 2x2 convolution and three groups of 3x3 convolutions, the first of each before a pool.

    There are no weights but the filters, the last layer's, and biases after normalisation:
    1,971,640 parameters for colour images, 10 classes and the paper's widths. The first convolution
    has as many filters as `model.whitening` finds for colour. Logits are a ninth of what the last
    layer gives. The paper's larger networks are `widths` 128, 384, 384 for 95 %, and 128, 512, 512
    with `depth` 3 and `residual` for 96 %.

    Args:
        widths: Filters of the three groups.
        depth: Convolutions of each group.
        residual: Whether there is a shortcut around all convolutions of a group but its first.
        norm_momentum: The new batch's part in the running statistics, above 0 to 1; the paper: 0.4.
        logit_scale: What the logits are multiplied by.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        widths: Sequence[int] = (64, 256, 256),
        depth: int = 2,
        residual: bool = False,
        norm_momentum: float = 0.4,
        logit_scale: float = 1 / 9,
    ) -> None:
        super().__init__()
        _check(widths, depth, norm_momentum)
        self.logit_scale = logit_scale
        previous = 2 * 4 * in_channels  # each component of a 2x2 patch, and its negative
        self.stem = nn.Conv2d(in_channels, previous, 2)
        nn.init.zeros_(self.stem.bias)  # type: ignore[arg-type]  # it has one
        self.groups = nn.Sequential()
        for width in widths:
            self.groups.append(Group(previous, width, depth, residual, norm_momentum))
            previous = width
        self.output = nn.Linear(previous, num_classes, bias=False)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K)
        maps = self.groups(F.gelu(self.stem(images)))  # (B, width, (H - 1) / 8, (W - 1) / 8)
        logits: Tensor = self.output(maps.amax(dim=(2, 3)))
        return logits * self.logit_scale


class Group(nn.Module):
    """`depth` convolutions, each normalised before GELU; the first one's maps are halved."""

    def __init__(
        self, in_channels: int, out_channels: int, depth: int, residual: bool, momentum: float
    ) -> None:
        super().__init__()
        self.residual = residual
        self.first = _convolution(in_channels, out_channels)
        self.pool = nn.MaxPool2d(2)
        self.norm = BiasedNorm(out_channels, momentum)
        self.rest = nn.Sequential()
        for number in range(1, depth):
            self.rest.append(_convolution(out_channels, out_channels))
            self.rest.append(BiasedNorm(out_channels, momentum))
            if number < depth - 1:
                self.rest.append(nn.GELU())

    def forward(self, maps: Tensor) -> Tensor:  # (B, C, H, W) -> (B, D, H / 2, W / 2)
        maps = F.gelu(self.norm(self.pool(self.first(maps))))
        if not len(self.rest):
            return maps
        change: Tensor = self.rest(maps)
        return F.gelu(change + maps if self.residual else change)


class BiasedNorm(nn.BatchNorm2d):
    """Batch normalisation that learns a bias, and has the weight 1, as a buffer."""

    def __init__(self, num_features: int, momentum: float) -> None:
        super().__init__(num_features, eps=1e-12, momentum=momentum)
        weight = self.weight.detach()
        del self.weight
        self.register_buffer("weight", weight)


def _convolution(in_channels: int, out_channels: int) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)


def _check(widths: Sequence[int], depth: int, momentum: float) -> None:
    if len(widths) != 3 or min(widths) < 1:
        raise UserError(
            f"model.widths={list(widths)}; expected three numbers from 1 on, the filters of each "
            'group. Try "model.widths=[64,256,256]"'
        )
    if depth < 1:
        raise UserError(f"model.depth={depth}; expected 1 or more. Try model.depth=2")
    if not 0 < momentum <= 1:
        raise UserError(
            f"model.norm_momentum={momentum}; expected 0 < norm_momentum <= 1. "
            "Try model.norm_momentum=0.4"
        )
