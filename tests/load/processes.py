"""A server as a process of its own: started, measured with all its children, and ended."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

from tests.load.bundles import ROOT

_TICK = os.sysconf("SC_CLK_TCK")
_START_S = 120.0


def free_port() -> int:
    """A port of the loopback address that nothing listens on."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        port: int = asked.getsockname()[1]
        return port


class Server:
    """A process that answers on a port of the loopback address, with those that it started."""

    def __init__(self, words: list[str], port: int, log: Path, ready: str) -> None:
        self.port = port
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        # threads as by default, whatever the caller has set for itself
        own = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, *words],
                stdout=output, stderr=output, cwd=ROOT,
                env=own | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"},
            )  # fmt: skip
        self._wait(ready)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait(self, ready: str) -> None:
        end = time.monotonic() + _START_S
        while time.monotonic() < end and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{ready}", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        self.__exit__()
        raise SystemExit(f"{self.log.name} did not start:\n{self.log.read_text()[-3000:]}")

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    def cpu_s(self) -> float:
        """Seconds of CPU that the process and all its children, ended ones too, have taken."""
        total = 0
        for pid in family(self.process.pid):
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # it has ended, and its parent has its time
                continue
            total += sum(map(int, fields[11:15]))  # utime stime cutime cstime
        return total / _TICK

    def memory(self) -> int:
        """Bytes of memory of all its processes; what several share counts once (Pss)."""
        total = 0
        for pid in family(self.process.pid):
            try:
                rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            except OSError:
                continue
            total += sum(int(row.split()[1]) for row in rows if row.startswith("Pss:"))
        return total * 1024


def family(pid: int) -> list[int]:
    """A process and all that came from it and still lives."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        children = [c for task in tasks for c in (task / "children").read_text().split()]
    except OSError:
        return [pid]
    return [pid, *(other for child in children for other in family(int(child)))]


class MemoryWatch:
    """The most memory that a server had within a `with` block, looked at ten times a second."""

    def __init__(self, server: Server) -> None:
        self.before = self.most = server.memory()
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self._take()

    def _look(self) -> None:
        while not self._ended.wait(0.1):
            self._take()

    def _take(self) -> None:
        self.most = max(self.most, self._server.memory())

    @property
    def growth(self) -> int:
        """Bytes above what it had before."""
        return self.most - self.before


def strided_server(bundle: Path, log_dir: Path, *words: str) -> Server:
    """Our server of a bundle, ready to answer, to anybody."""
    port = free_port()
    given = [f"bundle={bundle}", f"port={port}", f"log_dir={log_dir}"]
    typed = [*given, "access.enabled=false", *words]
    log = log_dir / f"serve-{bundle.name}-{port}.log"
    return Server([str(ROOT / "src" / "serve.py"), *typed], port, log, "/readyz")


def naive_server(run: Path, log_dir: Path) -> Server:
    """The endpoint of a tutorial, with the weights of the same run."""
    port = free_port()
    log = log_dir / f"naive-{run.parent.name}-{port}.log"
    return Server(["-m", "tests.load.naive", str(run), str(port)], port, log, "/docs")
