"""The user's own images: a folder or a zip with one sub-folder per class."""

from strided.data.datamodule import ImageDataModule
from strided.data.reading.folder import folder_source
from strided.data.source import Source


class ImageFolder(ImageDataModule):
    """`root/cat/1.jpg`, or `root/train/cat/1.jpg` with val/ and test/; root may be a .zip."""

    default_image_size = 224

    def make_source(self) -> Source:
        """List the folder or zip that data.root names."""
        return folder_source(self.root)
