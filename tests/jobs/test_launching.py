"""Several processes must reach what one reaches, stop as one, and say what became of them."""

import csv
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.stopping import forked

from strided.cli import main
from strided.config.trainer_node import among_others
from strided.data import BatchLoader
from strided.data.pixels.pipeline import ArrayPixels
from strided.errors import UserError
from strided.system.processes import place

ROOT = Path(__file__).parents[2]
TIMING = ("epoch_seconds", "images_per_second")
# 280 training images in 5 steps of 64, and 45 for validation: an odd number
CASE = (
    "data=digits",
    "data.train_fraction=0.201",
    "data.val_fraction=0.025",
    "trainer.max_epochs=3",
    "scheduler=one_cycle",
    "callbacks.early_stopping.patience=3",
)
TWO = ("trainer=ddp_cpu", "data.batch_size=32")
TRUSTED = ("--config-dir", "mine", "trust=[sabotage]")
SABOTAGE = """
import os
import lightning.pytorch as pl

class SignalAt(pl.Callback):
    def __init__(self, rank: int, batch: int, number: int) -> None:
        self.rank, self.batch, self.number = rank, batch, number

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_rank == self.rank and trainer.fit_loop.total_batch_idx + 1 == self.batch:
            os.kill(os.getpid(), self.number)

    def on_validation_batch_start(self, trainer, *_):
        # batch 0: in the first validation
        if trainer.global_rank == self.rank and self.batch == 0 and trainer.global_step:
            os.kill(os.getpid(), self.number)
"""


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith(("SLURM_", "TORCHELASTIC_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def sabotage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides for a callback of a module of the user's own, which workers must find too."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "sabotage.py").write_text(SABOTAGE)
    monkeypatch.chdir(tmp_path)
    return [*TRUSTED, "+callbacks.sabotage._target_=sabotage.SignalAt"]


def signal_at(rank: int, batch: int, number: int) -> list[str]:
    values = {"rank": rank, "batch": batch, "number": int(number)}
    return [f"+callbacks.sabotage.{key}={value}" for key, value in values.items()]


def train(log_dir: Path, *words: str, code: int = 0) -> Path:
    before = set(log_dir.glob("train/*/*"))
    assert main(["train", *words, f"log_dir={log_dir}"]) == code
    (folder,) = set(log_dir.glob("train/*/*")) - before
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open() as stream:
        return [{k: v for k, v in row.items() if k not in TIMING} for row in csv.DictReader(stream)]


def results_of(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "results.json").read_text()))


@pytest.fixture(scope="module")
def dropout_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two processes, undisturbed, with dropout and augmentation: everything random."""
    return train(tmp_path_factory.mktemp("whole"), *CASE, *TWO, *RANDOM)


RANDOM = ("model=mlp", "model.dropout=0.3", "augment=standard")


# what processes have to agree about, without draws of their own
AGREED = (
    "model.whitening=true",
    "augment.horizontal_flip=true",
    "augment.flip=alternating",
    "callbacks.lookahead.steps=4",
    "callbacks.target.value=0.05",
)


def test_two_processes_reach_what_one_reaches_at_the_same_global_batch(log_dir: Path) -> None:
    one = train(log_dir, *CASE, *AGREED, "trainer=cpu", "data.batch_size=64")
    two = train(log_dir, *CASE, *AGREED, *TWO)
    for key in ("epochs_to_target", "flops_to_target"):
        assert results_of(two)[key] == results_of(one)[key]
        assert results_of(two)[key]
    assert len(rows(two)) == 3
    for alone, shared in zip(rows(one), rows(two), strict=True):
        assert alone.keys() == shared.keys()
        for key in alone:
            assert float(shared[key]) == pytest.approx(float(alone[key]), abs=1e-6), key
    assert results_of(two)["test/acc"] == results_of(one)["test/acc"]
    assert results_of(two)["tested"] == results_of(one)["tested"] == 359
    assert len((two / "predictions.csv").read_text().splitlines()) == 360
    assert sorted(path.name for path in log_dir.glob("train/*/*")) == sorted([one.name, two.name])


def test_muon_takes_the_same_steps_in_two_processes(log_dir: Path) -> None:
    words = (*CASE, "optimizer=muon", "trainer.max_epochs=1")
    one = train(log_dir, *words, "trainer=cpu", "data.batch_size=64")
    two = train(log_dir, *words, *TWO)
    for alone, shared in zip(rows(one), rows(two), strict=True):
        for key in alone:  # its matrices are multiplied in bfloat16
            assert float(shared[key]) == pytest.approx(float(alone[key]), abs=5e-3), key


@pytest.mark.slow
@pytest.mark.parametrize(
    ("batch", "epochs"),
    [
        pytest.param(6, 1, id="training"),
        pytest.param(0, 0, id="validation"),
    ],
)
def test_a_signal_to_one_process_stops_all_and_resume_is_exact(
    batch: int, epochs: int, log_dir: Path, tmp_path: Path, sabotage: list[str], dropout_run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    stopped = train(
        log_dir, *CASE, *TWO, *RANDOM, *sabotage, *signal_at(1, batch, signal.SIGTERM), code=143
    )
    assert results_of(stopped)["state"] == "interrupted"
    assert (len(rows(stopped)) if epochs else (stopped / "metrics.csv").exists()) == epochs
    disarm(stopped, batch)
    if epochs:  # inside an epoch, where only as many processes can go on
        other = Path(shutil.copytree(stopped, tmp_path / "other"))
        assert main(["train", f"resume={other}", *TRUSTED, "trainer.devices=1"]) == 1
        assert "Try trainer.devices=2" in capsys.readouterr().err
    assert main(["train", f"resume={stopped}", *TRUSTED]) == 0
    assert rows(stopped) == rows(dropout_run)
    weights = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (stopped, dropout_run)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def disarm(folder: Path, batch: int) -> None:
    """Keep the sabotage from striking again."""
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(config.replace(f"batch: {batch}\n", "batch: -1\n"))


# that one process goes back to previous.ckpt is held by test_resume.py
@pytest.mark.parametrize("damaged", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_lost_process_ends_the_run_with_a_message_and_it_resumes(
    damaged: bool,
    log_dir: Path,
    sabotage: list[str],
    dropout_run: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [*sabotage, *signal_at(1, 7, signal.SIGKILL)]
    saving = ["callbacks.checkpoint.every_n_train_steps=2"]  # the last at 6, the one before at 5
    lost = train(log_dir, *CASE, *TWO, *RANDOM, *saving, *words, code=1)
    message = capsys.readouterr().err
    assert "process 1 of 2 was lost (killed by SIGKILL)" in message
    assert f"Try resume={lost}" in message and len(message.splitlines()) <= 15
    assert results_of(lost)["state"] == "failed"
    disarm(lost, 7)
    if damaged:
        os.truncate(lost / "checkpoints" / "last.ckpt", 1000)
    assert main(["train", f"resume={lost}", *TRUSTED]) == 0
    assert ("going on from previous.ckpt" in (lost / "run.log").read_text()) == damaged
    assert rows(lost) == rows(dropout_run)
    assert results_of(lost)["state"] == "finished" and "error" not in results_of(lost)


@pytest.mark.slow
def test_each_job_of_a_sweep_has_its_own_processes_and_one_folder(log_dir: Path) -> None:
    words = ["model=googlenet", "data=synthetic", "trainer=ddp_cpu", "data.batch_size=2"]
    limits = [f"trainer.limit_{split}_batches=2" for split in ("train", "val", "test")]
    swept = ["trainer.max_epochs=1", "optimizer.lr=1e-3,-1", f"log_dir={log_dir}"]
    assert main(["train", "-m", *words, *limits, *swept]) == 1
    (sweep,) = log_dir.glob("multirun/*/*")
    with (sweep / "summary.csv").open() as stream:
        table = list(csv.DictReader(stream))
    assert [row["state"] for row in table] == ["finished", "failed"]
    assert "Invalid learning rate" in table[1]["error"]
    assert sorted(path.name for path in sweep.iterdir() if path.is_dir()) == ["0", "1"]
    assert not (log_dir / "train").exists()


# not at once: between the config and the launcher's first look at signals, SIGTERM is a kill
@pytest.mark.parametrize("seconds", [0.3, pytest.param(3.0, marks=pytest.mark.slow)])
def test_a_signal_while_the_processes_start_is_an_interruption(
    log_dir: Path, seconds: float
) -> None:
    words = ["train", *CASE, *TWO, f"log_dir={log_dir}"]
    with forked(partial(main, words), log_dir.with_suffix(".output")) as run:
        while not list(log_dir.glob("train/*/*/config.yaml")):
            assert run.exitcode is None
            time.sleep(0.05)
        time.sleep(seconds)
        run.terminate()
        run.join(200)
    output = log_dir.with_suffix(".output").read_text()
    (folder,) = log_dir.glob("train/*/*")
    assert run.exitcode == 143, output
    assert results_of(folder)["state"] == "interrupted" and "Traceback" not in output


def test_a_mistake_in_the_data_is_said_once(
    log_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "data=image_folder", "data.root=/nowhere", *TWO, f"log_dir={log_dir}"]
    assert main(words) == 1
    said = capfd.readouterr().err
    assert said.count("data.root=/nowhere does not exist") == 1
    assert len([line for line in said.splitlines() if line.strip()]) <= 15


def free_port() -> int:
    """A port that a job of SLURM can have: 15000 and its number's last four digits."""
    for port in random.sample(range(15000, 25000), 100):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@contextmanager
def started(*commands: list[str], **environments: str) -> Iterator[list[subprocess.Popen[str]]]:
    """Commands of Python at once, each with the environment; none outlives the test.

    A value of `environments` that has a {} is given the number of the command.
    """
    processes: list[subprocess.Popen[str]] = []
    try:
        for number, words in enumerate(commands):
            own = {name: value.format(number) for name, value in environments.items()}
            processes.append(
                subprocess.Popen(
                    [sys.executable, *words],
                    env={**os.environ, **own},
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


@pytest.mark.slow
def test_two_agents_of_torchrun_are_two_machines_with_one_run_folder(log_dir: Path) -> None:
    agent = f"--rdzv-backend=c10d --rdzv-endpoint=localhost:{free_port()} --rdzv-id=test"
    words = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", *agent.split()]
    words += [str(ROOT / "src" / "train.py"), *CASE, "data.batch_size=32", "trainer=cpu"]
    words += [f"log_dir={log_dir}"]
    with started(words, words) as agents:
        output = "".join(agent.communicate(timeout=200)[0] for agent in agents)
    assert [agent.returncode for agent in agents] == [0, 0], output
    (folder,) = log_dir.glob("train/*/*")
    assert len(rows(folder)) == 3
    assert results_of(folder)["state"] == "finished"
    assert output.count("epoch 2/2") == 1  # one process speaks


@pytest.mark.slow  # the port follows from the job's number, and may be taken
def test_tasks_of_slurm_are_one_run(log_dir: Path) -> None:
    slurm = {
        "SLURM_JOB_ID": str(free_port() - 15000),
        "SLURM_JOB_NAME": "train",
        "SLURM_NTASKS": "2",
        "SLURM_NNODES": "1",
        "SLURM_NODELIST": "localhost",
        "SLURM_PROCID": "{}",
        "SLURM_LOCALID": "{}",
    }
    words = [str(ROOT / "src" / "train.py"), *CASE, "data.batch_size=32", f"log_dir={log_dir}"]
    with started(words, words, **slurm) as tasks:
        output = "".join(task.communicate(timeout=60)[0] for task in tasks)
    assert [task.returncode for task in tasks] == [0, 0], output
    (folder,) = log_dir.glob("train/*/*")
    assert len(rows(folder)) == 3


def test_srun_on_two_machines_becomes_torchruns_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    variables = {
        "SLURM_JOB_ID": "81234",
        "SLURM_NTASKS": "4",
        "SLURM_NNODES": "2",
        "SLURM_PROCID": "3",
        "SLURM_LOCALID": "1",
        "SLURM_NODEID": "1",
        "SLURM_NODELIST": "gpu[07-08]",
    }
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # so that monkeypatch removes what place() sets
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert place() == (3, 4, 1, 2)
    assert os.environ["MASTER_ADDR"] == "gpu07" and os.environ["MASTER_PORT"] == "16234"


def test_a_batch_script_of_slurm_is_no_task(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}.items():
        monkeypatch.setenv(name, value)
    assert main(["eval", "checkpoint=nowhere"]) == 1
    assert "checkpoint=nowhere does not exist" in capsys.readouterr().err


def test_what_needs_one_process_refuses_several(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for words in (
        ["train", "-m", "seed=0,1"],
        ["eval", "checkpoint=x"],
        ["train", "search=optuna"],
    ):
        assert main(words) == 1
        assert "Try it without a launcher" in capsys.readouterr().err


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    here = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}
    for name, value in here.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(UserError, match=r"2 processes .* has 1 GPU for them.*nproc-per-node=1"):
        among_others({"accelerator": "gpu"})
    assert among_others({"accelerator": "cpu"})["devices"] == 2
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert among_others({"accelerator": "gpu"})["devices"] == 2


@pytest.mark.parametrize("count", [23, 24, 1])
def test_shares_of_an_evaluation_hold_each_image_once(count: int) -> None:
    images = ArrayPixels(np.zeros((count, 1, 2, 2), dtype=np.uint8))
    seen: list[int] = []
    shares = [
        BatchLoader(
            images, np.arange(count), np.arange(count), 4, rank=r, world_size=3, mark_repeated=True
        )
        for r in range(3)
    ]
    assert len({len(share) for share in shares}) == 1
    for share in shares:
        seen += [label for batch in share for label in batch.labels.tolist() if label >= 0]
    assert sorted(seen) == list(range(count))
