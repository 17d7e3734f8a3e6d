"""The keys verb: make a key where the database is, such as when the last admin's is lost."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING

from strided.config.keys import Config
from strided.errors import UserError
from strided.runs.ending import say_ending
from strided.runs.results import Results
from strided.system.signals import Interruption
from strided.verbs.audit import require_sqlalchemy

if TYPE_CHECKING:
    from strided.access.roles import Role
    from strided.audit.place import Place


def make_key(config: Config, _: Path, __: Results, ___: Interruption) -> None:
    """Make a key, show it once, and write in the audit who did so. Raises UserError.

    It gives no new power: who can write the database could write a key into it.
    """
    require_sqlalchemy("keys")
    from strided.audit.place import place_of

    text, ident = _made(place_of(config["database"], "database"), config["role"])
    print(f"{config['role']}: {text}", flush=True)  # on the terminal only: no log may hold a key
    say_ending(f"key {ident} is in the audit; a running service knows it within five seconds")


def _made(place: "Place", role: "Role") -> tuple[str, str]:
    from strided.access.keys import Keys
    from strided.access.roles import Caller
    from strided.audit.database import opened, opened_to_read
    from strided.audit.writer import Audit, AuditError

    reader = opened_to_read(place)  # a mistyped file is none, and is not made
    audit = Audit(opened(place))
    try:
        text, key = asyncio.run(Keys(audit, reader).make(role, Caller(_user(), "machine")))
    except AuditError as error:
        raise UserError(
            "the audit cannot be written, so that there is no key; expected a database that takes "
            "rows. Try traceback=true, which shows what it says"
        ) from error
    finally:
        audit.close()
        reader.dispose()
    return text, key.id


def _user() -> str:
    """Who asks, as the system knows it: names come from variables that anybody sets."""
    return f"uid:{os.getuid()}" if hasattr(os, "getuid") else "uid:unknown"
