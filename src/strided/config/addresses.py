"""Addresses of databases: none may hold a password, which the run folder would keep."""

from collections.abc import Mapping
from typing import Any

from strided.errors import UserError

POSTGRES = "postgresql+pg8000"
EXAMPLE = f"{POSTGRES}://strided@db.example.org/strided"


def require_no_passwords(config: Mapping[str, Any]) -> None:
    """Raise UserError for an address with a password, without showing it."""
    audit = config.get("audit")
    found = {"database": config.get("database")}
    if isinstance(audit, Mapping):
        found["audit.url"] = audit.get("url")
    for key, address in found.items():
        if _has_password(str(address or "")):
            raise UserError(
                f"{key} has a password in its address, and the run folder would keep it; expected "
                f"none. Try {key}={EXAMPLE}, with the password in the environment variable "
                "PGPASSWORD, or in a file that PGPASSWORD_FILE names"
            )


def _has_password(address: str) -> bool:
    _, _, rest = address.partition("://")
    credentials, at, _ = rest.rpartition("@")
    return (bool(at) and ":" in credentials) or "password=" in rest.lower()
