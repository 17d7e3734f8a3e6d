"""A run that decodes every epoch is, to the bit, the run that decodes once."""

import csv
import fcntl
import json
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.stopping import forked

from strided.cli import main

pytestmark = pytest.mark.usefixtures("blank_figures")

# 6 batches an epoch; dropout, augmentation and order are random
CASE = (
    "model=mlp",
    "model.dropout=0.3",
    "augment=standard",
    "data=image_folder",
    "data.image_size=16",
    "data.batch_size=8",
    "data.num_workers=2",
    "trainer=cpu",
    "trainer.max_epochs=3",
)


def arguments(log_dir: Path, images: Path, pipeline: str, *more: str) -> list[str]:
    words = [f"data.root={images}", f"data.pipeline={pipeline}", f"log_dir={log_dir}"]
    return ["train", *CASE, *words, *more]


def only_run(log_dir: Path) -> Path:
    (folder,) = log_dir.glob("train/*/*")
    return folder


def outcome(folder: Path) -> tuple[list[dict[str, str]], dict[str, Any], bytes]:
    """Metrics without times, weights, predictions."""
    with (folder / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        del row["epoch_seconds"], row["images_per_second"]
    saved = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return rows, saved["state_dict"], (folder / "predictions.csv").read_bytes()


def assert_same(one: Path, two: Path) -> None:
    rows, weights, predictions = outcome(one)
    others = outcome(two)
    assert rows == others[0] and predictions == others[2]
    assert all(torch.equal(weights[name], others[1][name]) for name in weights)


def results(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "results.json").read_text()))


def test_a_streaming_run_is_that_of_the_store(tmp_path: Path, image_folder: Path) -> None:
    stored, streamed = tmp_path / "stored", tmp_path / "streamed"
    assert main(arguments(stored, image_folder, "store")) == 0
    assert main(arguments(streamed, image_folder, "streaming")) == 0
    assert_same(only_run(stored), only_run(streamed))
    found = results(only_run(streamed))
    assert found["duplicates"] is None and found["data_fingerprint"].startswith("listing:")
    assert found["split_hash"] == results(only_run(stored))["split_hash"]
    for run in (stored, streamed):  # each evaluates with the other's pipeline
        other = "streaming" if run is stored else "store"
        words = [f"checkpoint={only_run(run)}", f"data.pipeline={other}", f"log_dir={run}"]
        assert main(["eval", *words]) == 0
        (evaluated,) = run.glob("eval/*/*")
        predictions = (evaluated / "predictions.csv").read_bytes()
        assert predictions == (only_run(run) / "predictions.csv").read_bytes()


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)]
)
def test_a_streaming_run_that_is_stopped_leaves_no_process_and_resumes_exactly(
    number: signal.Signals, code: int, tmp_path: Path, image_folder: Path
) -> None:
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    often = ("data.batch_size=2", "callbacks.checkpoint.every_n_train_steps=1")
    assert main(arguments(whole, image_folder, "streaming", *often)) == 0

    words = arguments(stopped, image_folder, "streaming", *often)
    # as in a terminal: Ctrl-C reaches the processes that decode as well
    with forked(partial(main, words), tmp_path / "said", session=True) as run:
        leader = run.pid
        assert leader is not None
        wait_until(
            lambda: any(stopped.glob("train/*/*/checkpoints/last.ckpt")) or run.exitcode is not None
        )
        (os.kill if number == signal.SIGKILL else os.killpg)(leader, number)
        run.join(60)
        assert run.exitcode == code
    wait_until(lambda: not session(leader) and is_free(only_run(stopped) / "run.log"))
    if number == signal.SIGINT:
        assert "Traceback" not in (tmp_path / "said").read_text()

    assert main(["train", f"resume={only_run(stopped)}"]) == 0
    assert_same(only_run(stopped), only_run(whole))


def wait_until(happened: Callable[[], Any], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def session(leader: int) -> list[str]:
    """The processes of a session that have not ended."""
    found = []
    for file in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended just now
            state, _, _, of, *_ = file.read_text().rpartition(")")[2].split()
            if int(of) == leader and state != "Z":
                found.append(file.parent.name)
    return found


def is_free(file: Path) -> bool:
    """Whether no process, even one about to end, holds the lock."""
    with file.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def test_broken_images_met_while_training_are_counted_and_have_rows(
    tmp_path: Path, image_folder: Path
) -> None:
    for name in ("red/1.png", "green/3.png", "blue/5.jpg"):
        (image_folder / name).write_bytes(b"no image")
    assert main(arguments(tmp_path, image_folder, "streaming", "data.on_error=skip")) == 0
    folder = only_run(tmp_path)
    found = results(folder)
    assert found["skipped"] == 3 and found["state"] == "finished"
    assert (folder / "run.log").read_text().count("cannot be read: skipped") == 3
    with (folder / "predictions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == found["splits"]["test"]
    assert found["tested"] == sum(not row["error"] for row in rows)
    assert all(row["label"] == row["path"].partition("/")[0] for row in rows)


def test_a_broken_image_ends_a_streaming_run_with_its_name(
    tmp_path: Path, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (image_folder / "red" / "1.png").write_bytes(b"no image")
    assert main(arguments(tmp_path, image_folder, "streaming")) == 1
    assert "red/1.png: empty, or not an image" in capsys.readouterr().err
