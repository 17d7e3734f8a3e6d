"""Shared by all tests: no network, no shared caches, few threads, and small real runs."""

import io
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser
from tests.browser import chromium

from strided.cli import main
from strided.report import document
from strided.report.contents import Contents
from strided.report.measured_section import Charts

LOCAL = ("localhost", "127.0.0.1", "::1")
TINY = ("model=lenet5", "data=digits", "trainer=cpu", "trainer.max_epochs=1")

Train = Callable[..., Path]


@pytest.fixture(scope="session", autouse=True)
def surroundings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the session's own, no network but this machine's, one thread, W&B offline."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("XDG_CACHE_HOME", str(cache))
        patch.setenv("TORCH_HOME", str(cache / "torch"))
        patch.setenv("HF_HOME", str(cache / "huggingface"))
        patch.setenv("MPLCONFIGDIR", str(cache / "matplotlib"))
        patch.setenv("WANDB_MODE", "offline")
        patch.setenv("OMP_NUM_THREADS", "1")
        for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
            patch.delenv(variable)
        patch.setattr(socket.socket, "connect", _local_only(socket.socket.connect))
        patch.setattr(socket, "getaddrinfo", _known_only(socket.getaddrinfo))
        yield
    torch.set_num_threads(threads)


def _local_only(connect: Callable[..., None]) -> Callable[..., None]:
    def connect_locally(self: socket.socket, address: Any) -> None:
        if self.family != socket.AF_UNIX and address[0] not in LOCAL:
            raise OSError(f"no network in tests: {address}")
        connect(self, address)

    return connect_locally


def _known_only(getaddrinfo: Callable[..., Any]) -> Callable[..., Any]:
    def resolve_locally(host: Any, *rest: Any, **options: Any) -> Any:
        if host is not None and host not in LOCAL:
            raise socket.gaierror(f"no network in tests: {host}")
        return getaddrinfo(host, *rest, **options)

    return resolve_locally


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    """Where a test's run folders go."""
    return tmp_path / "logs"


def train_in(log_dir: Path, *overrides: str) -> Path:
    """Train LeNet-5 on digits for an epoch, or as overridden; return the new run folder."""
    before = set(log_dir.glob("train/*/*"))
    assert main(["train", *TINY, *overrides, f"log_dir={log_dir}"]) == 0
    (folder,) = set(log_dir.glob("train/*/*")) - before
    return folder


@pytest.fixture
def run_train(log_dir: Path) -> Train:
    """`run_train("model=mlp")` trains in this process, and returns the run folder."""

    def train(*overrides: str) -> Path:
        return train_in(log_dir, *overrides)

    return train


DRAWN = document.draw_figures


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of LeNet-5 on digits, two epochs. Read it, do not change it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "draw_figures", DRAWN)  # whichever test asks first
        return train_in(tmp_path_factory.mktemp("trained"), "trainer.max_epochs=2")


@pytest.fixture(scope="session")
def exported(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`registry/digits` with version 1, of `trained_run`. Read it, do not change it."""
    root = tmp_path_factory.mktemp("exported")
    bundle = root / "registry" / "digits"
    words = [f"checkpoint={trained_run}", f"bundle={bundle}", f"log_dir={root / 'logs'}"]
    assert main(["export", *words]) == 0
    return bundle


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, or the test is skipped. While it is open, asyncio.run fails."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def blank_figures() -> Iterator[None]:
    """Reports of this process have figures of one pixel.

    Drawing takes two thirds of a small run, and many tests train several runs whose figures nobody
    looks at: those ask for this by `pytestmark`.
    """
    stream = io.BytesIO()
    Image.new("L", (1, 1)).save(stream, "PNG")

    def blank(charts: Charts, contents: Contents, folder: Path) -> None:
        for name in (*charts, "misclassified", "least_certain", "samples"):
            (folder / f"{name}.png").write_bytes(stream.getvalue())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document, "draw_figures", blank)
        yield


@pytest.fixture
def copied_run(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of `trained_run`, to be changed at will."""
    return Path(shutil.copytree(trained_run, tmp_path / "copied_run"))


def write_images(root: Path, num_images: int = 8, size: int = 12) -> Path:
    """Write `num_images` of each of 3 classes: red and green as PNG, blue as JPEG."""
    noise = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(num_images):
            pixels = noise.integers(0, 100, (size, size, 3), dtype=np.uint8)
            pixels[..., channel] += 120
            suffix = "jpg" if name == "blue" else "png"
            Image.fromarray(pixels).save(root / name / f"{index}.{suffix}")
    return root


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """A folder of 24 colour images: red/*.png, green/*.png, blue/*.jpg."""
    return write_images(tmp_path / "images")


def with_splits(images: Path, *splits: str) -> Path:
    """Make <splits>/<class>/ of a folder of class folders, with other pixels in each."""
    root = images.parent / "split"
    for turn, split in enumerate(splits):
        for file in images.rglob("*.*"):
            target = root / split / file.relative_to(images)
            target.parent.mkdir(parents=True, exist_ok=True)
            Image.open(file).rotate(90 * turn).save(target)
    return root


def contents(folder: Path) -> dict[str, bytes]:
    """What the files of a folder hold, by their paths in it."""
    return {name: (folder / name).read_bytes() for name in files(folder)}


def files(folder: Path) -> set[str]:
    """The paths of all files in a folder and in those below it."""
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Where `make real` finds the real data sets."""
    parser.addoption("--data-root", default="data", help="folder of the real data sets")
