"""The files of a bundle, and whether they are as they were written."""

import hashlib
from pathlib import Path
from typing import Any

from strided.errors import UserError, printable
from strided.system.plain_data import is_there

MANIFEST, MODEL, REFERENCE = "manifest.json", "model.onnx", "reference.npz"
GATE, CARD = "gate.npz", "card.md"  # of a checkpoint with a gate, of a run with a card
FILES = (MODEL, REFERENCE, GATE, CARD)  # all that a manifest may name
MOST_BYTES = 2**31 - 1  # of a file: that of one protobuf message


def facts_of(content: bytes) -> dict[str, Any]:
    """What a manifest says of a file's content."""
    return {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}


def checked(file: Path, facts: dict[str, Any]) -> bytes:
    """The content of a file. Raises UserError, which names it, unless it is as `facts` say.

    OSError if it may not be read.
    """
    expected = facts["bytes"]
    if not is_there(file):
        raise refused(file, "it is missing")
    if expected > MOST_BYTES:
        raise refused(file, f"it has more than {MOST_BYTES:,} bytes")
    if (size := file.stat().st_size) != expected:
        raise refused(file, f"it has {size:,} bytes and not {expected:,}")
    with file.open("rb") as stream:
        content = stream.read(expected)
    if facts_of(content) != facts:
        raise refused(file, "its content is another one (sha256)")
    return content


def refused(file: Path, why: str) -> UserError:
    """The error for a file that is not as it was written."""
    return UserError(
        f"{printable(str(file))} is damaged or was changed: {printable(why)}; expected the file "
        "that export wrote. Try another copy of the bundle, or export again"
    )
