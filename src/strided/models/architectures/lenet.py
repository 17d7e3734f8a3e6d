"""LeNet-5: LeCun, Bottou, Bengio, Haffner, "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86(11), 1998, section II.B."""

from typing import ClassVar, Literal

from torch import Tensor, nn

_ACTIVATIONS = {"tanh": nn.Tanh, "relu": nn.ReLU}
_POOLINGS = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}


class LeNet5(nn.Module):
    """LeNet-5 with today's layers: every C3 map sees all of S2, pooling has no weights and the
    output is linear. Layers are named as in the paper; 61,706 parameters for 10 grey classes.

    Args:
        activation: The function after each layer but the last: tanh, as in the paper, or relu.
        pooling: How each 2x2 square becomes one value: average, as in the paper, or max.
    """

    image_size: ClassVar[int] = 32  # C5 sees exactly one 5x5 map, so no other size fits

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        activation: Literal["tanh", "relu"] = "tanh",
        pooling: Literal["average", "max"] = "average",
    ) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(in_channels, 6, kernel_size=5)
        self.s2 = _POOLINGS[pooling](2)
        self.c3 = nn.Conv2d(6, 16, kernel_size=5)
        self.s4 = _POOLINGS[pooling](2)
        self.c5 = nn.Conv2d(16, 120, kernel_size=5)
        self.f6 = nn.Linear(120, 84)
        self.output = nn.Linear(84, num_classes)
        self.activation = _ACTIVATIONS[activation]()

    def forward(self, images: Tensor) -> Tensor:  # (B, C, 32, 32) -> (B, K)
        maps = self.s2(self.activation(self.c1(images)))  # (B, 6, 14, 14)
        maps = self.s4(self.activation(self.c3(maps)))  # (B, 16, 5, 5)
        features = self.activation(self.c5(maps)).flatten(1)  # (B, 120)
        logits: Tensor = self.output(self.activation(self.f6(features)))
        return logits
