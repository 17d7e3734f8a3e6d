"""Data sets, and the one path from a picture to the network's input.

A name's module is imported when the name is first used: a service decodes pictures by the same
modules, without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from strided.data.augment import BatchAugment
    from strided.data.datamodule import NO_FILES, ImageDataModule
    from strided.data.loader import Batch, BatchLoader
    from strided.data.pixels.checks import BrokenImagesError
    from strided.data.preprocessing import Preprocessing
    from strided.data.reading.decoding import ImageError, as_image, decode
    from strided.data.reading.signatures import IMAGE_SUFFIXES
    from strided.data.sets.cifar10 import CIFAR10
    from strided.data.sets.cifar100 import CIFAR100
    from strided.data.sets.digits import Digits
    from strided.data.sets.flowers102 import Flowers102
    from strided.data.sets.image_folder import ImageFolder
    from strided.data.sets.image_table import ImageTable
    from strided.data.sets.mnist import MNIST, FashionMNIST
    from strided.data.sets.photos import CatsDogs, Flowers
    from strided.data.sets.synthetic import Synthetic
    from strided.data.sets.xray import XRay
    from strided.data.source import Source, array_source, digest

# What a config may name, by the kind of its place.
TARGETS = {
    "data": (
        "CIFAR10",
        "CIFAR100",
        "MNIST",
        "CatsDogs",
        "Digits",
        "FashionMNIST",
        "Flowers",
        "Flowers102",
        "ImageFolder",
        "ImageTable",
        "Synthetic",
        "XRay",
    ),
    "augment": ("BatchAugment",),
}

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "IMAGE_SUFFIXES",
    "MNIST",
    "NO_FILES",
    "Batch",
    "BatchAugment",
    "BatchLoader",
    "BrokenImagesError",
    "CatsDogs",
    "Digits",
    "FashionMNIST",
    "Flowers",
    "Flowers102",
    "ImageDataModule",
    "ImageError",
    "ImageFolder",
    "ImageTable",
    "Preprocessing",
    "Source",
    "Synthetic",
    "XRay",
    "array_source",
    "as_image",
    "decode",
    "digest",
]

# The names of each module.
_NAMES = {
    "augment": "BatchAugment",
    "datamodule": "NO_FILES ImageDataModule",
    "loader": "Batch BatchLoader",
    "pixels.checks": "BrokenImagesError",
    "preprocessing": "Preprocessing",
    "reading.decoding": "ImageError as_image decode",
    "reading.signatures": "IMAGE_SUFFIXES",
    "sets.cifar10": "CIFAR10",
    "sets.cifar100": "CIFAR100",
    "sets.digits": "Digits",
    "sets.flowers102": "Flowers102",
    "sets.image_folder": "ImageFolder",
    "sets.image_table": "ImageTable",
    "sets.mnist": "MNIST FashionMNIST",
    "sets.photos": "CatsDogs Flowers",
    "sets.synthetic": "Synthetic",
    "sets.xray": "XRay",
    "source": "Source array_source digest",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
