"""Residual networks of He et al. 2015, section 4.2: sizes and parameters of the paper."""

import pytest
import torch

from strided.errors import UserError
from strided.models.architectures.resnet_cifar import Block, CifarResNet


@pytest.mark.parametrize(
    ("depth", "count"),
    [
        (20, 269_722),  # table 6: 0.27 million
        (32, 464_154),  # 0.46
        (44, 658_586),  # 0.66
        (56, 853_018),  # 0.85
        (110, 1_727_962),  # 1.7
        (1202, 19_421_274),  # 19.4
    ],
)
def test_parameters_are_those_of_table_6(depth: int, count: int) -> None:
    with torch.device("meta"):
        net = CifarResNet(10, 3, depth)
    assert sum(p.numel() for p in net.parameters()) == count


def test_the_plain_network_has_the_same_parameters() -> None:
    plain, residual = (CifarResNet(10, 3, 20, residual) for residual in (False, True))
    assert plain.state_dict().keys() == residual.state_dict().keys()


def test_stages_halve_the_maps_and_double_the_filters() -> None:
    net = CifarResNet(10, 3, depth=20)
    shapes = []
    for block in net.stages:
        block.register_forward_hook(lambda m, i, o: shapes.append(tuple(o.shape[1:])))
    net.eval()(torch.zeros(1, 3, 32, 32))
    assert shapes == [(16, 32, 32)] * 3 + [(32, 16, 16)] * 3 + [(64, 8, 8)] * 3


@pytest.mark.parametrize("size", [8, 15, 96])
def test_any_size_of_image_is_taken(size: int) -> None:
    assert CifarResNet(4, 1, depth=8).eval()(torch.zeros(2, 1, size, size)).shape == (2, 4)


def test_a_shortcut_takes_every_second_pixel_and_zeros_for_new_maps() -> None:
    block = Block(2, 4, residual=True).eval()
    torch.nn.init.zeros_(block.conv2.weight)  # nothing but the shortcut is left
    maps = torch.rand(1, 2, 6, 6)
    out = block(maps)
    torch.testing.assert_close(out[:, :2], maps[:, :, ::2, ::2])
    assert not out[:, 2:].any()
    plain = Block(2, 4, residual=False).eval()
    torch.nn.init.zeros_(plain.conv2.weight)
    assert not plain(maps).any()


@pytest.mark.parametrize(
    ("depth", "nearest"), [(18, "14 and 20"), (21, "20 and 26"), (2, "8"), (-4, "8")]
)
def test_depths_that_are_not_6n_plus_2_name_the_nearest(depth: int, nearest: str) -> None:
    with pytest.raises(UserError, match=rf"model\.depth={depth}.*nearest: {nearest}\. Try"):
        CifarResNet(2, 1, depth)
