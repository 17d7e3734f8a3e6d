"""Decoding by several processes: real files, real signals, real processes."""

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from strided.config.yaml_files import CONF_DIR
from strided.data import Preprocessing
from strided.data.pixels.filling import CHUNK, Filler, Job, Task
from strided.data.pixels.store import open_store
from strided.data.reading.decoding import image_errors
from strided.data.reading.folder import folder_source
from strided.errors import UserError

SRC = CONF_DIR.parent / "src"
NUM_IMAGES = 7 * CHUNK + 1
PLACE = Preprocessing(3, 16)

DECODE = """
import logging, os, sys
from dataclasses import dataclass, replace
from multiprocessing import set_start_method
from pathlib import Path
from strided.data.pixels import filling, store
from strided.data.reading.folder import folder_source
from strided.data.preprocessing import Preprocessing

@dataclass(frozen=True)
class Signed:  # each process leaves its number
    read: filling.Reader
    folder: Path

    def __call__(self, index):
        (self.folder / str(os.getpid())).touch()
        return self.read(index)

if __name__ == "__main__":
    root, cache, signed, method = sys.argv[1:]
    logging.basicConfig(level="INFO", stream=sys.stdout, format="%(message)s")
    set_start_method(method)
    filling._WORTH_A_FORK = filling._WORTH_A_START = 0.0
    source = folder_source(Path(root))
    source = replace(source, read=Signed(source.read, Path(signed)))
    store = store.open_store(source, Preprocessing(3, 16), Path(cache), 2)
    print(store.fingerprint)
"""


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
def decode(photographs: Path, tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start a process that opens the store of the photographs with two processes of its own."""
    script = tmp_path / "script.py"
    script.write_text(DECODE)
    (tmp_path / "signed").mkdir()

    def start(method: str = "fork") -> subprocess.Popen[str]:
        words = (photographs, tmp_path / "cache", tmp_path / "signed", method)
        return subprocess.Popen(
            [sys.executable, str(script), *map(str, words)],
            env={**os.environ, "PYTHONPATH": str(SRC)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return start


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


def last_line(process: subprocess.Popen[str]) -> tuple[str, str]:
    """All that a process said, and the last of it."""
    said = process.communicate(timeout=200)[0]
    assert process.returncode == 0, said
    return said, said.splitlines()[-1]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.mark.parametrize(
    "method", ["fork", "forkserver", pytest.param("spawn", marks=pytest.mark.slow)]
)
def test_several_processes_decode_what_one_would(
    decode: Callable[..., subprocess.Popen[str]], tmp_path: Path, fingerprint: str, method: str
) -> None:
    said, last = last_line(decode(method))
    assert last == fingerprint and f"decoded {NUM_IMAGES + 1} images" in said
    assert len(list((tmp_path / "signed").iterdir())) == 3


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for processes in /proc")
def test_a_build_that_is_killed_goes_on(
    decode: Callable[..., subprocess.Popen[str]], tmp_path: Path, fingerprint: str
) -> None:
    first = decode()
    wait_for(lambda: lines_of("chunks.jsonl", tmp_path / "cache") > 4)
    assert first.poll() is None
    os.kill(first.pid, signal.SIGKILL)
    first.communicate(timeout=100)  # its workers hold the pipe open until they have ended, too
    workers = [int(file.name) for file in (tmp_path / "signed").iterdir()]
    wait_for(lambda: not any(map(is_alive, workers)))  # the pipe is closed just before
    said, last = last_line(decode())
    assert last == fingerprint
    there = int(said.split("continuing a stopped decoding: ")[1].split()[0])
    assert 2 * CHUNK <= there < NUM_IMAGES
    assert f"decoded {NUM_IMAGES + 1 - there} images" in said
    assert [path for path in (tmp_path / "cache").iterdir() if path.suffix == ".unfinished"] == []


UNEQUAL = """
import os, signal, sys, time
from dataclasses import dataclass
from multiprocessing import active_children
from pathlib import Path
import numpy as np
from PIL import Image
from strided.data.pixels import filling
from strided.data.preprocessing import Preprocessing
from strided.errors import UserError

folder = Path(sys.argv[1])

@dataclass(frozen=True)
class Unequal:  # the last chunk takes for ever
    def __call__(self, index):
        if index == 3 * filling.CHUNK:
            (folder / "busy").write_text(str(os.getpid()))
            time.sleep(10_000)
        return Image.new("L", (1, 1))

filling._WORTH_A_FORK = 0.0
shape = (4 * filling.CHUNK, 1, 1, 1)
for name, shape in (("images", shape), ("digests", (shape[0], 16))):
    np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.uint8, shape)
job = filling.Job(Unequal(), Preprocessing(1, 1), folder)
chunks = filling.fill(job, [filling.Task(chunk, None) for chunk in range(4)], 2)
for _ in range(3):
    next(chunks)
while not (folder / "busy").exists():
    time.sleep(0.01)
time.sleep(0.5)  # the other one waits for work, and holds the lock of the queue meanwhile
(idle,) = (p.pid for p in active_children() if p.pid != int((folder / "busy").read_text()))
os.kill(idle, signal.SIGKILL)
try:
    next(chunks)
except UserError as error:
    print(error, active_children())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks")
def test_a_process_that_is_killed_ends_the_others(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNEQUAL, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert "that decodes images was killed" in done.stdout and done.stdout.endswith("[]\n"), done


def test_of_two_runs_at_once_one_decodes_and_the_other_waits(
    decode: Callable[..., subprocess.Popen[str]], fingerprint: str
) -> None:
    ends = [last_line(process) for process in (decode(), decode())]
    assert [last for _, last in ends] == [fingerprint] * 2
    texts = sorted((said for said, _ in ends), key=lambda said: "waiting" in said)
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
    process = subprocess.Popen(
        [sys.executable, str(SRC / "train.py"), *settings, *words],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    wait_for(lambda: lines_of("chunks.jsonl", tmp_path / "cache") > 2 or process.poll() is not None)
    os.killpg(process.pid, number)  # as a terminal does: to the workers as well
    said = process.communicate(timeout=100)[0]
    assert process.returncode == code, said
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
        [sys.executable, "-c", MEMORY, str(tmp_path), "2000"],  # 393 MB
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
