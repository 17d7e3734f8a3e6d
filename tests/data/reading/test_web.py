"""Downloads of strangers' addresses: where a redirect may lead, and how often."""

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from strided.data.reading import connection
from strided.data.reading.connection import is_public
from strided.data.reading.web import MOST_REDIRECTS, download
from strided.errors import UserError

PUBLIC = "93.184.215.14"


class _Handler(BaseHTTPRequestHandler):
    targets: ClassVar[dict[str, str]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if target := self.targets.get(self.path):
            self.send_response(302)
            self.send_header("Location", target)
            self.send_header("Content-Length", "0")
            self.end_headers()
        else:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"picture")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    _Handler.targets, _Handler.asked = {}, []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as served:
        threading.Thread(target=served.serve_forever, daemon=True).start()
        yield served.server_port
        served.shutdown()


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What each name resolves to, one answer after the other; public ones lead to our server."""
    answers = {"public.example": [PUBLIC]}
    real, connect = socket.getaddrinfo, socket.create_connection

    def resolve(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        known = answers.get(host)
        if known is None:
            return real(host, port, *rest, **options)
        address = known.pop(0) if len(known) > 1 else known[0]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    def lead(address: tuple[str, int], *rest: Any) -> socket.socket:
        host = "127.0.0.1" if is_public(address[0]) else address[0]
        return connect((host, address[1]), *rest)

    monkeypatch.setattr(connection.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(connection.socket, "create_connection", lead)
    return answers


PRIVATE = [
    "127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.2.1",
    "::1", "::", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_of_networks_of_ones_own_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "2606:2800:21f:cb07::1", f"::ffff:{PUBLIC}",
                                     "64:ff9b::5db8:d70e"])  # fmt: skip
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_a_public_address_cannot_lead_to_this_machine(
    host: str, port: int, names: dict[str, list[str]]
) -> None:
    _Handler.targets["/a"] = f"http://{host}:{port}/secret"
    with pytest.raises(UserError, match="no public address"):
        download(f"http://public.example:{port}/a")
    assert _Handler.asked == ["/a"]


@pytest.mark.parametrize("address", ["10.0.0.1", "127.0.0.1", "::ffff:127.0.0.1"])
def test_a_name_cannot_lead_to_this_network(
    address: str, port: int, names: dict[str, list[str]]
) -> None:
    names["inside.example"] = [address]
    names["2130706433"] = [address]  # 127.0.0.1 as one number, as the resolver reads it
    for host in ("inside.example", "2130706433"):
        _Handler.asked.clear()
        _Handler.targets["/a"] = f"http://{host}:{port}/secret"
        with pytest.raises(UserError, match="no public address"):
            download(f"http://public.example:{port}/a")
        assert _Handler.asked == ["/a"]


def test_a_name_whose_answer_changes_is_connected_to_where_it_was_checked(
    port: int, names: dict[str, list[str]]
) -> None:
    names["rebound.example"] = [PUBLIC, "127.0.0.1"]  # public when looked at first
    _Handler.targets["/a"] = f"http://rebound.example:{port}/secret"
    with pytest.raises(UserError, match="no public address"):
        download(f"http://public.example:{port}/a")
    assert _Handler.asked == ["/a"]


def test_a_typed_name_whose_answer_changes_does_not_count_as_local(
    port: int, names: dict[str, list[str]]
) -> None:
    names["rebound.example"] = [PUBLIC, "127.0.0.1"]
    _Handler.targets["/a"] = f"http://rebound.example:{port}/secret"
    with pytest.raises(UserError, match="no public address"):
        download(f"http://rebound.example:{port}/a")
    assert _Handler.asked == ["/a"]


def test_redirects_between_public_addresses_and_within_ones_own_network_are_followed(
    port: int, names: dict[str, list[str]]
) -> None:
    names["other.example"] = [PUBLIC]
    _Handler.targets["/a"] = f"http://other.example:{port}/b"
    assert download(f"http://public.example:{port}/a").read() == b"picture"
    _Handler.targets["/a"] = "/b"
    assert download(f"http://127.0.0.1:{port}/a").read() == b"picture"


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a", "gopher://x/",
                                    "data:image/png;base64,AA"])  # fmt: skip
def test_a_redirect_stays_on_the_web(target: str, port: int) -> None:
    _Handler.targets["/a"] = target
    with pytest.raises(UserError, match="redirects from http: to"):
        download(f"http://127.0.0.1:{port}/a")


def test_redirects_are_few(port: int) -> None:
    _Handler.targets["/a"] = "/a"
    with pytest.raises(UserError, match="more than 5 times"):
        download(f"http://127.0.0.1:{port}/a")
    assert len(_Handler.asked) == MOST_REDIRECTS + 1


def test_a_proxy_is_not_asked_for_an_address_of_ones_own_network(
    port: int, names: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    _Handler.targets["http://public.example/a"] = "http://127.0.0.1/secret"
    with pytest.raises(UserError, match="no public address"):
        download("http://public.example/a")
    assert _Handler.asked == ["http://public.example/a"]
