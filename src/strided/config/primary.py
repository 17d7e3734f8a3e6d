"""Hydra's primary config, with which composing begins: conf/<verb>.yaml, or another one as typed.

`--config-name` takes another YAML of the folders in its place, `--config-path` another folder in
place of conf/. What they name is read as the YAML of `--config-dir` is: as a stranger's.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

# What conf/<verb>.yaml says to Hydra; a config of the user's need not repeat it.
_SETTINGS = (
    "hydra/hydra_logging=none",
    "hydra/job_logging=none",
    "hydra.output_subdir=null",
    "hydra.job.chdir=false",
)


@dataclass(frozen=True)
class Primary:
    """What was typed: a name (`--config-name`), a folder (`--config-path`), or None for neither."""

    name: str | None = None
    folder: Path | None = None

    @property
    def is_typed(self) -> bool:
        """Whether composing begins elsewhere than in conf/<verb>.yaml."""
        return self != Primary()

    def words(self) -> list[str]:
        """Return the flags that stand for this on a command line."""
        path = ["--config-path", str(self.folder)] if self.folder else []
        return [*path, *(["--config-name", self.name] if self.name else [])]

    def settings(self, overrides: Iterable[str]) -> list[str]:
        """Return the overrides that Hydra needs beside `overrides`."""
        typed = {word.partition("=")[0].lstrip("+~") for word in overrides}
        wanted = _SETTINGS if self.is_typed else ()
        return [word for word in wanted if word.partition("=")[0] not in typed]


_primary: ContextVar[Primary] = ContextVar("primary", default=Primary())  # noqa: B039, is frozen


@contextmanager
def beginning_with(typed: Primary) -> Iterator[None]:
    """Compose from another primary config inside the block."""
    token = _primary.set(typed)
    try:
        yield
    finally:
        _primary.reset(token)


def primary() -> Primary:
    """Return the primary config that was typed, if any."""
    return _primary.get()
