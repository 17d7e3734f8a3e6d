"""The settings of who may ask, what is kept of it, and where: a part of conf/serve.yaml."""

import os
import ssl
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Self, get_args

from strided.access.tokens import Algorithm, Tokens, public_key
from strided.audit.place import FILE, Place, place_of
from strided.config.keys import AccessKeys, Config, JwtKeys
from strided.errors import UserError


@dataclass(frozen=True)
class Protection:
    """How a service is guarded. state: the folder that outlives it. rate: requests a minute.

    proxies: the addresses that X-Forwarded-For counts from. tls: the files of a certificate and of
    its key.
    """

    enabled: bool
    tokens: Tokens | None
    rate: int
    metrics_public: bool
    state: Path
    place: Place
    anchor: Path | None
    proxies: frozenset[str]
    tls: tuple[Path, Path] | None

    @classmethod
    def of(cls, config: Config, beside: Path) -> Self:
        """Take the values of a checked config. Raises UserError.

        `beside`: the folder of the run folders, in which the state is unless it is elsewhere.
        """
        access, audit, tls = config["access"], config["audit"], config["tls"]
        state = _path(config["state"]) or beside / "state"
        proxies = config["proxy"]["addresses"] if config["behind_proxy"] else []
        anchor = _path(audit["anchor"])
        if anchor and not anchor.parent.is_dir():
            raise UserError(
                f"audit.anchor={anchor} is in a folder that is not there; expected a file in one "
                "that is, best on another machine's disk. Try making it first"
            )
        return cls(
            enabled=access["enabled"],
            tokens=_tokens(access["jwt"]),
            rate=_rate(access),
            metrics_public=access["metrics_public"],
            state=state,
            place=place_of(audit["url"] or str(state / FILE), "audit.url"),
            anchor=anchor,
            proxies=frozenset(map(_address, proxies)),
            tls=_certificate(tls["cert"], tls["key"]),
        )

    def require_guarded(self, host: str, behind_proxy: bool) -> None:
        """Raise UserError for an address that others reach, without keys or without encryption."""
        if behind_proxy and not self.enabled:
            raise UserError(
                "behind_proxy=true with access.enabled=false: whoever reaches the proxy could use "
                "the service; expected keys. Try access.enabled=true"
            )
        if ip_address(host).is_loopback:
            return
        if not self.enabled:
            raise UserError(
                f"host={host} with access.enabled=false: whoever reaches it could use it; expected "
                "a loopback address, or keys. Try access.enabled=true, or host=127.0.0.1"
            )
        if self.tls is None and not behind_proxy:
            raise UserError(
                f"host={host} without TLS: keys and pictures would pass the network as they are; "
                "expected tls.cert and tls.key, or a proxy that has them. Try behind_proxy=true "
                "where there is one"
            )


def _path(given: str | None) -> Path | None:
    return Path(os.path.expanduser(given)) if given else None


def _rate(access: AccessKeys) -> int:
    rate = access["rate_per_minute"]
    if not 1 <= rate <= 1_000_000:
        raise UserError(
            f"access.rate_per_minute={rate}; expected 1 to 1,000,000. "
            "Try access.rate_per_minute=600"
        )
    return rate


def _address(given: str) -> str:
    try:
        return str(ip_address(given))
    except ValueError:
        raise UserError(
            f"proxy.addresses has {given!r}, which is no address; expected those of your proxies. "
            "Try proxy.addresses=[10.0.0.5]"
        ) from None


def _tokens(jwt: JwtKeys | None) -> Tokens | None:
    if jwt is None:
        return None
    wanted = {"public_key", "algorithm", "issuer", "audience"}
    for name in sorted(wanted ^ jwt.keys()):
        raise UserError(
            f"access.jwt {'has' if name in jwt else 'without'} {name}; expected "
            f"{', '.join(sorted(wanted))}. Try access.jwt={{public_key: sso.pem, "
            "algorithm: EdDSA, issuer: https://sso.example.org, audience: strided}"
        )
    if jwt["algorithm"] not in get_args(Algorithm):
        raise UserError(
            f"access.jwt.algorithm={jwt['algorithm']}; expected {' or '.join(get_args(Algorithm))}:"
            " whoever could check a token of others could make it. Try access.jwt.algorithm=EdDSA"
        )
    file = Path(os.path.expanduser(jwt["public_key"]))
    key = public_key(file, jwt["algorithm"])
    return Tokens(key, jwt["algorithm"], jwt["issuer"], jwt["audience"])


def _certificate(cert: str | None, key: str | None) -> tuple[Path, Path] | None:
    if cert is None and key is None:
        return None
    for name, given in (("tls.cert", cert), ("tls.key", key)):
        if given is None or not Path(os.path.expanduser(given)).is_file():
            raise UserError(
                f"{name}={given} is no file; expected both tls.cert and tls.key, in PEM. "
                f"Try {name}=<file>"
            )
    assert cert is not None and key is not None
    files = Path(os.path.expanduser(cert)), Path(os.path.expanduser(key))
    try:
        # without a word, an encrypted key would ask the terminal for it, also where nobody is
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*files, password="")
    except OSError as error:  # of ssl, too
        raise UserError(
            f"tls.cert={cert} tls.key={key} cannot be used ({error.strerror}); expected a "
            "certificate and its own key, not encrypted, both in PEM. Try openssl x509 -in "
            f"{cert} -noout, and openssl pkey -in {key} -noout"
        ) from error
    return files
