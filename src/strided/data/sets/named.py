"""Sets known by name: official files, else class folders of that name, else a download."""

import logging
from abc import abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from strided.data.datamodule import ImageDataModule
from strided.data.reading.folder import folder_source
from strided.data.source import Source, digest
from strided.errors import UserError, one_line, sought_from

log = logging.getLogger(__name__)


class NamedDataModule(ImageDataModule):
    """Reads official files, `<name>.zip` or `<name>/` under data.root; else downloads into it.

    Args:
        download: Download the data set if it is not in data.root.
    """

    class_names: tuple[str, ...]
    pixels: ClassVar[int | None] = None  # side of the images, if all have the same
    wanted_files: ClassVar[str]  # what to put where without a network

    def __init__(self, *, download: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.may_download = download

    @abstractmethod
    def official_source(self) -> Source | None:
        """The official files under data.root; None if they are not there."""

    @abstractmethod
    def download(self) -> None:
        """Download the official files into data.root; may raise OSError or RuntimeError."""

    def make_source(self) -> Source:
        """Try official files, then class folders, then a download."""
        if source := self.official_source():
            return source
        for name in (f"{self.name}.zip", self.name):
            if (self.root / name).exists():
                return self.class_folders(self.root / name)
        return self._downloaded()

    def class_folders(self, place: Path) -> Source:
        """Read a folder or zip with this set's classes, numbered as in its official files."""
        source = folder_source(place, skip=self.on_error == "skip")
        if set(source.classes) != set(self.class_names):
            raise UserError(
                f"{place} has the classes {', '.join(map(one_line, source.classes[:12]))}; expected"
                f" the classes of {self.name}: {', '.join(self.class_names[:12])}"
                f"{', ...' if len(self.class_names) > 12 else ''}."
                f" Try data=image_folder data.root={place}"
            )
        numbers = np.array([self.class_names.index(name) for name in source.classes])
        return replace(
            source,
            classes=list(self.class_names),
            labels=numbers[source.labels],
            listing=digest(self.name, source.listing),  # by which stores are found
            native_size=self.pixels,
        )

    def _downloaded(self) -> Source:
        if not self.may_download:
            raise UserError(
                f"{self.name} is not in data.root={self.root}{sought_from(self.root)}, and is "
                "downloaded only into a folder that is typed, or by default; expected "
                f"{self.wanted_files}. Try "
                "data.root=<a folder> on the command line of a new run"
            )
        log.info("%s is not in %s: downloading it", self.name, self.root)
        try:
            self.download()
            source = self.official_source()
        except (OSError, RuntimeError) as error:
            raise self._not_found(str(error)) from error
        if source is None:
            raise self._not_found("the downloaded files are not complete")
        return source

    def _not_found(self, reason: str) -> UserError:
        return UserError(
            f"{self.name} is not in data.root={self.root}{sought_from(self.root)} and could not be"
            f" downloaded ({reason}); expected {self.wanted_files}, or {self.name}.zip or"
            f" {self.name}/ with a folder per class. Try data.root=<the folder that holds them>"
        )
