"""Small sets of colour photographs of any size: five flowers, cats and dogs."""

from typing import ClassVar

from strided.data.reading.archive import Archive, unpack
from strided.data.sets.named import NamedDataModule
from strided.data.source import Source
from strided.errors import UserError

_UNPACKED = 500_000_000  # bytes; the flowers are 230 million


class Flowers(NamedDataModule):
    """TensorFlow's flower photos: `flower_photos/` or `flower_photos.tgz`; no official split."""

    name = "flowers"
    class_names = ("daisy", "dandelion", "roses", "sunflowers", "tulips")
    default_channels = 3
    default_image_size = 224
    wanted_files = "flower_photos.tgz (or flower_photos/, unpacked)"
    # size and sha256 as recorded by TensorFlow Datasets (url_checksums/tf_flowers.txt)
    archive: ClassVar[Archive] = Archive(
        "https://storage.googleapis.com/download.tensorflow.org/example_images/flower_photos.tgz",
        size=228_813_984,
        sha256="4c54ace7911aaffe13a365c34f650e71dd5bf1be0a58b464e5a7183e3e595d9c",
    )

    def official_source(self) -> Source | None:
        """Read the folder; unpack the archive first if the folder does not exist."""
        folder = self.root / "flower_photos"
        packed = self.root / "flower_photos.tgz"
        if not folder.is_dir():
            if not packed.is_file():
                return None
            try:
                unpack(packed, folder, most_bytes=_UNPACKED)
            except OSError as error:
                raise UserError(
                    f"{error}; expected TensorFlow's flower photos, in a folder that can be"
                    " written to. Try copying it once more, or delete it to have it downloaded"
                ) from error
        return self.class_folders(folder)

    def download(self) -> None:
        """Download the archive."""
        self.archive.fetch(self.root / "flower_photos.tgz")


class CatsDogs(NamedDataModule):
    """Google's `cats_and_dogs_filtered`, a part of Kaggle's dogs-vs-cats: train and val, no test.

    The user's own cats_dogs.zip or cats_dogs/ may have a test split.
    """

    name = "cats_dogs"
    class_names = ("cats", "dogs")
    default_channels = 3
    default_image_size = 224
    wanted_files = "cats_and_dogs_filtered.zip (or cats_and_dogs_filtered/, unpacked)"
    archive: ClassVar[Archive] = Archive(
        "https://storage.googleapis.com/mledu-datasets/cats_and_dogs_filtered.zip", size=68_606_236
    )

    def official_source(self) -> Source | None:
        """Read the zip as it is, or the folder."""
        for name in ("cats_and_dogs_filtered.zip", "cats_and_dogs_filtered"):
            if (self.root / name).exists():
                return self.class_folders(self.root / name)
        return None

    def download(self) -> None:
        """Download the archive; it is read without unpacking."""
        self.archive.fetch(self.root / "cats_and_dogs_filtered.zip")
