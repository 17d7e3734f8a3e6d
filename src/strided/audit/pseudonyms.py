"""Names for studies and files that only the holder of a key can make (HMAC-SHA256)."""

import hmac
import os
import secrets
from pathlib import Path

from strided.errors import UserError
from strided.system.durable import sync_folder

FILE = "hmac.key"  # in the state folder, never in the database
_BYTES = 32


class Pseudonyms:
    """Gives one name to one content. Without the key nobody can try names or files out."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def kept_in(cls, folder: Path) -> "Pseudonyms":
        """Take the key of a state folder, or make it. Raises UserError."""
        file = folder / FILE
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(secrets.token_bytes(_BYTES))
                    stream.flush()
                    os.fsync(stream.fileno())
            except OSError:  # such as a full disk: a part of a key would be taken for a damaged one
                file.unlink()
                raise
            sync_folder(folder)
        key = file.read_bytes()
        if len(key) != _BYTES:
            raise UserError(
                f"{file} has {len(key)} bytes; expected the {_BYTES} of a key. Try a back-up of "
                "it: with another key, studies get other names in the audit"
            )
        return cls(key)

    def of(self, kind: str, content: bytes) -> str:
        """The name of a content: 64 hexadecimal digits. A kind's names are of no use for others."""
        made = hmac.new(self._key, kind.encode() + b"\0", "sha256")
        made.update(content)
        return made.hexdigest()
