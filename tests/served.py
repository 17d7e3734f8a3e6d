"""A service as users start it, in a process without torch, and how tests speak to it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import httpx
import numpy as np
from PIL import Image

from strided.audit.checking import checked
from strided.audit.database import opened_to_read, rows
from strided.audit.place import place_of
from strided.config.yaml_files import CONF_DIR

# all that requirements-serve.txt has no place for
ABSENT = ("torch", "torchvision", "lightning", "timm", "torchmetrics", "wandb", "sklearn", "scipy",
          "onnx", "onnxscript", "matplotlib", "captum", "pandas", "tqdm")  # fmt: skip
# The first lines of a program that finds none of them
WITHOUT_TORCH = f"""
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {ABSENT}:
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
"""
# A white picture gives NaN, a black one an error: what no uint8 picture does to a sound network.
PROGRAM = """
import os, tempfile, time
tempfile.SpooledTemporaryFile.rollover = lambda _: os._exit(99)  # nothing may reach the disk

from strided.cli import main
from strided.audit.writer import AuditError
from strided.service.recording import Recorder
from strided.serving.bundle import Bundle

run = Bundle.outputs

def outputs(self, pixels, *, heat=False):
    time.sleep({slow})
    found = run(self, pixels, heat=heat)
    shades = pixels.reshape(len(pixels), -1)
    if (shades == 0).all(1).any():
        raise ZeroDivisionError("a fault")
    found.logits[(shades == 255).all(1)] = float("nan")
    return found

async def record(self, scope, *given):
    if scope["request_id"] == "unrecorded":
        raise AuditError("the disk is full")
    await recorded(self, scope, *given)

Recorder.predictions, recorded = record, Recorder.predictions
Bundle.outputs = outputs
sys.exit(main(["serve", *{words}]))
"""


@dataclass
class Served:
    """A running service."""

    process: "subprocess.Popen[str]"
    folder: Path  # of the run
    url: str
    keys: dict[str, str] = field(default_factory=dict)  # by role, as it printed them
    state: Path = Path()

    def client(self, key: str | None = None) -> httpx.Client:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # without certificates, which take longer to read than a request does
        return httpx.Client(
            base_url=self.url, timeout=60, headers=headers, verify=False, trust_env=False
        )

    def predict(self, *files: bytes, **parameters: Any) -> httpx.Response:
        """Send files as a form."""
        with self.client() as client:
            return client.post("/v1/predict", files=form(*files), params=parameters)

    def counts(self) -> dict[str, float]:
        """What /metrics says, by name and labels."""
        with self.client() as client:
            lines = client.get("/metrics").text.splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}

    def wait_for_images(self, count: int) -> None:
        """Wait until so many pictures hold places."""
        for _ in range(600):
            if self.counts()["strided_queue_images"] == count:
                return
            time.sleep(0.02)
        raise AssertionError(f"the queue never held {count} pictures")

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM; return the exit code, and the seconds it took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60), time.monotonic() - began


def form(*files: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    """Files as the parts of a form, under names that are a patient's."""
    return [("file", (f"Jane Doe {index}.png", content)) for index, content in enumerate(files)]


def audited(service: Served) -> list[dict[str, Any]]:
    """The rows so far; the chain is whole."""
    engine = opened_to_read(place_of(str(service.state), "database"))
    found = list(rows(engine))
    engine.dispose()
    assert checked(found).bad is None
    return found


@contextmanager
def served(bundle: Path, log_dir: Path, *words: str, slow: float = 0.0) -> Iterator[Served]:
    """A service that is ready, each of whose runs takes `slow` seconds more."""
    typed = [f"bundle={bundle}", f"log_dir={log_dir}", "port=0", *words]
    if not any(word.startswith("sessions=") for word in words):
        typed.append("sessions=1")
    if not any(word.startswith("access.") for word in words):
        typed += ["access.enabled=false"]
    if not any(word.startswith("state=") for word in words):
        typed += [f"state={mkdtemp(dir=log_dir)}"]
    program = WITHOUT_TORCH + PROGRAM.format(slow=slow, words=typed)
    before = set(log_dir.glob("serve/*/*"))
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=CONF_DIR.parent / "src",
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        keys, found = {}, None
        while not found:
            said = process.stdout.readline()
            assert said, process.stderr.read()
            found = re.search(r"answers at (https?://\S+)", said)
            if key := re.match(r"(\w+): (strided_\w+)", said):
                keys[key[1]] = key[2]
        (folder,) = set(log_dir.glob("serve/*/*")) - before
        state = next(word for word in typed if word.startswith("state="))
        yield Served(process, folder, found[1], keys, Path(state.removeprefix("state=")))
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()


def encoded(pixels: np.ndarray | Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """A picture as a file."""
    stream = BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(stream, form, **options)
    return stream.getvalue()


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 255, shape, np.uint8)
