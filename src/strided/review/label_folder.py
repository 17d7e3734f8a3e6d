"""The folder of labelled pictures that training takes: images/<id>.png, and labels.csv of them."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from strided.errors import UserError
from strided.review.cases import Labelled
from strided.review.framing import framed
from strided.runs.csv_files import escaped
from strided.system.durable import put, sync_folder
from strided.system.machine import alone_in

TABLE, IMAGES = "labels.csv", "images"
_HEADER = ("path", "label", "group")


class LabelFolder:
    """Adds pictures to a folder, each once. Several services may share one.

    A row is whole or not there, and has its picture: whatever a kill or a full disk has left
    behind is cut off by the next one.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder. Raises UserError."""
        self._folder = folder
        self._table = folder / TABLE
        self._known: set[str] = set()  # paths
        self._size = 0  # bytes of the table that were read
        try:
            (folder / IMAGES).mkdir(mode=0o700, parents=True, exist_ok=True)
            self.add_all(())
        except OSError as error:
            raise UserError(
                f"review.export={folder} cannot be written ({error.strerror}); expected a folder "
                "for pictures and their labels. Try another one"
            ) from error

    def add_all(self, cases: Iterable[Labelled]) -> None:
        """Add labelled pictures; they are on the disk when this returns.

        Raises OSError; those that were added before stay.
        """
        with alone_in(self._folder / ".lock", wait=True):
            self._read()
            for case in cases:
                path = f"{IMAGES}/{case.id}.png"
                if path not in self._known:
                    self._put(path, framed(case.png, case.frame))
                    self._append((path, case.label, case.group))
                    self._known.add(path)

    def _read(self) -> None:
        """Know what others have added, and cut off a row without its end."""
        with open(os.open(self._table, os.O_RDWR | os.O_CREAT, 0o600), "rb+", 0) as stream:
            if stream.seek(0, os.SEEK_END) < self._size:  # somebody has taken the table away
                self._size, self._known = 0, set()
            stream.seek(self._size)
            new = stream.read()
            whole = new.rfind(b"\n") + 1
            if whole < len(new):
                stream.truncate(self._size + whole)
            text = new[:whole].decode("utf-8", "surrogateescape")
            self._known |= {row[0] for row in csv.reader(io.StringIO(text, newline="")) if row}
            self._size += whole
        if not self._size:
            self._append(_HEADER)
            sync_folder(self._folder)

    def _put(self, path: str, png: bytes) -> None:
        unfinished, file = self._folder / f"{path}.tmp", self._folder / path
        unfinished.write_bytes(png)
        put(unfinished, file)
        sync_folder(file.parent)

    def _append(self, cells: tuple[str, str, str]) -> None:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerow(map(escaped, cells))
        line = text.getvalue().encode("utf-8", "surrogateescape")
        with open(os.open(self._table, os.O_WRONLY | os.O_APPEND), "ab", 0) as stream:
            if stream.write(line) != len(line):
                raise OSError("the disk is full")
            os.fsync(stream.fileno())
        self._size += len(line)
