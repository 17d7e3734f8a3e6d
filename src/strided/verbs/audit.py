"""The audit verb: whether the audit of a service is whole, and all of it as a file."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from strided.config.keys import Config
from strided.errors import UserError
from strided.runs.ending import say_ending
from strided.runs.results import Results
from strided.system.durable import put
from strided.system.signals import Interruption

if TYPE_CHECKING:
    from sqlalchemy import Engine


def audit(config: Config, folder: Path, results: Results, _: Interruption) -> None:
    """Verify or export an audit, and leave it as it is. Raises UserError for a broken chain."""
    require_sqlalchemy("audit")
    from strided.audit.database import opened_to_read
    from strided.audit.place import place_of

    engine = opened_to_read(place_of(config["database"], "database"))
    try:
        if config["action"] == "verify":
            _verify(engine, config["anchor"], results)
        else:
            _export(engine, folder, config["format"])
    finally:
        engine.dispose()


def require_sqlalchemy(verb: str) -> None:
    """Raise UserError where it is not installed."""
    if find_spec("sqlalchemy") is None:
        raise UserError(
            f"{verb} needs sqlalchemy, which is not installed; expected strided with its extra "
            "serve. Try pip install 'strided[serve]'"
        )


def _verify(engine: "Engine", anchor: str | None, results: Results) -> None:
    from strided.audit.anchor import anchors_of
    from strided.audit.checking import checked
    from strided.audit.database import rows

    found = checked(rows(engine), anchors_of(Path(anchor)) if anchor else None)
    results["audit"] = {"rows": found.rows, "head": found.head, "bad": found.bad}
    if found.bad is not None:
        raise UserError(
            f"row {found.bad} of the audit is the first that is not as it was written: {found.why};"
            f" expected an unbroken chain, as its first {found.rows} rows are. Try a back-up, to "
            "see what it said"
        )
    seen = "and the anchor's rows are there" if anchor else "without an anchor for its end"
    say_ending(f"{found.rows} rows follow each other {seen}; hash {found.head}")


def _export(engine: "Engine", folder: Path, kind: str) -> None:
    from strided.audit.database import rows
    from strided.audit.exported import FORMATS

    file = folder / f"audit.{kind}"
    unfinished = file.with_suffix(f"{file.suffix}.tmp")
    with unfinished.open("w", encoding="utf-8", newline="") as stream:
        stream.writelines(FORMATS[kind](rows(engine)))
    put(unfinished, file)
    say_ending("", audit=file)
