"""Pixels that lie on the device of the training, where the batches are gathered."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from strided.data.pixels.pipeline import ArrayPixels, Pixels, Read
from strided.errors import UserError
from strided.system.devices import free_bytes, sent

log = logging.getLogger(__name__)

_SHARE = 4  # auto takes at most a quarter of the free memory: training needs the rest
_SENT_AT_ONCE = 64_000_000  # bytes


class ResidentPixels:
    """The Pixels of a tensor (N, C, S, S), or of features, on its device.

    A step sends nothing to the device, since the order of the whole epoch is sent at its start.
    """

    def __init__(self, images: Tensor) -> None:
        self.images = images
        self.device = images.device

    def read(self, batches: Sequence[np.ndarray], *, pin_memory: bool = False) -> Iterator[Read]:
        """See Pixels; there is nothing to pin."""
        if not batches:
            return
        order = sent(torch.from_numpy(np.concatenate(batches)), self.device)
        for indices in order.split([len(batch) for batch in batches]):
            yield self.images.index_select(0, indices), slice(None)

    def release(self) -> None:
        """Free the memory, although loaders that are done may still hold this object."""
        self.images = self.images.new_empty(0)


@contextmanager
def resident(
    pixels: Mapping[str, Pixels], asked: Literal["auto"] | bool, device: torch.device
) -> Iterator[dict[str, Pixels]]:
    """Yield, by split, pixels on the device that give the same batches; none if they stay.

    With auto they stay unless they take at most a quarter of a GPU's free memory. Pixels that
    splits share are sent once, and all are freed at the end of the block. Raises UserError if
    `asked` is true and they do not fit, or are decoded in every epoch.
    """
    arrays = {id(own): own for own in pixels.values() if isinstance(own, ArrayPixels)}
    if not _to_be_sent(list(arrays.values()), asked, device):
        yield {}
        return
    copies = {key: ResidentPixels(_copied(own, device)) for key, own in arrays.items()}
    try:
        yield {split: copies[id(own)] for split, own in pixels.items()}
    finally:
        for copy in copies.values():
            copy.release()


def _to_be_sent(
    arrays: Sequence[ArrayPixels], asked: Literal["auto"] | bool, device: torch.device
) -> bool:
    if asked is False or (asked == "auto" and not arrays):
        return False
    if not arrays:
        raise UserError(
            "data.resident=true with data.pipeline=streaming, which decodes images in every epoch; "
            "expected images that are decoded once. Try data.pipeline=store, or data.resident=auto"
        )
    needed, free = sum(own.images.nbytes for own in arrays), free_bytes(device)
    if asked == "auto":
        fits = free is not None and needed * _SHARE <= free
    elif free is not None and needed > free:
        raise UserError(
            f"data.resident=true, but the images take {needed / 1e9:.2f} GB, and {device} has "
            f"{free / 1e9:.2f} GB free; expected images that fit, with room for the training. "
            "Try data.resident=auto, which leaves them in the computer's memory, or a smaller "
            "data.image_size"
        )
    else:
        fits = True
    if fits:
        log.info("images on %s: %.1f MB, from which it takes its batches", device, needed / 1e6)
    return fits


def _copied(pixels: ArrayPixels, device: torch.device) -> Tensor:
    """The pixels that are there on the device, sent in parts: each is checked as when it is read.

    The others are left as they are: nobody asks for them.
    """
    array = pixels.images
    dtype = torch.from_numpy(np.empty(0, array.dtype)).dtype
    images = torch.empty(array.shape, dtype=dtype, device=device)
    step = max(1, _SENT_AT_ONCE // max(1, array[:1].nbytes))
    there = pixels.there()
    parts = [there[at : at + step] for at in range(0, len(there), step)]
    for indices, (part, _) in zip(parts, pixels.read(parts), strict=True):
        images[torch.from_numpy(indices).to(device)] = part.to(device)
    return images
