"""The weights that training begins with: random, loaded, or partly fitted to training images."""

import logging
from collections.abc import Iterator

from torch import Tensor, nn

from strided.config.keys import Config
from strided.data import ImageDataModule
from strided.models import initialise
from strided.models.initial_filters import (
    begin_with_identity,
    begin_with_whitening,
    fix_first_filters,
)
from strided.training.transfer.transfer import Transfer

log = logging.getLogger(__name__)

_WHITENED_IMAGES = 5000  # as in the code of Jordan 2024, arXiv:2404.00498
# Of as many pixels at most as these images of CIFAR-10 have: 5000 images of 224 pixels took eight
# minutes for filters of 7x7, and would take two hours for patches of 16x16.
_WHITENED_PIXELS = _WHITENED_IMAGES * 32**2


def begin_weights(net: nn.Module, config: Config, data: ImageDataModule, *, fresh: bool) -> None:
    """Give a network as built the weights that the config asks for; `fresh`: no checkpoint will.

    Loaded weights take the place of made ones. Raises UserError.
    """
    model = config["model"]
    loads = not Transfer.of(config).from_scratch and (
        model.get("weights") or model.get("pretrained")
    )
    if fresh and loads:
        size = data.preprocessing.image_size
        for note in initialise(net, model, len(data.classes), size):
            log.info("%s", note)
    if fresh and not loads and model.get("dirac"):
        begin_with_identity(net)
    if fresh and not loads and model.get("whitening"):
        log.info("%s", begin_with_whitening(net, some_training_images(data)))
    if model.get("whitening"):
        fix_first_filters(net)


def some_training_images(data: ImageDataModule) -> Iterator[Tensor]:
    """Normalised batches (B, C, S, S) of training images, spread over all; each time the same."""
    most = max(1, _WHITENED_PIXELS // data.preprocessing.image_size**2)
    for batch in data.loader("train", data.spread("train", min(_WHITENED_IMAGES, most))):
        yield data.preprocessing.normalise(batch.images)
