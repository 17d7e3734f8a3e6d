"""What the load check needs: bundles of networks trained for one step, and pictures."""

import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
SIDE = 1024
NETWORKS = {
    "lite0": ("model=efficientnet_lite0", "model.pretrained=true", "model.head=linear"),
    "densenet121": ("model=densenet121", "model.pretrained=false"),
}
STEP = (
    "data=synthetic", "data.num_images=60", "data.image_size=224", "data.batch_size=8",
    "trainer=cpu", "trainer.max_epochs=1", "trainer.limit_train_batches=1",
)  # fmt: skip


@dataclass(frozen=True)
class Subject:
    """A network under load: the folder of its name in the registry, and the run behind it."""

    bundle: Path
    run: Path


def prepare(network: str, folder: Path) -> Subject:
    """Train a network for a step with each of two seeds, and export both as versions 1 and 2.

    What lies in the folder from a call before is taken as it is.
    """
    logs, bundle = folder / "logs", folder / "registry" / network
    runs = []
    for version in (1, 2):
        name = f"{network}-{version}"
        if not (bundle / str(version)).is_dir():
            words = [*NETWORKS[network], *STEP, f"seed={version}", f"name={name}"]
            _strided(folder, "train", *words, f"log_dir={logs}")
            newest = _newest(logs, name)
            _strided(
                folder, "export", f"checkpoint={newest}", f"bundle={bundle}", f"log_dir={logs}"
            )
        runs.append(_newest(logs, name))
    return Subject(bundle, runs[0])


def _newest(logs: Path, name: str) -> Path:
    return max((logs / "train" / name).iterdir())


def _strided(folder: Path, verb: str, *words: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{verb}.log").open("ab") as output:
        subprocess.run(
            [sys.executable, str(ROOT / "src" / f"{verb}.py"), *words],
            check=True, stdout=output, stderr=output,
            env=os.environ | {"XDG_CACHE_HOME": str(folder / "cache")},
        )  # fmt: skip


def pictures(kind: str, number: int = 8) -> list[bytes]:
    """JPEGs of 1024 x 1024 pixels, "grey" or "colour", with detail of all sizes as photographs."""
    draw = np.random.default_rng(0)
    return [_picture(draw, 1 if kind == "grey" else 3) for _ in range(number)]


def _picture(draw: np.random.Generator, channels: int) -> bytes:
    total = np.zeros((SIDE, SIDE, channels))
    for octave in range(2, 10):
        side, weight = 2**octave, 2.0 ** (-octave)
        for channel in range(channels):
            coarse = Image.fromarray(draw.normal(size=(side, side)).astype(np.float32))
            fine = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
            total[..., channel] += weight * np.asarray(fine)
    low, high = np.percentile(total, (1, 99))
    pixels = ((total - low) / (high - low)).clip(0, 1) * 255
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8).squeeze()).save(file, "JPEG", quality=90)
    return file.getvalue()
