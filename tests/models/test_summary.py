"""The table of a network's layers."""

import pytest
import torch
from torch import nn

from strided.config.compose import compose
from strided.models.building import build_model
from strided.models.summary import MOST_ROWS, summary


def table(size: int, *words: str, whole: bool = False) -> list[list[str]]:
    """The cells of the table of a network for 10 classes of RGB images."""
    config = compose("train", words)["model"]
    with torch.device("meta"):
        net = build_model(config, num_classes=10, in_channels=3, image_size=size).eval()
        lines = summary(net, torch.zeros(1, 3, size, size), whole=whole)
    return [line.split() for line in lines[1:]]


def test_it_has_the_shape_and_the_parameters_of_each_layer() -> None:
    rows = table(32, "model=lenet5")
    assert rows[0] == ["c1", "Conv2d", "6x28x28", "456"]
    assert ["s2", "AvgPool2d", "6x14x14", "0"] in rows
    assert rows[-1] == ["output", "Linear", "10", "850"]


def test_what_changes_nothing_is_left_out_unless_the_whole_is_asked_for() -> None:
    short, whole = (table(32, "model=resnet18", whole=whole) for whole in (False, True))
    assert ["layer1.0", "BasicBlock"] in [row[:2] for row in short]
    assert not any(row[1] == "ReLU" or row[0].count(".") > 1 for row in short)
    assert {"layer1.0.conv1", "relu"} <= {row[0] for row in whole}


@pytest.mark.parametrize("model", ["googlenet", "vgg16", "resnet152"])
def test_a_network_of_many_parts_is_shown_in_fewer_lines(model: str) -> None:
    assert 5 < len(table(64, f"model={model}")) <= MOST_ROWS


def test_a_part_that_is_not_used_has_no_shape() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(2, 3), nn.Linear(2, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            output: torch.Tensor = self.used(images)
            return output

    _, used, idle = summary(Idle(), torch.zeros(1, 2))
    assert used.split() == ["used", "Linear", "3", "9"] and idle.split() == ["idle", "Linear", "9"]
