"""Verification in a process of its own, so that a service answers meanwhile.

To follow a million rows takes a minute, in which the service's own threads would wait for each
other. This process has the lowest priority.
"""

import asyncio
import json
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from sqlalchemy.engine import make_url

from strided.audit.anchor import anchors_of
from strided.audit.checking import Finding, checked
from strided.audit.database import opened_to_read, rows
from strided.audit.place import Place
from strided.errors import UserError

_UNUSABLE = "the anchor cannot be used: it is damaged, or of more than one database"
_COMMAND = (sys.executable, "-P", "-m", "strided.audit.apart")


async def checked_apart(place: Place, anchor: Path | None) -> tuple[Finding, bool]:
    """What `checking.checked` finds, and whether the anchor could be read; if not, `why` says so.

    Raises OSError if the process fails; it ends with the task that waits for it.
    """
    url = place.url.render_as_string()  # without a password, which the environment has
    asked = {"url": url, "tls": place.tls, "anchor": str(anchor) if anchor else None}
    paths = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
    process = await asyncio.create_subprocess_exec(
        *_COMMAND,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
        start_new_session=True,  # a terminal's Ctrl-C is for the service alone
    )
    try:
        said, _ = await process.communicate(json.dumps(asked).encode())
    finally:
        if process.returncode is None:
            process.kill()
    if process.returncode:
        raise OSError("the process that verifies the audit has failed")
    found = json.loads(said)
    return Finding(**found["finding"]), found["anchored"]


def main() -> None:
    """Read what to verify, and write what was found."""
    os.nice(19)
    asked = json.load(sys.stdin)
    try:
        anchors = anchors_of(Path(asked["anchor"])) if asked["anchor"] else None
    except UserError:
        anchors = None
    engine = opened_to_read(Place(make_url(asked["url"]), asked["tls"]))
    found = checked(rows(engine), anchors)
    engine.dispose()
    if asked["anchor"] and anchors is None and found.bad is None:
        found = replace(found, why=_UNUSABLE)
    json.dump({"finding": asdict(found), "anchored": anchors is not None}, sys.stdout)


if __name__ == "__main__":
    main()
