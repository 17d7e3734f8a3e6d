"""A service under attack: what it answers, byte by byte, and whether it is as well as before."""

import json
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.load.processes import Server
from tests.service.hostile_files import NAMES_OF_PATIENTS
from tests.service.requests_sent import CLOSED, Attack, form, part, post

_WAIT_S = 30.0
_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


def exchange(port: int, attack: Attack) -> tuple[int, bytes]:
    """Send bytes on a connection; return the status and all that was answered."""
    with socket.create_connection(("127.0.0.1", port), timeout=_WAIT_S) as connection:
        with suppress(OSError):  # the server may have answered, and left, before the end
            connection.sendall(attack.content)
        if not attack.is_whole:
            return CLOSED, b""
        has_body = not attack.content.startswith(b"HEAD ")
        answer = b""
        with suppress(OSError):
            while not _is_whole(answer, has_body) and (piece := connection.recv(65_536)):
                answer = (answer + piece).removeprefix(_GO_ON)
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else CLOSED, answer


def _is_whole(answer: bytes, has_body: bool) -> bool:
    start, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    length = start.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
    return not has_body or len(body) >= int(length or 0)


def body_of(answer: bytes) -> Any:
    """The JSON of an answer."""
    return json.loads(answer.partition(b"\r\n\r\n")[2])


def upload(content: bytes) -> bytes:
    """A whole request that sends one file in a form."""
    return post(form(part(content)))


@dataclass
class Attacked:
    """A server, and what its answers to attacks have shown.

    slowest: name and seconds of the attack that was answered last. wrong: what may not be.
    """

    server: Server
    good: bytes
    expected: Any = None
    codes: dict[int, int] = field(default_factory=dict)
    slowest: tuple[str, float] = ("", 0.0)
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.expected = self._good_answer()

    def attack(self, name: str, attack: Attack) -> bytes:
        """Send one attack, and then the good picture."""
        began = time.perf_counter()
        code, answer = exchange(self.server.port, attack)
        taken = time.perf_counter() - began
        if not attack.is_waited_for:
            self.slowest = max(self.slowest, (name, taken), key=lambda pair: pair[1])
        self.codes[code] = self.codes.get(code, 0) + 1
        if code not in attack.expected:
            self.wrong.append(f"{name}: {code} {answer[-300:]!r}")
        if echoed := [word for word in NAMES_OF_PATIENTS if word.encode() in answer]:
            self.wrong.append(f"{name}: the answer quotes {echoed}")
        if code >= 400 and b"application/problem+json" not in answer and code != 400:
            self.wrong.append(f"{name}: {code} without a problem: {answer[:300]!r}")
        if (found := self._good_answer()) != self.expected:
            self.wrong.append(f"{name}: then the good picture was answered with {found}")
        return answer

    def _good_answer(self) -> Any:
        code, answer = exchange(self.server.port, Attack(upload(self.good), frozenset({200})))
        if code != 200:
            return code
        result = body_of(answer)["results"][0]
        return {
            "class": result["class"],
            "probabilities": {k: round(v, 6) for k, v in result["probabilities"].items()},
        }

    def open_files(self) -> int:
        """How many files and connections the process holds."""
        return len(list(Path(f"/proc/{self.server.process.pid}/fd").iterdir()))
