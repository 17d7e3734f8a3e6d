"""The user's own images: a folder or a zip with one sub-folder per class."""

from typing import Any

from strided.data.datamodule import ImageDataModule
from strided.data.reading.folder import folder_source
from strided.data.reading.labels import Labels
from strided.data.reading.layout import ClassLevel
from strided.data.source import Source


class ImageFolder(ImageDataModule):
    """`root/cat/1.jpg`, or `root/train/cat/1.jpg` with val/ and test/; root may be a .zip.

    Args:
        class_level: The class folders are the first (1), or those inside the first (2), where the
            names of the folders leave it open.
        labels: Of folders whose names differ only in case, blanks, Unicode form or zeros, make one
            class or keep two.
    """

    default_image_size = 224

    def __init__(
        self,
        *,
        class_level: ClassLevel | None = None,
        labels: Labels | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.class_level = class_level
        self.labels_of_folders = labels

    def make_source(self) -> Source:
        """List the folder or zip that data.root names."""
        return folder_source(
            self.root,
            class_level=self.class_level,
            labels=self.labels_of_folders,
            skip=self.on_error == "skip",
            known=self.known_classes,
        )
