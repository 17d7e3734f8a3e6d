import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from strided.cli import main
from strided.training.execution import NoProfiler, with_fused_step
from strided.training.loading import find_checkpoint, load_task

pytestmark = pytest.mark.usefixtures("blank_figures")

Train = Callable[..., Path]
SGD: dict[str, Any] = {"_target_": "torch.optim.SGD", "lr": 0.1}


def results(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return loaded


def checkpoint(folder: Path) -> dict[str, Any]:
    return dict(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True))


def test_the_fused_step_is_used_where_there_is_one() -> None:
    assert with_fused_step(SGD, {})["fused"] is True
    assert "fused" not in with_fused_step({"_target_": "torch.optim.RMSprop"}, {})


@pytest.mark.parametrize("typed", [{"fused": False}, {"foreach": True}, {"differentiable": True}])
def test_an_implementation_that_was_typed_stays(typed: dict[str, Any]) -> None:
    assert with_fused_step({**SGD, **typed}, {}) == {**SGD, **typed}


MIXED = ("16", "16-mixed", "bf16", "bf16-mixed")


@pytest.mark.parametrize("precision", [*MIXED, "bf16-true", "32-true"])
@pytest.mark.parametrize("clip", [None, 0.0, 1.0])
def test_only_gradients_clipped_in_mixed_precision_have_no_fused_step(
    precision: str, clip: float | None
) -> None:
    trainer = {"precision": precision, "gradient_clip_val": clip}
    refused_by_lightning = precision in MIXED and clip == 1.0
    assert with_fused_step(SGD, trainer).get("fused", False) is not refused_by_lightning


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradients_are_clipped_in_each_precision(
    run_train: Train, capsys: pytest.CaptureFixture[str], precision: str, algorithm: str
) -> None:
    clipping = (f"trainer.precision={precision}", "trainer.gradient_clip_val=1e-6")
    words = (f"trainer.gradient_clip_algorithm={algorithm}", "trainer.limit_train_batches=2")
    folder = run_train("model=mlp", "model.hidden=[8]", *clipping, *words, "optimizer=sgd")
    fused = results(folder)["execution"]["fused_optimizer"]
    assert fused is (precision == "bf16-true")
    assert ("steps are not fused" in capsys.readouterr().out) is not fused


def test_a_fused_step_that_was_typed_is_not_clipped_in_mixed_precision(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["trainer.precision=bf16-mixed", "trainer.gradient_clip_val=1.0"]
    command = ["train", *words, "optimizer.fused=true", f"log_dir={log_dir}"]
    assert main(command) == 1
    assert "Try optimizer.fused=false" in capsys.readouterr().err


def test_the_fused_step_learns_what_the_plain_one_does(run_train: Train) -> None:
    one, two = run_train(), run_train("optimizer.fused=false")
    assert results(one)["execution"]["fused_optimizer"] is True
    assert results(two)["execution"]["fused_optimizer"] is False
    assert results(one)["test/loss"] == pytest.approx(results(two)["test/loss"], rel=1e-4)


def test_switches_are_recorded(run_train: Train) -> None:
    folder = run_train("trainer.precision=bf16-mixed", "channels_last=false")
    found = results(folder)["execution"]
    assert found.items() >= {"precision": "bf16-mixed", "channels_last": False}.items()
    assert found.items() >= {"device": "cpu", "compile": False, "resident": False}.items()
    assert results(folder)["inference_precision"] == "32-true"  # as on any CPU
    assert load_task(folder / "checkpoints" / "best.ckpt").precision == "bf16-mixed"
    assert checkpoint(folder)["hyper_parameters"]["channels_last"] is False
    assert main(["eval", f"checkpoint={folder}", f"log_dir={folder.parents[2]}"]) == 0


def test_the_memory_format_changes_rounding_only(run_train: Train) -> None:
    words = ("model=resnet_cifar", "data.train_fraction=0.2")
    one, two = run_train(*words), run_train(*words, "channels_last=false")
    assert results(one)["test/loss"] == pytest.approx(results(two)["test/loss"], rel=1e-2)


def test_what_a_run_switches_is_switched_back(
    run_train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    before = torch.get_float32_matmul_precision(), torch.get_num_threads()
    folder = run_train("matmul_precision=medium")
    assert load_task(find_checkpoint(folder)).matmul_precision == "medium"  # for eval and others
    assert (torch.get_float32_matmul_precision(), torch.get_num_threads()) == before
    assert os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] == "1"


def test_a_profiler_that_was_asked_for_is_used(run_train: Train) -> None:
    folder = run_train("debug=profiler")
    assert "run_training_batch" in (folder / "run.log").read_text()


def test_no_profiler_nests_and_lets_errors_through() -> None:
    profiler = NoProfiler()
    with pytest.raises(ValueError, match="inside"), profiler.profile("a"), profiler.profile("b"):
        raise ValueError("inside")
    with profiler.profile("c"):
        pass
