"""Which version answers, and how another one takes its place."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from strided.errors import UserError, printable
from strided.service.loaded import Deliver, Loaded
from strided.service.problems import ProblemError
from strided.service.settings import Settings
from strided.service.threads import in_thread
from strided.serving.files import MANIFEST
from strided.serving.registry import activate, active_version, versions

log = logging.getLogger(__name__)


class Models:
    """The version that answers, loaded from the registry; the next is loaded beside it.

    The methods are for the loop's thread. Loading happens in another one.
    """

    def __init__(self, settings: Settings, deliver: Deliver) -> None:
        self._settings = settings
        self._deliver = deliver
        self._before: list[int] = []  # versions that have answered since the start
        self._is_changing = False
        self.active: Loaded | None = None
        place = settings.bundle.absolute()
        self._first = place if (place / MANIFEST).exists() else None
        is_version = self._first is not None and place.name.isdecimal()
        self._folder = place.parent if is_version else place  # of the name

    async def start(self) -> None:
        """Load the version to begin with. Raises UserError."""
        place = self._first
        if place is None:
            place = await in_thread(_active, self._folder)
        self.active = await self._load(place)

    async def _load(self, place: Path) -> Loaded:
        return await in_thread(Loaded, place, self._settings, self._deliver)

    async def available(self) -> list[int]:
        """The versions of the registry."""
        return await in_thread(versions, self._folder)

    async def activate(self, version: int) -> Loaded:
        """Let a version answer from now on, here and after a new start. Raises ProblemError."""
        with self._alone() as before:
            if version not in await self.available():
                raise ProblemError("unknown_version", f"There is no version {version}.")
            loaded = await self._switch(before, version)
        if loaded is not before:
            self._before.append(before.facts.version)
        return loaded

    async def rollback(self) -> Loaded:
        """Let the version before this one answer again. Raises ProblemError."""
        with self._alone() as before:
            if not self._before:
                raise ProblemError(
                    "no_earlier_version",
                    "No other version has answered since the start; activate one by its number.",
                )
            loaded = await self._switch(before, self._before[-1])
        self._before.pop()
        return loaded

    @contextmanager
    def _alone(self) -> Iterator[Loaded]:
        """One change at a time; yields the active version. Raises ProblemError."""
        if self.active is None:
            raise ProblemError("starting")
        if self._is_changing:
            raise ProblemError("activation_running")
        self._is_changing = True
        try:
            yield self.active
        finally:
            self._is_changing = False

    async def _switch(self, before: Loaded, version: int) -> Loaded:
        """Load a version beside the other one; only when it is ready does it answer."""
        loaded = before
        try:
            if version != before.facts.version:
                loaded = await self._load(self._folder / str(version))
            await in_thread(activate, self._folder, version)
        except Exception as error:
            if loaded is not before:
                loaded.retire()
            fault = None if isinstance(error, UserError) else error
            log.error("version %d was not activated: %s", version, error, exc_info=fault)
            raise ProblemError(
                "not_activated",
                f"Version {version} could not be loaded, or not be made the active one; version "
                f"{before.facts.version} goes on answering. The log has the reason.",
            ) from error
        if loaded is not before:
            self.active = loaded
            before.retire()
        return loaded


def _active(folder: Path) -> Path:
    """The active version of a name. Raises UserError, also for a version that is not there."""
    if folder.name.isdecimal() and (known := versions(folder.parent)):
        raise UserError(
            f"{printable(str(folder.parent))} has no version {folder.name}; expected one of "
            f"{', '.join(map(str, known[-10:]))}. Try bundle={printable(str(folder.parent))}"
        )
    return folder / str(active_version(folder))
