"""The learning-rate finder suggests, and leaves the run as it was."""

import json
import math
from pathlib import Path

import pytest
import torch
from tests.conftest import Train

from strided.training.callbacks.lr_finder import steepest

pytestmark = pytest.mark.usefixtures("blank_figures")

FINDER = "callbacks.lr_finder.steps=40"


def test_the_suggestion_is_where_the_loss_falls_fastest() -> None:
    rates = [10 ** (power / 10) for power in range(-60, 1)]
    losses = [2.3 / (1 + math.exp(4 * (math.log10(rate) + 2.5))) for rate in rates]
    found = steepest(rates, losses)
    assert found is not None
    assert 10**-2.7 < found < 10**-2.3
    assert steepest(rates, [1 + rate for rate in rates]) is None
    assert steepest([1.0, 2.0], [1.0, 0.5]) is None


def test_a_run_is_the_same_with_and_without_it(run_train: Train) -> None:
    words = ("augment=standard", "model=mlp", "model.dropout=0.2", "data.train_fraction=0.3")
    with_finder, without = run_train(*words, FINDER), run_train(*words)
    weights = [
        torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (with_finder, without)
    ]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[1])
    found = json.loads((with_finder / "results.json").read_text())["lr_finder"]
    assert len(found["rates"]) == len(found["losses"]) <= 40
    assert 1e-5 < found["suggestion"] < 1
    assert (with_finder / "figures" / "learning_rates.png").is_file()
    assert "is suggested; the run has 0.001" in (with_finder / "run.log").read_text()


@pytest.mark.parametrize(
    ("word", "advice"),
    [("steps=3", "steps=100"), ("highest=1e-9", "lowest=1e-6")],
)
def test_mistakes(
    word: str, advice: str, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from strided.cli import main

    words = [FINDER, f"callbacks.lr_finder.{word}", f"log_dir={log_dir}"]
    assert main(["train", *words]) == 1
    assert advice in capsys.readouterr().err
