"""A run that asks for more memory than there is: the allocator's own refusals, and the words."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from strided.cli import main
from strided.config.keys import Config
from strided.runs.out_of_memory import TooMuchMemoryError, telling_of_memory

pytestmark = pytest.mark.usefixtures("blank_figures")

Train = Callable[..., Path]
HUGE = "[1000000000000]"  # units of a layer: more than a processor can address
MLP = ("trainer=cpu", "trainer.max_epochs=1", "model=mlp")
# takes too much for a batch of training, from the given one on
HUNGRY = """
from torch import nn

class Hungry(nn.Module):
    fed = 20

    def __init__(self, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        self.output = nn.Linear(in_channels * image_size**2, num_classes)

    def forward(self, images):
        if self.training and images.device.type == "cpu" and len(images) > 2:
            Hungry.fed -= 1
            if Hungry.fed < 0:
                images.new_empty(len(images), 10**13)
        return self.output(images.flatten(1))
"""


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def test_a_network_that_does_not_fit_ends_in_words(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *MLP, f"model.hidden={HUGE}", f"log_dir={log_dir}"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("error: out of memory: MLP with data.batch_size=64 of 1x8x8 images")
    assert "GiB more, and this machine has" in said and "a smaller network" in said
    assert "Traceback" not in said and "resume=" not in said
    (folder,) = log_dir.glob("train/*/*")
    assert results(folder)["state"] == "failed"
    assert results(folder)["error"] in said


def test_a_batch_that_does_not_fit_leaves_a_run_to_resume(
    log_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "hungry.py").write_text(HUNGRY)
    monkeypatch.syspath_prepend(tmp_path)
    own = ["model._target_=hungry.Hungry", "~model.hidden", "~model.dropout"]
    batches = ["data.batch_size=100", "trainer.accumulate_grad_batches=3", "trainer.max_epochs=2"]
    words = [*MLP, "trust=[hungry]", *own, *batches, f"log_dir={log_dir}"]
    assert main(["train", *words]) == 1  # in the second of two epochs of 12 batches
    said = capsys.readouterr().err
    assert "Try data.batch_size=50 trainer.accumulate_grad_batches=6" in said
    (folder,) = log_dir.glob("train/*/*")
    assert f"resume={folder} goes on" in said
    weights = f"model.weights={folder / 'checkpoints' / 'last.ckpt'}"
    assert said.endswith(f"{weights}\n")
    assert main(["train", f"resume={folder}", "trust=[hungry]", "data.batch_size=50"]) == 1
    assert capsys.readouterr().err.endswith(f"which may begin with its weights: {weights}\n")
    import hungry  # type: ignore[import-not-found]

    hungry.Hungry.fed = 1000
    assert main(["train", f"resume={folder}", "trust=[hungry]"]) == 0
    assert results(folder)["state"] == "finished" and "error" not in results(folder)


def test_a_job_that_does_not_fit_lets_the_others_go_on(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*MLP, "callbacks.checkpoint=null"]
    command = ["train", "-m", *words, f"model.hidden={HUGE},[8]", f"log_dir={log_dir}"]
    assert main(command) == 1
    assert "1 of the 2 jobs failed" in capsys.readouterr().err
    (sweep,) = log_dir.glob("multirun/*/*")
    assert [results(sweep / job)["state"] for job in "01"] == ["failed", "finished"]
    assert results(sweep / "0")["error"].startswith("out of memory: MLP")


def test_a_table_of_networks_says_which_did_not_fit(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["models=[lenet5]", "batch_size=10000000000000", "seconds=0.01", "repeats=1"]
    assert main(["compare", *words, "accelerator=cpu", f"log_dir={log_dir}"]) == 1
    said = capsys.readouterr().err
    assert "lenet5: out of memory: LeNet5 with batch_size=10000000000000" in said
    assert "Try batch_size=5000000000000 or a smaller network" in said  # LeNet-5 has one size


REFUSAL = (
    "CUDA out of memory. Tried to allocate 2.34 GiB. GPU 0 has a total capacity of 79.18 GiB of "
    "which 1.06 GiB is free. Including non-PyTorch memory, this process has 78.11 GiB in use."
)


@pytest.mark.parametrize(
    ("error", "amount"),
    [
        (torch.OutOfMemoryError(REFUSAL), "asked for 2.34 GiB more"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "asked for more"),
    ],
)
def test_a_gpu_that_refuses_is_told_from_the_machine(error: Exception, amount: str) -> None:
    config: Config = {
        "model": {"_target_": "strided.models.torchvision_model", "name": "resnet50"},
        "data": {"batch_size": 4096},
        "trainer": {"precision": None},
    }
    with pytest.raises(TooMuchMemoryError) as caught, telling_of_memory(config, {}):
        raise error
    said = str(caught.value)
    assert amount in said and "this machine" not in said
    assert "data.batch_size=2048 trainer.accumulate_grad_batches=2" in said
    assert "trainer.precision=bf16-mixed, a smaller data.image_size or a smaller network" in said


def test_a_verb_that_does_not_train_offers_what_it_has() -> None:
    config: Config = {"checkpoint": "best.ckpt", "batch_size": 64, "accelerator": "auto"}
    with pytest.raises(TooMuchMemoryError) as caught, telling_of_memory(config, {}):
        raise torch.OutOfMemoryError(REFUSAL)
    said = str(caught.value)
    assert "checkpoint=best.ckpt" in said and "Try batch_size=32 or accelerator=cpu" in said


def test_other_errors_pass() -> None:
    with pytest.raises(RuntimeError, match="shapes") as caught, telling_of_memory({}, {}):
        raise RuntimeError("shapes cannot be multiplied")
    assert not isinstance(caught.value, TooMuchMemoryError)
