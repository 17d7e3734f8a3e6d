"""LeNet-5 as published: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to
document recognition", Proceedings of the IEEE 86(11), 1998, sections II.B and III, appendix A."""

import random
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Table I: the maps of S2 that each map of C3 sees; 60 kernels instead of 96
_C3_INPUTS = (
    *("012", "123", "234", "345", "045", "015"),  # every three neighbours, in a circle
    *("0123", "1234", "2345", "0345", "0145", "0125"),  # every four neighbours
    *("0134", "1245", "0235"),  # four with gaps
    "012345",
)

# The codes of the output units, as in the paper's figure 3: 7x12 pixels, drawn for this file.
_DIGITS = """
.#####. ...#... .#####. .#####. ....##. ####### ..####. ####### .#####. .#####.
##...## ..##... ##...## ##...## ...###. ##..... .##.... .....## ##...## ##...##
##...## .###... .....## .....## ...###. ##..... ##..... .....## ##...## ##...##
##..### ...#... .....## .....## ..#.##. ##..... ##..... ....##. ##...## ##...##
##.#.## ...#... ....##. .....## ..#.##. ##..... ##..... ....##. ##...## ##...##
##.#.## ...#... ....##. ..####. .#..##. ######. ######. ...##.. .#####. .######
##.#.## ...#... ...##.. .....## .#..##. .....## ##...## ...##.. ##...## .....##
##.#.## ...#... ..##... .....## ####### .....## ##...## ..##... ##...## .....##
###..## ...#... ..##... .....## ....##. .....## ##...## ..##... ##...## .....##
##...## ...#... .##.... .....## ....##. .....## ##...## .##.... ##...## .....##
##...## ...#... ##..... ##...## ....##. ##...## ##...## .##.... ##...## ....##.
.#####. .#####. ####### .#####. ....##. .#####. .#####. .##.... .#####. .####..
"""
CODE_LENGTH = 84  # units of F6, pixels of a character


class LeNet5Original(nn.Module):
    """LeNet-5 layer by layer as in the paper; 60,000 trainable parameters for grey images.

    The logits are the negative squared distances of F6 to the fixed code of each class.
    Cross-entropy is then the paper's MAP criterion (equation 9) without the constant e^-j of its
    rubbish class. The first ten classes have the digits as codes, as in the paper. Class k > 9
    has 84 coin flips that depend on k only, since the paper has only the ASCII set.
    """

    image_size: ClassVar[int] = 32  # C5 sees exactly one 5x5 map, so no other size fits

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(in_channels, 6, kernel_size=5)
        self.s2 = Subsampling(6)
        self.c3 = PartialConvolution(_C3_INPUTS, kernel_size=5)
        self.s4 = Subsampling(16)
        self.c5 = nn.Conv2d(16, 120, kernel_size=5)
        self.f6 = nn.Linear(120, CODE_LENGTH)
        codes = torch.tensor([code(number) for number in range(num_classes)])
        self.register_buffer("codes", codes, persistent=False)  # never trained: not weights
        self.codes: Tensor
        for layer in (self.c1, self.c5, self.f6):
            for parameter in layer.parameters():
                _initialise(parameter, layer.weight[0].numel())

    def forward(self, images: Tensor) -> Tensor:  # (B, C, 32, 32) -> (B, K)
        maps = squash(self.s2(squash(self.c1(images))))  # (B, 6, 14, 14)
        maps = squash(self.s4(squash(self.c3(maps))))  # (B, 16, 5, 5)
        features = squash(self.f6(squash(self.c5(maps)).flatten(1)))  # (B, 84)
        return -(features.unsqueeze(1) - self.codes).square().sum(2)


class Subsampling(nn.Module):
    """Sum of each 2x2 square times a coefficient plus a bias; each map has one trained pair."""

    def __init__(self, num_maps: int) -> None:
        super().__init__()
        self.coefficient = nn.Parameter(torch.empty(num_maps))
        self.bias = nn.Parameter(torch.empty(num_maps))
        for parameter in self.parameters():
            _initialise(parameter, fan_in=4)

    def forward(self, maps: Tensor) -> Tensor:  # (B, C, H, W) -> (B, C, H/2, W/2)
        sums = 4 * F.avg_pool2d(maps, 2)
        return sums * self.coefficient.view(-1, 1, 1) + self.bias.view(-1, 1, 1)


class PartialConvolution(nn.Module):
    """A convolution in which each output map sees its selection of the input maps.

    `inputs[k]` has a digit for each input map that output map k sees. Only kernels that exist are
    parameters.
    """

    def __init__(self, inputs: tuple[str, ...], kernel_size: int) -> None:
        super().__init__()
        pairs = [(out, int(seen)) for out, maps in enumerate(inputs) for seen in maps]
        # (output map, input map) of each kernel, kept where the weights are
        self.register_buffer("pairs", torch.tensor(pairs).T, persistent=False)
        self.pairs: Tensor
        self.num_maps = len(inputs), 1 + max(seen for _, seen in pairs)
        self.weight = nn.Parameter(torch.empty(len(pairs), kernel_size, kernel_size))
        self.bias = nn.Parameter(torch.empty(len(inputs)))
        for kernel, (out, _) in zip(self.weight, pairs, strict=True):
            _initialise(kernel, len(inputs[out]) * kernel_size**2)
        for bias, maps in zip(self.bias, inputs, strict=True):
            _initialise(bias, len(maps) * kernel_size**2)

    def forward(self, maps: Tensor) -> Tensor:
        weight = self.weight.new_zeros(*self.num_maps, *self.weight.shape[1:])
        weight[self.pairs.unbind()] = self.weight
        return F.conv2d(maps, weight, self.bias)


def squash(sums: Tensor) -> Tensor:
    """A tanh(S a), A = 1.7159, S = 2/3 (appendix A): maps +-1 to itself."""
    return 1.7159 * torch.tanh(sums * (2 / 3))


def code(number: int) -> list[float]:
    """Return the 84 values +-1 that F6 should take for class `number`."""
    if number < 10:
        rows = [line.split()[number] for line in _DIGITS.strip().splitlines()]
        return [1.0 if pixel == "#" else -1.0 for pixel in "".join(rows)]
    flips = random.Random(number)
    return [flips.choice((-1.0, 1.0)) for _ in range(CODE_LENGTH)]


@torch.no_grad()
def _initialise(parameter: Tensor, fan_in: int) -> None:
    """Uniform within +-2.4 / fan-in (appendix A)."""
    parameter.uniform_(-2.4 / fan_in, 2.4 / fan_in)
