"""What keys and the audit cost: rounds of a service with them, and of one without.

    PYTHONPATH=.:src python docs/results/serving/guarded.py 10 registry/lite0 registry/densenet121

8 clients send grey JPEGs of 1024 x 1024 pixels. The one without asks for no key, and its rows of
predictions are not written. Prints JSON, also how busy the machine was.
"""

import json
import re
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from tests.load.bundles import ROOT, pictures
from tests.load.check import cell, machine
from tests.load.clients import form
from tests.load.events import ROUTE
from tests.load.processes import Server, free_port

CLIENTS, ROUNDS = 8, 6
WITHOUT = """
import sys
from strided.cli import main
from strided.service.recording import Recorder

async def nothing(*_):
    pass

Recorder.predictions = nothing
sys.exit(main(["serve", "access.enabled=false", *sys.argv[1:]]))
"""


def server(bundle: str, folder: Path, name: str) -> tuple[Server, list[bytes]]:
    """A service, and the requests that it answers."""
    port = free_port()
    start = ["-c", WITHOUT] if name == "without" else [str(ROOT / "src" / "serve.py")]
    words = [f"bundle={bundle}", f"port={port}", f"log_dir={folder / name}"]
    words += ["access.rate_per_minute=1000000"]
    log = folder / f"{name}.log"
    started = Server([*start, *words], port, log, "/readyz")
    key = re.search(r"clinician: (\S+)", log.read_text())
    head = f"Authorization: Bearer {key[1]}\r\nHost:".encode() if key else b"Host:"
    return started, [form(one, ROUTE).replace(b"Host:", head, 1) for one in pictures("grey")]


def measured(bundle: str, seconds: float) -> dict[str, Any]:
    """Rounds in turn; the ratios are medians over the rounds."""
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        servers = {kind: server(bundle, Path(name), kind) for kind in ("with", "without")}
        with servers["with"][0], servers["without"][0]:
            for turn in range(ROUNDS + 1):
                found = {}
                for kind in list(servers)[:: 1 if turn % 2 else -1]:
                    told = cell(*servers[kind], CLIENTS, seconds)
                    assert set(told["found"].codes) == {200} and not told["found"].lost
                    images = told["found"].codes[200]
                    found[kind] = {
                        "images_per_s": round(images / told["wall_s"], 2),
                        "images_per_cpu_s": round(images / told["cpu_s"], 2),
                        **told["found"].percentiles(),
                    }
                if turn:  # the first is to get warm
                    rounds.append(found | {"load": machine()["load_before"]})
    ratios = {
        key: round(median(one["with"][key] / one["without"][key] for one in rounds), 3)
        for key in ("images_per_s", "images_per_cpu_s")
    }
    return {"ratio_with_to_without": ratios, "rounds": rounds}


if __name__ == "__main__":
    given, *bundles = sys.argv[1:]
    result = {Path(one).name: measured(one, float(given)) for one in bundles}
    print(json.dumps({"machine": machine(), **result}, indent=1))
