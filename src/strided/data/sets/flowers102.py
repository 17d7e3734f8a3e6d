"""Oxford 102 Flowers: 8,189 photographs (Nilsback and Zisserman 2008)."""

import numpy as np

from strided.data.reading.files import listed_files
from strided.data.sets.named import NamedDataModule
from strided.data.source import Source, digest
from strided.errors import UserError

_SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}  # names within setid.mat


class Flowers102(NamedDataModule):
    """The official files under `<root>/flowers-102` with their split, else class folders."""

    name = "flowers102"
    default_channels = 3
    default_image_size = 224
    wanted_files = (
        "flowers-102/setid.mat, flowers-102/imagelabels.mat and the images of 102flowers.tgz as"
        " flowers-102/jpg/image_00001.jpg and so on"
    )

    def make_source(self) -> Source:
        """Take the class names from torchvision: none of the official files has them."""
        from torchvision import datasets

        self.class_names = tuple(datasets.Flowers102.classes)
        return super().make_source()

    def official_source(self) -> Source | None:
        """Let torchvision check the two tables' md5, then read them."""
        folder = self.root / "flowers-102"
        if not folder.is_dir():
            return None
        from scipy.io import loadmat  # scikit-learn brings scipy
        from torchvision import datasets

        try:
            datasets.Flowers102(self.root)
        except RuntimeError as error:
            raise UserError(
                f"{folder} is damaged or not complete; expected {self.wanted_files}. Try copying"
                " them once more, or delete the folder to have it downloaded"
            ) from error
        label_of = loadmat(folder / "imagelabels.mat", squeeze_me=True)["labels"]
        tables = loadmat(folder / "setid.mat", squeeze_me=True)
        parts = {split: tables[name] for split, name in _SPLITS.items()}
        numbers = np.concatenate(list(parts.values())).astype(int)
        names = [f"image_{number:05d}.jpg" for number in numbers]
        files = listed_files(folder / "jpg", names)
        if missing := [name for name in names if name not in files.stamps]:
            raise UserError(
                f"{folder / 'jpg'} lacks {len(missing)} of {len(names)} images, such as"
                f" {missing[0]}; expected all of them. Try unpacking 102flowers.tgz once more"
            )
        return Source(
            classes=list(self.class_names),
            paths=names,
            labels=label_of[numbers - 1].astype(np.int64) - 1,
            split=np.repeat(list(parts), [len(part) for part in parts.values()]),
            read=files.reader(names),
            listing=digest("flowers102", [(name, files.stamps[name]) for name in names]),
            sizes=[files.stamps[name][0] for name in names],
        )

    def download(self) -> None:
        """Let torchvision download, verify and unpack the three files."""
        from torchvision import datasets

        datasets.Flowers102(self.root, download=True)
