"""Download one picture, by http or https only, bounded in size, time and redirects."""

import time
from http.client import HTTPException
from io import BytesIO
from threading import Thread
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.response import addinfourl

from strided.data.reading.connection import (
    Connector,
    HTTPHandler,
    HTTPSHandler,
    NotPublicError,
    is_local,
)
from strided.errors import UserError

MOST_BYTES = 32 * 2**20
SECONDS = 15.0  # for the server's first answer
MOST_SECONDS = 60.0  # for the whole download
MOST_REDIRECTS = 5
_CHUNK = 64 * 2**10  # bytes
_REDIRECTS = (301, 302, 303, 307, 308)


def is_address(given: str) -> bool:
    """Whether the input is an address, of any scheme, rather than a file, folder or glob."""
    return "://" in given


def require_web(address: str) -> None:
    """Raise UserError for any scheme other than http and https."""
    try:
        scheme = urlsplit(address).scheme.lower()
    except ValueError:  # half an IPv6 address
        scheme = ""
    if scheme not in ("http", "https"):
        raise UserError(
            f"input={address}: expected an address that begins with http:// or https://, or a "
            "file. Try downloading it yourself, and input=<file>"
        )


def download(address: str) -> BytesIO:
    """Download the content of an http(s) address.

    Raises UserError, also for more than 32 MiB or 60 seconds; redirects and headers count too.
    """
    require_web(address)
    outcome: list[BytesIO | BaseException] = []

    def fetch() -> None:
        try:
            outcome.append(_download(address))
        except BaseException as error:
            outcome.append(error)

    # the timeout limits each receive only: one header a second could take for ever
    thread = Thread(target=fetch, daemon=True)
    thread.start()
    thread.join(MOST_SECONDS)
    if not outcome:
        raise _download_error(address, f"it took longer than {MOST_SECONDS:.0f} seconds")
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


def _download(address: str) -> BytesIO:
    here, connector = address, Connector(only_public=False)
    try:
        for _ in range(MOST_REDIRECTS + 1):
            answer = _ask(here, connector)
            if isinstance(answer, BytesIO):
                return answer
            here = _redirected(here, answer)
            # only who typed an address of their own network may be led to another one there
            connector = Connector(only_public=not connector.was_local, redirected=True)
        raise ValueError(f"the server redirects more than {MOST_REDIRECTS} times")
    except HTTPError as error:
        error.close()
        raise _download_error(address, f"the server says {error.code} {error.reason}") from error
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, UserError):
            raise
        reason = error.reason if isinstance(error, URLError) else error
        raise _download_error(address, str(reason) or type(error).__name__) from error


def _ask(address: str, connector: Connector) -> BytesIO | str:
    """Return the content of an address, or the address that it redirects to.

    Raises OSError, HTTPException, UserError.
    """
    # urllib's own opener reads file:, ftp: and data: too, and follows a redirect to ftp:
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        HTTPHandler(connector),
        HTTPSHandler(connector),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    # some servers turn away a client without a name
    asked = request.Request(address, headers={"User-Agent": "strided", "Accept": "image/*"})
    host = urlsplit(address).hostname
    if connector.only_public and is_local(host):
        raise NotPublicError(host)  # here too: a proxy would ask for anything
    try:
        with opener.open(asked, timeout=SECONDS) as response:
            return _read(response, address)
    except HTTPError as error:
        target = error.headers.get("Location")
        if error.code not in _REDIRECTS or not target:
            raise
        error.close()
        return str(target)


def _redirected(here: str, target: str) -> str:
    """Return the whole address of a redirect. Raises ValueError for a scheme that is less safe."""
    address = urljoin(here, target)
    before, after = (urlsplit(one).scheme.lower() for one in (here, address))
    if after != before and after != "https":
        raise ValueError(f"the server redirects from {before}: to {after}:")
    return address


def _read(response: addinfourl, address: str) -> BytesIO:
    """Read in chunks, since a server may be slow for ever or send a wrong length or none."""
    content, started = BytesIO(), time.monotonic()
    while chunk := response.read1(_CHUNK):
        content.write(chunk)
        if content.tell() > MOST_BYTES:
            raise _download_error(address, f"it is larger than {MOST_BYTES // 2**20} MiB")
        if time.monotonic() - started > MOST_SECONDS:
            raise _download_error(address, f"it took longer than {MOST_SECONDS:.0f} seconds")
    content.seek(0)
    return content


def _download_error(address: str, reason: str) -> UserError:
    return UserError(
        f"input={address} could not be downloaded: {reason}. Expected a picture of at most "
        f"{MOST_BYTES // 2**20} MiB. Try downloading it yourself, and input=<file>"
    )
