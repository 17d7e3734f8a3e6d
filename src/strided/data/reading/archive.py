"""Archives from the web: downloaded whole or not at all, and unpacked safely."""

import gzip
import hashlib
import logging
import tarfile
import tempfile
import urllib.request
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte


@dataclass(frozen=True)
class Archive:
    """A file with a known address and size in bytes, and its sha256 if known."""

    url: str
    size: int
    sha256: str | None = None

    def fetch(self, file: Path) -> None:
        """Download and check, then move the whole to `file`; raises OSError if that fails."""
        log.info("%s: %.0f MB", self.url, self.size / 1e6)
        with _beside(file) as unfinished:
            content = hashlib.sha256()
            received = 0
            with (
                urllib.request.urlopen(self.url, timeout=_TIMEOUT) as response,
                unfinished.open("wb") as target,
            ):
                while received <= self.size and (chunk := response.read(_CHUNK)):
                    received += len(chunk)
                    content.update(chunk)
                    target.write(chunk)
            if received != self.size:
                more = "more than " if received > self.size else f"{received:,} of "
                raise OSError(f"{self.url} gave {more}{self.size:,} bytes")
            if self.sha256 not in (None, content.hexdigest()):
                raise OSError(f"{self.url} is not the known file: its sha256 differs")
            unfinished.replace(file)


class _Bounded:
    """A stream of at most so many bytes, for tarfile; raises OSError for more."""

    def __init__(self, stream: gzip.GzipFile, most_bytes: int) -> None:
        self._stream, self._left = stream, most_bytes + most_bytes // 8 + _CHUNK  # with headers

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes."""
        self._left -= size
        if self._left < 0:
            raise OSError("it unpacks to more than is known of it")
        return self._stream.read(size)


def unpack(archive: Path, folder: Path, most_bytes: int) -> None:
    """Unpack a .tgz into `folder`, whole; its one top folder has the same name.

    Raises OSError for a damaged archive, for paths or links that lead outside of it, and for
    more than `most_bytes` of contents.
    """
    with _beside(folder) as unfinished:
        try:
            with (
                gzip.open(archive) as stream,
                # a header may be of gigabytes too, and tarfile reads it whole
                tarfile.open(  # type: ignore[call-overload]  # which reads and does no more
                    fileobj=_Bounded(stream, most_bytes), mode="r|"
                ) as members,
            ):
                unpacked = 0
                for member in members:
                    unpacked += member.size
                    if unpacked > most_bytes:
                        raise OSError(f"{archive} unpacks to more than {most_bytes:,} bytes")
                    members.extract(member, unfinished, filter="data")
        except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
            raise OSError(f"{archive} cannot be unpacked: {error}") from error
        if not (unfinished / folder.name).is_dir():
            raise OSError(f"{archive} does not hold {folder.name}/")
        try:
            (unfinished / folder.name).rename(folder)
        except OSError:  # another process was faster with the same archive
            if not folder.is_dir():
                raise


@contextmanager
def _beside(place: Path) -> Iterator[Path]:
    """A name beside `place` for unfinished content; nothing is left there in the end."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{place.name}.", dir=place.parent) as folder:
        yield Path(folder) / place.name
