"""Tokens of the hospital's own sign-in (JWT, RFC 7519): read, never made."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from strided.access.roles import ROLES, Caller
from strided.errors import UserError

Algorithm = Literal["RS256", "EdDSA"]
_LEAST_BITS = 2048  # of RSA (RFC 7518, 3.3)
_LEEWAY = 10  # seconds that two clocks may differ
_REQUIRED = ["exp", "iss", "aud", "sub"]
_SUBJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:|-]{0,127}")  # no formula, nothing to hide


class TokenError(Exception):
    """A token that does not count; the text is its reason, a code of the audit."""


@dataclass(frozen=True)
class Tokens:
    """Checks tokens by one public key, one algorithm, one issuer and one audience."""

    key: Any
    algorithm: Algorithm
    issuer: str
    audience: str

    def caller(self, given: str) -> Caller:
        """Whom a token speaks for. Raises TokenError."""
        try:
            claims = jwt.decode(
                given,
                self.key,
                algorithms=[self.algorithm],  # what the token itself names is of no account
                issuer=self.issuer,
                audience=self.audience,
                leeway=_LEEWAY,
                options={"require": _REQUIRED},
            )
        except jwt.ExpiredSignatureError:
            raise TokenError("expired_token") from None
        except (jwt.PyJWTError, ValueError, TypeError):
            raise TokenError("bad_token") from None
        subject, role = claims["sub"], claims.get("role")
        if not _SUBJECT.fullmatch(subject) or role not in ROLES:
            raise TokenError("bad_token")
        return Caller(f"jwt:{subject}", role)


def public_key(file: Path, algorithm: Algorithm) -> Any:
    """Read a public key (PEM) that fits an algorithm. Raises UserError."""
    kinds = {"RS256": (RSAPublicKey,), "EdDSA": (Ed25519PublicKey, Ed448PublicKey)}[algorithm]
    try:
        key = load_pem_public_key(file.read_bytes())
    except (OSError, ValueError, TypeError) as error:
        raise _refused(file, algorithm, "is no public key in PEM") from error
    if not isinstance(key, kinds):
        raise _refused(file, algorithm, "is a key of another kind")
    if isinstance(key, RSAPublicKey) and key.key_size < _LEAST_BITS:
        raise _refused(file, algorithm, f"has {key.key_size} bits, fewer than {_LEAST_BITS}")
    return key


def _refused(file: Path, algorithm: str, why: str) -> UserError:
    kind = "RSA" if algorithm == "RS256" else "Ed25519 or Ed448"
    return UserError(
        f"access.jwt.public_key={file} {why}; expected one of {kind} for "
        f"access.jwt.algorithm={algorithm}. Try openssl pkey -in private.pem -pubout -out a.pem"
    )
