"""How a verb ends: what came out, where it lies, and a command to go on with."""

import logging
import shlex
from collections.abc import Sequence
from pathlib import Path

from strided.config.overrides import key_of
from strided.config.own_code import own_code
from strided.config.targets import trusted
from strided.config.yaml_files import CONF_DIR, IS_CHECKOUT
from strided.runs.results import Results
from strided.system.verbosity import ENDING, ONCE

log = logging.getLogger(__name__)


def say_ending(headline: str, *, then: Sequence[str] = (), **places: Path) -> None:
    """Log the headline, a line for each of `places` (`report=<path>`), and a command.

    `then` is the verb of the command, then its words.
    """
    if headline:
        log.log(ENDING, "%s", headline)
    for name, path in places.items():
        log.log(ENDING, "%s: %s", name, from_here(path))
    if then:
        log.log(ONCE, "next: %s", typed_here(*then))


def typed_here(verb: str, *words: str) -> str:
    """Return a command as it is typed in this directory, with what is trusted and lies where."""
    launcher = from_here(CONF_DIR.parent / "src" / f"{verb}.py")
    program = ["python", str(launcher)] if IS_CHECKOUT else ["strided", verb]
    trust = [f"trust=[{','.join(trusted())}]"] if trusted() else []
    folders = [word for own in own_code() for word in ("--config-dir", str(from_here(own.folder)))]
    return shlex.join([*program, *folders[-2:], *trust, *words])


def repeated(verb: str, results: Results) -> str:
    """Return the command of a run as it is typed here."""
    return typed_here(verb, *(word for word in results["command"] if key_of(word) != "trust"))


def from_here(path: Path) -> Path:
    """Return the path from this directory if it lies in it, else as it is."""
    try:
        return path.relative_to(Path.cwd())
    except (ValueError, OSError):  # OSError: the directory was deleted
        return path


def words_of(results: Results, *keys: str) -> list[str]:
    """Return the typed words of these keys, those of their arguments (`model.name=`) included."""
    return [word for word in results.get("command", ()) if key_of(word).partition(".")[0] in keys]
