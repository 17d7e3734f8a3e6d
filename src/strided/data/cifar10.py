"""CIFAR-10: 50,000 + 10,000 colour photographs of 32 x 32 (Krizhevsky 2009)."""

import numpy as np

from strided.data.named import NamedDataModule
from strided.data.source import Source, array_source, digest
from strided.errors import UserError

_FOLDER = "cifar-10-batches-py"


class CIFAR10(NamedDataModule):
    """The official Python batches under `<root>/cifar-10-batches-py`, else class folders."""

    name = "cifar10"
    class_names = (
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
    wanted_files = f"{_FOLDER}/ (or cifar-10-python.tar.gz, with the network)"

    def official_source(self) -> Source | None:
        """Read torchvision's copy, which checks each file's md5 before it is unpickled."""
        if not (self.root / _FOLDER).is_dir():
            return None
        from torchvision import datasets

        try:
            parts = [datasets.CIFAR10(self.root, train=train) for train in (True, False)]
        except RuntimeError as error:
            raise UserError(
                f"{self.root / _FOLDER} is damaged or not complete; expected the files of"
                " cifar-10-python.tar.gz. Try unpacking it once more, or delete the folder to have"
                " it downloaded"
            ) from error
        return array_source(
            np.concatenate([part.data for part in parts]),
            np.concatenate([part.targets for part in parts]),
            np.repeat(["train", "test"], [len(part.data) for part in parts]),
            self.class_names,
            digest("cifar10", "official"),  # the md5 sums of the one version there is were checked
        )

    def download(self) -> None:
        """Let torchvision fetch the archive, verify and unpack it."""
        from torchvision import datasets

        datasets.CIFAR10(self.root, download=True)
