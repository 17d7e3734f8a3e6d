"""Images beside the data set (data.external): are some of them nearly tested ones?"""

import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from strided.data import ImageDataModule
from strided.data.reading.decoding import ImageError, as_image
from strided.evaluation.predict_files import find_images
from strided.shortcuts.near_copies import details, near_copies
from strided.shortcuts.pictures import detail

log = logging.getLogger(__name__)

KEY = "data.external"
_AT_ONCE = 2048


def external_files(data: ImageDataModule) -> list[Path]:
    """The image files that data.external names. Raises UserError if there is none."""
    return [] if data.external is None else find_images(data.external, KEY).files


def near_external(
    tested: np.ndarray, data: ImageDataModule, files: list[Path]
) -> Iterator[tuple[int, Path, float]]:
    """Yield (i, file, correlation) of tested[i], as `details` gives them, and its near copies."""
    for first in range(0, len(files), _AT_ONCE):
        pictures, read = [], []
        for file in files[first : first + _AT_ONCE]:
            try:
                pictures.append(detail(data.preprocessing.pixels(as_image(file))))
                read.append(file)
            except ImageError as error:
                log.warning("%s: %s", file, error)
        if read:
            for i, j, likeness in near_copies(tested, details(np.stack(pictures))):
                yield i, read[j], likeness
