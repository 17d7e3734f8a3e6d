"""The length of a run is that of its stages, unless one was typed."""

from pathlib import Path
from typing import Any

import pytest

from strided.config.compose import compose

PRETRAINED = ("model=resnet18", "model.pretrained=true")


def length(*words: str) -> Any:
    return compose("train", words)["trainer"]["max_epochs"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("transfer=none",), 15),
        (("transfer=frozen",), 30),
        (("transfer=frozen", "trainer=cpu"), 30),
        (("transfer=frozen", "trainer.max_epochs=15"), 15),
        (("transfer=frozen", "transfer.stages.frozen.epochs=4"), 4),
        (("transfer=frozen", "transfer.stages.frozen.epochs=null"), 15),
        (("transfer=two_stage",), 15),
        (("transfer=two_stage", "transfer.stages.frozen.epochs=20"), 27),
        (("transfer=two_stage", "transfer.stages.fine_tuned=null"), 8),
        (("transfer=gradual", "trainer.max_epochs=5"), 5),
        (("transfer=frozen", "debug=limit"), 2),
        (("experiment=vgg16_flowers", "transfer.stages.frozen.epochs=1"), 15),
    ],
)
def test_a_run_is_as_long_as_its_stages_unless_a_length_was_typed(
    words: tuple[str, ...], expected: int
) -> None:
    assert length(*PRETRAINED, *words) == expected


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("trainer", "_target_: lightning.pytorch.Trainer\nmax_epochs: 7\n"),
        ("experiment", "# @package _global_\ntrainer:\n  max_epochs: 7\n"),
    ],
)
def test_a_users_own_yaml_keeps_its_length(option: str, text: str, tmp_path: Path) -> None:
    (tmp_path / option).mkdir()
    (tmp_path / option / "mine.yaml").write_text(text)
    words = [*PRETRAINED, "transfer=frozen", f"{option}=mine"]
    assert compose("train", words, tmp_path)["trainer"]["max_epochs"] == 7


RECIPE = "experiment=efficientnet_lite0_flowers"


def test_a_typed_transfer_has_its_own_stages_and_what_the_experiment_says_of_these() -> None:
    stages = compose("train", [RECIPE, "transfer=frozen"])["transfer"]["stages"]
    assert list(stages) == ["frozen"] and stages["frozen"]["epochs"] == 20
    assert compose("train", [RECIPE, "transfer=none"])["transfer"]["stages"] == {}
    assert list(compose("train", [RECIPE])["transfer"]["stages"]) == ["frozen", "fine_tuned"]
    typed = [RECIPE, "transfer=frozen", "transfer.stages.fine_tuned.epochs=3"]
    assert "fine_tuned" in compose("train", typed)["transfer"]["stages"]  # which training refuses
