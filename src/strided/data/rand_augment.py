"""RandAugment (Cubuk et al. 2020, arXiv:1909.13719) of whole batches, by torchvision's code."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from strided.system.devices import sent

if TYPE_CHECKING:
    from torchvision.transforms import v2

Change = tuple[str, float]  # its name in torchvision, and its strength


def rand_augment(images: Tensor, num_ops: int, magnitude: int) -> Tensor:
    """Change each of uint8 (B, C, S, S) by its own draw, as torchvision's RandAugment of each does.

    Images with the same draw are changed together, which gives the same pixels: a GPU starts a few
    hundred kernels a batch, not a few ten thousand. Draws come from torch's global CPU generator.
    """
    from torchvision.transforms import v2

    policy = v2.RandAugment(num_ops, magnitude)
    drawn = _draw(policy, len(images), images.shape[-1])
    with _without_waiting(images.device):
        for changes in zip(*drawn, strict=True):
            images = _change(policy, images, changes)
    return images


def _draw(policy: "v2.RandAugment", num: int, side: int) -> list[list[Change]]:
    """Draw `num_ops` changes for each image, in torchvision's order; it draws between changes."""
    table = []
    for name, (strengths, signed) in policy._AUGMENTATION_SPACE.items():
        values = strengths(policy.num_magnitude_bins, side, side)
        known = values is not None
        table.append((name, float(values[policy.magnitude]) if known else 0.0, known and signed))

    def one() -> Change:
        name, strength, signed = table[int(torch.randint(len(table), ()))]
        return name, -strength if signed and torch.rand(()) <= 0.5 else strength

    return [[one() for _ in range(policy.num_ops)] for _ in range(num)]


def _change(policy: "v2.RandAugment", images: Tensor, changes: tuple[Change, ...]) -> Tensor:
    """Apply a change to each image: bring equal ones together, change them, and put them back."""
    order = sorted(range(len(changes)), key=changes.__getitem__)
    groups = [(change, len(list(own))) for change, own in groupby(changes[at] for at in order)]
    there = torch.tensor(order)
    there, back = sent(torch.stack([there, there.argsort()]), images.device)
    parts = images.index_select(0, there).split([size for _, size in groups])
    changed = [
        policy._apply_image_or_video_transform(
            part, name, strength, interpolation=policy.interpolation, fill=policy._fill
        )
        for part, ((name, strength), _) in zip(parts, groups, strict=True)
    ]
    return torch.cat(changed).index_select(0, back)


@contextmanager
def _without_waiting(device: torch.device) -> Iterator[None]:
    """Keep torchvision from making the program wait for a GPU inside the block.

    It makes the matrix of each turn by torch.tensor(..., device=...), and sharpens groups of any
    size by a convolution, for each of which cuDNN would look for the fastest algorithm.
    """
    if device.type != "cuda":
        yield
        return
    search = torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = False
    try:
        with _SentConstants():
            yield
    finally:
        torch.backends.cudnn.benchmark = search


class _SentConstants(TorchFunctionMode):
    """Inside, what torch.tensor makes is on its device later: see `sent`."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        given = dict(kwargs or {})
        if func is not torch.tensor:
            return func(*args, **given)
        device = given.pop("device", None) or "cpu"
        return sent(func(*args, **given), torch.device(device))
