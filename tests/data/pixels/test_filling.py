"""Decoding by several processes: real files, real signals, real processes."""

import errno
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.stopping import forked

from strided.cli import main
from strided.config.yaml_files import CONF_DIR
from strided.data import Preprocessing
from strided.data.pixels import filling
from strided.data.pixels.filling import CHUNK, Filler, Job, Reader, Task, fill
from strided.data.pixels.store import open_store
from strided.data.reading.decoding import image_errors
from strided.data.reading.folder import folder_source
from strided.errors import UserError

SRC = CONF_DIR.parent / "src"
NUM_IMAGES = 7 * CHUNK + 1
PLACE = Preprocessing(3, 16)

SCRIPT = """
import sys
from multiprocessing import set_start_method
from tests.data.pixels.test_filling import open_photographs

if __name__ == "__main__":
    set_start_method(sys.argv[1])
    open_photographs(*sys.argv[2:])
"""


@dataclass(frozen=True)
class Signed:
    """Reads an image; each process that does leaves its number."""

    read: Reader
    folder: Path

    def __call__(self, index: int) -> Image.Image:
        (self.folder / str(os.getpid())).touch()
        return self.read(index)


def open_photographs(root: str, cache: str, signed: str) -> None:
    """Open the store of the photographs with two processes beside this one; say what it holds."""
    logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s", force=True)
    filling._WORTH_A_FORK = filling._WORTH_A_START = 0.0
    source = folder_source(Path(root))
    source = replace(source, read=Signed(source.read, Path(signed)))
    print(open_store(source, PLACE, Path(cache), 2).fingerprint)


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders of JPEGs that take milliseconds to decode, with one that is torn."""
    root = tmp_path_factory.mktemp("photographs")
    noise = np.random.default_rng(0)
    for kind in range(2):
        (root / f"kind{kind}").mkdir()
        for index in range(8):
            file = root / f"original{kind}{index}"
            Image.fromarray(noise.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(
                file, "JPEG"
            )
    for index in range(NUM_IMAGES):
        os.link(
            root / f"original{index % 2}{index % 8}", root / f"kind{index % 2}" / f"{index:04d}.jpg"
        )
    torn = root / "kind1" / "9999.jpg"
    torn.write_bytes((root / "original00").read_bytes()[:500])
    return root


@pytest.fixture
def folders(photographs: Path, tmp_path: Path) -> list[str]:
    """What `open_photographs` is told."""
    (tmp_path / "signed").mkdir()
    return [str(folder) for folder in (photographs, tmp_path / "cache", tmp_path / "signed")]


@pytest.fixture(scope="module")
def fingerprint(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Of the photographs, decoded by this process alone."""
    source = folder_source(photographs)
    store = open_store(source, PLACE, tmp_path_factory.mktemp("alone"), 1)
    assert list(store.errors) == [source.paths.index("kind1/9999.jpg")]
    return store.fingerprint


def wait_for(true: Callable[[], object]) -> None:
    end = time.monotonic() + 120
    while not true():
        assert time.monotonic() < end, "nothing happened in two minutes"
        time.sleep(0.01)


def lines_of(journal: str, cache: Path) -> int:
    return sum(len(file.read_text().split("\n")) for file in cache.glob(f"*/{journal}"))


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_several_processes_decode_what_one_would(
    folders: list[str], tmp_path: Path, fingerprint: str
) -> None:
    with forked(partial(open_photographs, *folders), tmp_path / "said") as process:
        process.join(200)
    assert_decoded((tmp_path / "said").read_text(), tmp_path, fingerprint)


@pytest.mark.parametrize("method", ["forkserver", pytest.param("spawn", marks=pytest.mark.slow)])
def test_processes_that_begin_afresh_decode_what_one_would(
    folders: list[str], tmp_path: Path, fingerprint: str, method: str
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "script.py"), method, *folders],
        env={**os.environ, "PYTHONPATH": f"{SRC}{os.pathsep}{SRC.parent}"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert_decoded(done.stdout, tmp_path, fingerprint)


def assert_decoded(said: str, tmp_path: Path, fingerprint: str) -> None:
    assert said.splitlines()[-1] == fingerprint, said
    assert f"decoded {NUM_IMAGES + 1} images" in said
    assert len(list((tmp_path / "signed").iterdir())) == 3


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_a_build_that_is_killed_goes_on(
    folders: list[str], tmp_path: Path, fingerprint: str
) -> None:
    work = partial(open_photographs, *folders)
    with forked(work, tmp_path / "first") as first:
        wait_for(lambda: lines_of("chunks.jsonl", tmp_path / "cache") > 4)
        assert first.exitcode is None
        first.kill()
        first.join()
    workers = [int(file.name) for file in (tmp_path / "signed").iterdir()]
    wait_for(lambda: not any(map(is_alive, workers)))
    with forked(work, tmp_path / "second") as second:
        second.join(200)
    said = (tmp_path / "second").read_text()
    assert said.splitlines()[-1] == fingerprint, said
    there = int(said.split("continuing a stopped decoding: ")[1].split()[0])
    assert 2 * CHUNK <= there < NUM_IMAGES
    assert f"decoded {NUM_IMAGES + 1 - there} images" in said
    assert [path for path in (tmp_path / "cache").iterdir() if path.suffix == ".unfinished"] == []


@dataclass(frozen=True)
class Unequal:
    """Reads the last chunk for ever."""

    folder: Path

    def __call__(self, index: int) -> Image.Image:
        if index == 3 * CHUNK:
            (self.folder / "busy").write_text(str(os.getpid()))
            time.sleep(10_000)
        return Image.new("L", (1, 1))


def kill_the_idle_one(folder: Path) -> None:
    """Decode four chunks in two processes, and kill the one that has no work left."""
    filling._WORTH_A_FORK = 0.0
    count = 4 * CHUNK
    for name, shape in (("images", (count, 1, 1, 1)), ("digests", (count, 16))):
        np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, shape)
    job = Job(Unequal(folder), Preprocessing(1, 1), folder)
    chunks = fill(job, [Task(chunk, None) for chunk in range(4)], 2)
    for _ in range(3):
        next(chunks)
    wait_for((folder / "busy").exists)
    time.sleep(0.5)  # the other one waits for work, and holds the lock of the queue meanwhile
    busy = int((folder / "busy").read_text())
    (idle,) = (child for child in active_children() if child.pid != busy)
    idle.kill()
    try:
        next(chunks)
    except UserError as error:
        print(error, active_children())


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_process_that_is_killed_ends_the_others(tmp_path: Path) -> None:
    with forked(partial(kill_the_idle_one, tmp_path), tmp_path / "said") as process:
        process.join(100)
    said = (tmp_path / "said").read_text()
    assert "that decodes images was killed" in said and said.endswith("[]\n"), said


def test_of_two_runs_at_once_one_decodes_and_the_other_waits(
    folders: list[str], tmp_path: Path, fingerprint: str
) -> None:
    work = partial(open_photographs, *folders)
    with forked(work, tmp_path / "one") as one, forked(work, tmp_path / "two") as two:
        for process in (one, two):
            process.join(200)
            assert process.exitcode == 0
    texts = [(tmp_path / name).read_text() for name in ("one", "two")]
    assert [said.splitlines()[-1] for said in texts] == [fingerprint] * 2
    texts.sort(key=lambda said: "waiting" in said)
    assert f"decoded {NUM_IMAGES + 1} images" in texts[0] and "waiting" not in texts[0]
    assert "waiting for another process" in texts[1] and "images in" not in texts[1]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_while_decoding_ends_the_run_and_keeps_what_is_decoded(
    photographs: Path, tmp_path: Path, number: int, code: int
) -> None:
    words = [
        f"data.root={photographs}",
        f"data.cache_dir={tmp_path / 'cache'}",
        f"log_dir={tmp_path / 'logs'}",
    ]
    settings = ["data=image_folder", "model=lenet5", "trainer=cpu", "data.num_workers=2"]
    work = partial(main, ["train", *settings, *words])
    with forked(work, tmp_path / "said", session=True) as process:
        wait_for(
            lambda: lines_of("chunks.jsonl", tmp_path / "cache") > 2 or process.exitcode is not None
        )
        assert process.pid is not None
        os.killpg(process.pid, number)  # as a terminal does: to the workers as well
        process.join(100)
    said = (tmp_path / "said").read_text()
    assert process.exitcode == code, said
    assert "Traceback" not in said and "decoded" not in said, said
    (journal,) = (tmp_path / "cache").glob("*.unfinished/chunks.jsonl")
    assert journal.read_text().count("{") >= 1


def test_a_signal_while_processes_are_started_is_not_lost(tmp_path: Path) -> None:
    script = """
import os, signal, threading, time
from strided.system.signals import Interrupted, Interruption, held_back

threading.Thread(target=time.sleep, args=(5,), daemon=True).start()  # this one may receive it
parent = os.getpid()
os.register_at_fork(after_in_parent=lambda: (os.kill(parent, signal.SIGINT), time.sleep(0.2)))
try:
    with Interruption().listening(), held_back():
        if os.fork() == 0:
            os._exit(0)
except Interrupted as error:
    print(error.exit_code)
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.stdout, done.stderr) == ("130\n", "")


MEMORY = """
import sys
from dataclasses import dataclass
from pathlib import Path
import numpy as np
from PIL import Image
from strided.data import ImageDataModule, Preprocessing, Source

@dataclass(frozen=True)
class Plain:
    def __call__(self, index):
        return Image.fromarray(np.full((256, 256, 3), index % 251, np.uint8))

class Many(ImageDataModule):
    name = "many"

    def make_source(self):
        count = int(sys.argv[2])
        labels = np.arange(count) % 2
        names = [str(index) for index in range(count)]
        return Source(["a", "b"], names, labels, np.full(count, ""), Plain(), "many")

def anonymous():
    return int(Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0])

data = Many(cache_dir=sys.argv[1], num_workers=1)
data.use(Preprocessing(3, 256))
before = anonymous()
data.setup()
for split in data.splits:
    for batch in data.loader(split):
        assert len(batch.images)
print(data.preprocessing.mean, (anonymous() - before) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at /proc")
def test_a_set_takes_no_more_memory_than_some_batches(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path), "1000"],  # 197 MB
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 150  # MB


def failing_job(folder: Path, error: Exception) -> Job:
    for name, shape in (("images", (3, 1, 4, 4)), ("digests", (3, 16))):
        np.save(folder / f"{name}.npy", np.ones(shape, dtype=np.uint8))
    return Job(lambda _: failing(error), Preprocessing(1, 4), folder)


def failing(error: Exception) -> Image.Image:
    with image_errors():
        raise error


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "Input/output error"), MemoryError(), OSError(errno.EMFILE, "")]
)
def test_a_fault_that_may_pass_is_not_kept_as_a_broken_image(
    tmp_path: Path, error: Exception
) -> None:
    job = failing_job(tmp_path, error)
    with pytest.raises(UserError, match="for now"):
        Filler(job)(Task(0, None))


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "gone"), OSError("truncated")])
def test_a_fault_of_the_file_is_kept(tmp_path: Path, error: Exception) -> None:
    job = failing_job(tmp_path, error)
    assert sorted(Filler(job)(Task(0, None)).errors or {}) == [0, 1, 2]
