"""Multilayer perceptron: the fully connected network to compare convolutional ones with."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from strided.errors import UserError


class MLP(nn.Module):
    """Flattened pixels through fully connected ReLU layers.

    Args:
        hidden: Widths of the hidden layers.
        dropout: Part of the units of each hidden layer that are left out while training, 0 to 1.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: int,
        image_size: int,
        hidden: Sequence[int] = (512, 256),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if min(hidden, default=1) < 1:
            raise UserError(
                f"model.hidden={list(hidden)}; expected widths of 1 or more. "
                "Try model.hidden=[512,256]"
            )
        widths = [in_channels * image_size**2, *hidden]
        layers: list[nn.Module] = [nn.Flatten()]
        for num_inputs, num_outputs in pairwise(widths):
            layers += [nn.Linear(num_inputs, num_outputs), nn.ReLU(), nn.Dropout(dropout)]
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(widths[-1], num_classes)

    def forward(self, images: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K)
        logits: Tensor = self.output(self.hidden(images))
        return logits
