import numpy as np
import pytest
import torch
from torch import nn

from strided.errors import UserError
from strided.models import build_model
from strided.models.initial_filters import (
    begin_with_identity,
    begin_with_whitening,
    fix_first_filters,
    whitened,
)
from strided.training.transfer.parts import freeze, parts


def test_whitened_patches_of_pairs_are_sums_and_differences_over_their_deviations() -> None:
    layer = nn.Conv2d(1, 4, (1, 2))
    pairs = torch.tensor([[3.0, 3.0], [-3.0, -3.0], [1.0, -1.0], [-1.0, 1.0]])
    found = whitened([pairs.view(4, 1, 1, 2)], layer).view(2, 2)
    # a mean square of 9 along (1, 1) / sqrt(2), and of 1 along (1, -1) / sqrt(2)
    expected = torch.tensor([[1.0, 1.0], [1.0, -1.0]]) / np.sqrt(2)
    expected /= (torch.tensor([[9.0], [1.0]]) + 5e-4).sqrt()
    torch.testing.assert_close(found.abs(), expected.abs())
    assert found[0].prod() > 0 > found[1].prod()


def test_maps_of_whitening_filters_have_unit_variance_and_do_not_correlate() -> None:
    images = torch.randn(500, 3, 8, 8, generator=torch.Generator().manual_seed(0)).cumsum(-1) / 3
    net = nn.Sequential(nn.Conv2d(3, 24, 2, bias=False))
    line = begin_with_whitening(net, images.split(100))
    assert line == "0: 24 of 24 filters whiten patches of 12 numbers"
    maps = net(images).detach().transpose(0, 1).flatten(1)
    torch.testing.assert_close(maps[12:], -maps[:12])
    squares = maps[:12] @ maps[:12].T / maps.shape[1]
    torch.testing.assert_close(squares, torch.eye(12), atol=0.02, rtol=0)


def test_patches_of_large_images_are_made_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(5, 1, 200, 200, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    layer, sizes, unfold = nn.Conv2d(1, 8, 3), [], torch.nn.functional.unfold
    expected = whitened(images.split(1), layer)

    def noted(part: torch.Tensor, *words: tuple[int, int]) -> torch.Tensor:
        sizes.append(len(part))
        return unfold(part, *words)

    monkeypatch.setattr(torch.nn.functional, "unfold", noted)
    torch.testing.assert_close(whitened([images], layer), expected)
    assert sizes == [1] * 5


def test_few_filters_are_the_largest_components_and_many_keep_random_ones() -> None:
    images = torch.randn(50, 1, 8, 8, generator=torch.Generator().manual_seed(0)).cumsum(-1)
    few, many = nn.Conv2d(1, 5, 2), nn.Conv2d(1, 10, 2)
    before = many.weight.clone()
    begin_with_whitening(nn.Sequential(few), [images])
    begin_with_whitening(nn.Sequential(many), [images])
    torch.testing.assert_close(few.weight[:4], torch.cat([many.weight[:2], many.weight[4:6]]))
    assert torch.equal(many.weight[8:], before[8:]) and not torch.equal(many.weight, before)


def test_the_first_filters_hand_on_the_maps() -> None:
    first, second = nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.Conv2d(5, 3, 1, bias=False)
    random = first.weight[2:].clone()
    begin_with_identity(nn.Sequential(first, second))
    maps = torch.rand(1, 2, 6, 6)
    assert torch.equal(first(maps)[:, :2], maps) and torch.equal(first.weight[2:], random)
    assert torch.equal(second.weight[:, :, 0, 0], torch.eye(3, 5))


def test_fixed_filters_stay_fixed_in_every_stage_and_their_bias_learns() -> None:
    node = {"_target_": "strided.models.Airbench", "widths": [4, 8, 8]}
    net = build_model(node, num_classes=2, in_channels=1, image_size=16)
    fix_first_filters(net)
    freeze(net, parts(net, "all"))
    fixed = [name for name, p in net.named_parameters() if not p.requires_grad]
    assert fixed == ["stem.weight"]


def test_a_network_that_sees_no_patches_is_refused() -> None:
    for net in (nn.Linear(4, 2), nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))):
        with pytest.raises(UserError, match=r"model\.whitening=true.*expected.*Try model"):
            begin_with_whitening(net, [torch.zeros(1, 4, 8, 8)])


def test_identity_without_a_convolution_of_all_maps_is_refused() -> None:
    for net in (nn.Linear(4, 2), nn.Conv2d(4, 4, 3, groups=4)):
        with pytest.raises(UserError, match=r"model\.dirac=true.*expected.*Try model"):
            begin_with_identity(net)
