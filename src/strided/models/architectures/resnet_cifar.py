"""Residual networks for small images: He, Zhang, Ren, Sun, "Deep residual learning for image
recognition", CVPR 2016, arXiv:1512.03385, section 4.2."""

from torch import Tensor, nn
from torch.nn import functional as F

from strided.errors import UserError

WIDTHS = (16, 32, 64)  # filters of the three stages


class CifarResNet(nn.Module):
    """Three stages of (depth - 2) / 6 blocks on maps of full, half and quarter size.

    The plain network of the paper's comparison has the same number of parameters: 269,722 for depth
    20, colour images and 10 classes. Raises UserError unless depth is 6n + 2.

    Args:
        depth: Layers with weights, 6n + 2: 20, 32, 44, 56, 110 and 1202 in the paper.
        residual: Whether there are shortcuts around each two layers.
    """

    def __init__(
        self, num_classes: int, in_channels: int, depth: int = 20, residual: bool = True
    ) -> None:
        super().__init__()
        _check_depth(depth)
        self.stem = nn.Sequential(_convolution(in_channels, WIDTHS[0]), nn.BatchNorm2d(WIDTHS[0]))
        self.stages = nn.Sequential()
        previous = WIDTHS[0]
        for width in WIDTHS:
            for _ in range((depth - 2) // 6):
                self.stages.append(Block(previous, width, residual))
                previous = width
        self.output = nn.Linear(previous, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):  # He et al. 2015, arXiv:1502.01852, equation 10
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K)
        maps = self.stages(F.relu(self.stem(images)))  # (B, 64, H/4, W/4)
        logits: Tensor = self.output(maps.mean(dim=(2, 3)))
        return logits


class Block(nn.Module):
    """Two 3x3 convolutions and, if `residual`, a shortcut without parameters around them.

    More filters go with half the resolution. The shortcut then takes every second pixel and has
    zeros in the additional maps: option A of the paper.
    """

    def __init__(self, in_channels: int, out_channels: int, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.new_maps = out_channels - in_channels
        self.stride = 2 if self.new_maps else 1
        self.conv1 = _convolution(in_channels, out_channels, self.stride)
        self.norm1 = nn.BatchNorm2d(out_channels)
        self.conv2 = _convolution(out_channels, out_channels)
        self.norm2 = nn.BatchNorm2d(out_channels)

    def forward(self, maps: Tensor) -> Tensor:
        change: Tensor = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(maps)))))
        return F.relu(change + self._shortcut(maps) if self.residual else change)

    def _shortcut(self, maps: Tensor) -> Tensor:
        every_second = maps[:, :, :: self.stride, :: self.stride]
        return F.pad(every_second, (0, 0, 0, 0, 0, self.new_maps))


def _convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)


def _check_depth(depth: int) -> None:
    if depth >= 8 and depth % 6 == 2:
        return
    below = (depth - 2) // 6 * 6 + 2
    nearest = (below, below + 6) if below >= 8 else (8,)
    raise UserError(
        f"model.depth={depth}; expected 6n + 2, for three stages of n blocks of two layers, the "
        f"nearest: {' and '.join(map(str, nearest))}. Try model.depth={nearest[-1]}"
    )
