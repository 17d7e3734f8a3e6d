"""Data sets, and the one path from a picture to the network's input."""

from strided.data.augment import BatchAugment
from strided.data.checks import BrokenImagesError
from strided.data.cifar10 import CIFAR10
from strided.data.cifar100 import CIFAR100
from strided.data.datamodule import ImageDataModule
from strided.data.decoding import IMAGE_SUFFIXES, ImageError, as_image, decode
from strided.data.digits import Digits
from strided.data.flowers102 import Flowers102
from strided.data.image_folder import ImageFolder
from strided.data.image_table import ImageTable
from strided.data.loader import Batch, BatchLoader
from strided.data.mnist import MNIST, FashionMNIST
from strided.data.photos import CatsDogs, Flowers
from strided.data.preprocessing import Preprocessing
from strided.data.source import Source, array_source, digest
from strided.data.synthetic import Synthetic

__all__ = [
    "CIFAR10",
    "CIFAR100",
    "IMAGE_SUFFIXES",
    "MNIST",
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
    "array_source",
    "as_image",
    "decode",
    "digest",
]
