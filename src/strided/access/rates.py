"""How often one may ask: token buckets, and what is written of failed log-ins."""

import time
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from strided.access.roles import NOBODY
from strided.audit.row import Event, plain_json

_MOST_NAMES = 10_000  # that a bucket is kept for
_MOST_ADDRESSES = 100  # of a minute, that have rows of their own
_OTHERS = "others"


class Buckets:
    """A bucket for each name, of as many tokens as come back in a minute."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = float(per_minute)
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}  # tokens, and when

    def take(self, name: str) -> float:
        """Take a token, and return 0; if there is none, the seconds until there is one."""
        if name not in self._left and len(self._left) >= _MOST_NAMES:
            self._forget_full()
            if len(self._left) >= _MOST_NAMES:
                name = _OTHERS
        now = self._clock()
        tokens = self._tokens(name, now)
        if tokens < 1:
            self._left[name] = tokens, now
            return (1 - tokens) * 60 / self._most
        self._left[name] = tokens - 1, now
        return 0.0

    def _tokens(self, name: str, now: float) -> float:
        tokens, then = self._left.get(name, (self._most, now))
        return min(self._most, tokens + (now - then) * self._most / 60)

    def _forget_full(self) -> None:
        now = self._clock()
        self._left = {
            name: left for name, left in self._left.items() if self._tokens(name, now) < self._most
        }


class FailedLogins:
    """Two rows at most for an address, a reason and a minute: a flood must not fill the disk.

    The first failure is written at once. The others of its minute are counted, and written as one
    row when the minute is over.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._more: dict[tuple[int, str, str], int] = {}  # by minute, address and reason
        self._due: list[tuple[int, str, str]] = []

    def note(self, address: str, reason: str, request_id: str) -> Event | None:
        """Count a failure; the event to write now, if it is the first of its kind."""
        key = self._key(address, reason)
        if key in self._more:
            self._more[key] += 1
            return None
        self._more[key] = 0
        return _event(key[1], reason, 1, request_id)

    def note_unwritten(self, address: str, reason: str) -> None:
        """Count a failure whose event could not be written."""
        key = self._key(address, reason)
        self._more[key] = self._more.get(key, 0) + 1

    def _key(self, address: str, reason: str) -> tuple[int, str, str]:
        minute = int(self._clock() // 60)
        known = {one for then, one, _ in self._more if then == minute}
        if address not in known and len(known) >= _MOST_ADDRESSES:
            address = _OTHERS
        return minute, address, reason

    def due(self, *, all_: bool = False) -> list[Event]:
        """The events of what was counted in minutes that are over, or in all; until `forget_due`.

        Those that cannot be written stay, and come again.
        """
        minute = int(self._clock() // 60)
        self._due = [key for key in self._more if all_ or key[0] < minute]
        counts = [(key, self._more[key]) for key in self._due]
        return [_event(address, reason, count) for (_, address, reason), count in counts if count]

    def forget_due(self) -> None:
        """Forget what was due, once it is written."""
        for key in self._due:
            self._more.pop(key, None)


def _event(address: str, reason: str, count: int, request_id: str | None = None) -> Event:
    return Event(
        actor=NOBODY.id,
        role=NOBODY.role,
        action="login_failed",
        output=plain_json({"address": address, "count": count}),
        reasons=reason,
        request_id=request_id,
    )


def client_of(peer: str, forwarded: str, proxies: frozenset[str]) -> str:
    """The address of a client. X-Forwarded-For counts only as far as the proxies wrote it.

    Of IPv6 it is the network of 64 bits, all of which one client may have.
    """
    hops = forwarded.split(",") if forwarded else []
    found = _address(peer)
    while str(found) in proxies and hops:
        found = _address(hops.pop().strip())
    if isinstance(found, IPv6Address):
        return str(ip_network((found, 64), strict=False))
    return str(found) if found else "unknown"


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An address; one of IPv4 that came through a socket of IPv6 is of IPv4."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found
