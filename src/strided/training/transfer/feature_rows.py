"""Rows of numbers in a folder of the cache, one an image, that runs share and add to."""

import logging
import math
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from strided.system.built_once import alone_at, cannot_write

log = logging.getLogger(__name__)

_NUMBERS, _SUMS = "features.bin", "crc32.bin"
_ABSENT = 0  # in place of a checksum
_WHAT = "features"

# Yields (indices, rows) for the indices it is given, in any parts.
Compute = Callable[[np.ndarray], Iterator[tuple[np.ndarray, np.ndarray]]]


class FeatureRows:
    """float32 (count, *shape) in `folder`, mapped: each row is absent, or there with its checksum.

    The file has holes where rows are absent, so that they take no room. A row's checksum is
    written after the row. It is compared when the row is first asked for: a flipped bit would show
    in training only, as a loss that is not a number or, worse, not at all. Raises UserError for a
    cache that cannot be used.
    """

    def __init__(self, folder: Path, count: int, shape: tuple[int, ...]) -> None:
        self.folder, self.count, self.shape = folder, count, shape
        self._row_bytes = 4 * math.prod(shape)
        if not self._is_whole():
            with alone_at(folder, _WHAT):
                self._create()
        self.array = np.memmap(folder / _NUMBERS, "<f4", "r", shape=(count, *shape))
        self._sums = np.memmap(folder / _SUMS, "<u4", "r", shape=(count,))
        self._checked = np.zeros(count, dtype=bool)

    def absent(self, indices: np.ndarray) -> np.ndarray:
        """Those of these rows that nobody has computed; damage is not looked for."""
        found: np.ndarray = indices[self._sums[indices] == _ABSENT]
        return found

    def require(self, indices: np.ndarray, compute: Compute) -> int:
        """Have these rows: absent and damaged ones are computed. Returns how many.

        Another process that adds rows is waited for, since they may be the same. Raises UserError
        for a disk that is full, for one.
        """
        if not len(self._missing(indices)):
            return 0
        with alone_at(self.folder, _WHAT):
            missing = self._missing(indices)
            if damaged := len(missing) - len(self.absent(missing)):
                log.warning("%d %s in %s are damaged: made again", damaged, _WHAT, self.folder)
            try:
                for places, rows in compute(missing):
                    self._write(places, rows)
                if left := len(self._missing(missing)):
                    raise OSError(f"{left} of {len(missing)} cannot be read back")
            except OSError as error:
                raise cannot_write(self.folder.parent, _WHAT, str(error)) from error
        return len(missing)

    def checked(self) -> np.ndarray:
        """Indices of the rows that were required, and so are there."""
        return np.flatnonzero(self._checked)

    def _missing(self, indices: np.ndarray) -> np.ndarray:
        """Those of these rows that are absent or damaged."""
        unknown = indices[~self._checked[indices]]
        there = unknown[self._sums[unknown] != _ABSENT]
        whole = [_checksum(self.array[index]) == self._sums[index] for index in there]
        self._checked[there[np.array(whole, dtype=bool)]] = True
        missing: np.ndarray = unknown[~self._checked[unknown]]
        return missing

    def _write(self, indices: np.ndarray, rows: np.ndarray) -> None:
        """Write rows, then their checksums; through a file, as a map of a full disk would crash."""
        rows = np.ascontiguousarray(rows, dtype="<f4")
        sums = np.array([_checksum(row) for row in rows], dtype="<u4")
        for name, values in ((_NUMBERS, rows), (_SUMS, sums)):
            with (self.folder / name).open("r+b") as stream:
                for index, value in zip(indices.tolist(), values, strict=True):
                    stream.seek(index * value.nbytes)
                    stream.write(value.tobytes())

    def _sizes(self) -> dict[str, int]:
        return {_NUMBERS: self.count * self._row_bytes, _SUMS: 4 * self.count}

    def _is_whole(self) -> bool:
        try:
            return all((self.folder / n).stat().st_size == s for n, s in self._sizes().items())
        except OSError:
            return False

    def _create(self) -> None:
        """Make files without rows, unless another process has; other files may be mapped still."""
        if self._is_whole():
            return
        try:
            self.folder.mkdir(exist_ok=True)
            self.folder.chmod(self.folder.parent.stat().st_mode & 0o777)  # as widely shared
            for name in reversed(self._sizes()):  # without numbers, old checksums would mislead
                (self.folder / name).unlink(missing_ok=True)
            for name, size in self._sizes().items():
                with (self.folder / name).open("wb") as stream:
                    os.truncate(stream.fileno(), size)
        except OSError as error:
            raise cannot_write(self.folder.parent, _WHAT, str(error)) from error


def _checksum(row: np.ndarray) -> int:
    """CRC-32 of a row; 1 instead of the value that means absent."""
    return zlib.crc32(np.ascontiguousarray(row).data) or 1
