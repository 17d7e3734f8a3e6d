"""CIFAR-10: 50,000 + 10,000 colour photographs of 32 x 32 (Krizhevsky 2009)."""

from typing import Any, ClassVar

import numpy as np

from strided.data.sets.named import NamedDataModule
from strided.data.source import Source, array_source, digest
from strided.errors import UserError


class CIFAR10(NamedDataModule):
    """The official Python batches under `<root>/cifar-10-batches-py`, else class folders."""

    name = "cifar10"
    folder: ClassVar[str] = "cifar-10-batches-py"
    archive: ClassVar[str] = "cifar-10-python.tar.gz"
    class_names: tuple[str, ...] = (
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    )
    pixels = 32
    default_channels = 3
    # Over all pixels of the 50,000 training images; not the mean of each image's std (0.20).
    published_mean = (0.4914, 0.4822, 0.4465)
    published_std = (0.2470, 0.2435, 0.2616)
    wanted_files = f"{folder}/ (or {archive}, with the network)"

    def torchvision_class(self) -> Any:
        """torchvision's class that reads, checks and downloads the official files."""
        from torchvision import datasets

        return datasets.CIFAR10

    def official_source(self) -> Source | None:
        """Read torchvision's copy, which checks each file's md5 before unpickling it."""
        if not (self.root / self.folder).is_dir():
            return None
        try:
            parts = [self.torchvision_class()(self.root, train=train) for train in (True, False)]
        except RuntimeError as error:
            raise UserError(
                f"{self.root / self.folder} is damaged or not complete; expected the files of"
                f" {self.archive}. Try unpacking it once more, or delete the folder to have"
                " it downloaded"
            ) from error
        return array_source(
            np.concatenate([part.data for part in parts]),
            np.concatenate([part.targets for part in parts]),
            np.repeat(["train", "test"], [len(part.data) for part in parts]),
            self.class_names,
            digest(self.name, "official"),  # there is one version, whose md5 sums were checked
        )

    def download(self) -> None:
        """Let torchvision download, verify and unpack the archive."""
        self.torchvision_class()(self.root, download=True)
