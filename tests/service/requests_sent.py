"""Requests byte by byte as they are sent, and how each may be answered.

CLOSED in place of a status: the server may leave without a word, as for what is no HTTP.
"""

from dataclasses import dataclass

CLOSED = 0
BODY_MB = 4  # limits.body_mb of the server that is attacked
BODY_LIMIT = BODY_MB * 2**20
FILES = 16
REFUSED = frozenset({400, 405, 413, 415, 422})
BOUNDARY = "b0undary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
POST = "POST /v1/predict HTTP/1.1"


@dataclass(frozen=True)
class Attack:
    """The bytes of a request, and the statuses that may come.

    Of one that is not whole the end is never sent, and no answer is waited for. One that is waited
    for promises more than it sends, so it is answered at the deadline.
    """

    content: bytes
    expected: frozenset[int]
    is_whole: bool = True
    is_waited_for: bool = False


def head(first: str, **headers: str) -> bytes:
    """The start of a request; `_` in a name stands for `-`."""
    lines = [first, "Host: 127.0.0.1", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def post(body: bytes, kind: str = FORM, **headers: str) -> bytes:
    """A whole request to predict."""
    return head(POST, Content_Type=kind, Content_Length=str(len(body)), **headers) + body


def part(content: bytes, disposition: str = 'form-data; name="file"; filename="x"') -> bytes:
    """A part of a form, with its boundary before it."""
    start = f"--{BOUNDARY}\r\nContent-Disposition: {disposition}\r\n\r\n"
    return start.encode() + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    """The body of a form."""
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def chunked(body: bytes, size: int = 4096, kind: str = "image/png") -> bytes:
    """A whole request in chunks."""
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    sent = b"".join(f"{len(piece):x}\r\n".encode() + piece + b"\r\n" for piece in pieces)
    return head(POST, Content_Type=kind, Transfer_Encoding="chunked") + sent + b"0\r\n\r\n"
