"""RandAugment of batches, against torchvision's of one image after the other."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from strided.data.rand_augment import rand_augment


def noise(num: int, channels: int, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(side)
    shape = (num, channels, side, side)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("num", "channels", "side", "num_ops", "magnitude"),
    [
        (100, 3, 32, 2, 9),
        (100, 1, 28, 2, 9),
        (60, 3, 17, 5, 30),
        (1, 3, 32, 1, 0),
        (12, 3, 224, 2, 9),
    ],
)
def test_pixels_are_those_of_torchvision_image_by_image(
    num: int, channels: int, side: int, num_ops: int, magnitude: int
) -> None:
    images = noise(num, channels, side)
    one_by_one = v2.RandAugment(num_ops, magnitude)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = torch.stack([one_by_one(image) for image in images])
        after = torch.get_rng_state()
        torch.manual_seed(3)
        assert torch.equal(rand_augment(images, num_ops, magnitude), expected)
        assert torch.equal(torch.get_rng_state(), after)
    assert torch.equal(images, noise(num, channels, side))


def test_images_with_the_same_draw_are_changed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    change, sizes = v2.RandAugment._apply_image_or_video_transform, []

    def noted(policy: Any, part: Tensor, *args: Any, **options: Any) -> Tensor:
        sizes.append(len(part))
        return change(policy, part, *args, **options)

    monkeypatch.setattr(v2.RandAugment, "_apply_image_or_video_transform", noted)
    rand_augment(noise(500, 1, 8), 2, 9)
    assert sum(sizes) == 2 * 500
    assert len(sizes) <= 2 * 2 * len(v2.RandAugment._AUGMENTATION_SPACE)  # both directions
