"""Connections for downloads that go to public addresses only, as a redirect of a stranger must.

A server could send us to one inside the user's network, or to this machine. Each name is resolved
once, and the address that was checked is the one that is connected to: a second answer of the name
server could be another one.
"""

import ipaddress
import socket
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Any
from urllib import request

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotPublicError(OSError):
    """A redirect leads to this machine, a private network, or elsewhere that is not public."""

    def __init__(self, host: str | None) -> None:
        super().__init__(f"the server redirects to {host}, which is no public address")


def is_public(address: str) -> bool:
    """Whether an IP address is a public one; also of IPv4 inside IPv6."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = [found.ipv4_mapped, found.sixtofour, *(found.teredo or ())]
        if found in _NAT64 or int(found) < 2**32:  # the second: IPv4-compatible
            inner.append(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF))
        if found.ipv4_mapped is not None:
            return is_public(str(found.ipv4_mapped))
        if not all(is_public(str(one)) for one in inner if one is not None):
            return False
    return found.is_global and not found.is_multicast


def is_local(host: str | None) -> bool:
    """Whether a host has an address that is not public; False if its name is not known here."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return not all(is_public(str(place[0])) for *_, place in found)


class Connector:
    """Connects as socket.create_connection does; `was_local` says that it led to no public address.

    With `only_public`, it raises NotPublicError instead; `redirected`, also for a link-local
    address, where clouds keep the machine's own secrets.
    """

    def __init__(self, *, only_public: bool, redirected: bool = False) -> None:
        self.only_public, self.redirected, self.was_local = only_public, redirected, False

    def __call__(
        self, address: tuple[str, int], timeout: float | None = None, source_address: Any = None
    ) -> socket.socket:
        """Connect to the first address of the name that answers."""
        host, port = address
        errors: list[OSError] = []
        places = [str(at[0]) for *_, at in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
        if self.only_public and not all(map(is_public, places)):
            raise NotPublicError(host)
        if self.redirected and any(ipaddress.ip_address(at).is_link_local for at in places):
            raise NotPublicError(host)
        for place in places:
            try:
                found = socket.create_connection((place, port), timeout, source_address)
            except OSError as error:
                errors.append(error)
                continue
            self.was_local = not is_public(place)
            return found
        raise errors[0] if errors else OSError(f"{host} has no address")


class HTTPHandler(request.HTTPHandler):
    """http through a Connector; a proxy, which the user has chosen, is asked without it."""

    def __init__(self, connector: Connector) -> None:
        super().__init__()
        self._connector = connector

    def http_open(self, req: request.Request) -> HTTPResponse:
        """Open as urllib does."""
        connector = None if req.has_proxy() else self._connector

        def connection(host: str, **options: Any) -> HTTPConnection:
            return _through(connector, HTTPConnection(host, **options))

        return self.do_open(connection, req)


class HTTPSHandler(request.HTTPSHandler):
    """https, as HTTPHandler; the certificate must be that of the name."""

    def __init__(self, connector: Connector) -> None:
        super().__init__()
        self._connector = connector

    def https_open(self, req: request.Request) -> HTTPResponse:
        """Open as urllib does."""
        is_tunnel = getattr(req, "_tunnel_host", None)  # to the address, through a proxy

        def connection(host: str, **options: Any) -> HTTPConnection:
            connector = None if is_tunnel else self._connector
            return _through(connector, HTTPSConnection(host, **options))

        return self.do_open(connection, req)


def _through(connector: Connector | None, connection: HTTPConnection) -> HTTPConnection:
    if connector is not None:
        connection._create_connection = connector  # type: ignore[attr-defined]
    return connection
