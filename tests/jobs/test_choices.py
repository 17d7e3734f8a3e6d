"""What a run says it was composed of."""

from pathlib import Path

import pytest

from strided.config.compose import compose
from strided.errors import UserError
from strided.jobs.choices import by_overlays, show_choices
from strided.jobs.job import compose_choices
from strided.system.verbosity import ENDING, showing


def shown(capsys: pytest.CaptureFixture[str], verb: str, *words: str) -> str:
    config, _, choices = compose_choices(verb, words)
    show_choices(verb, choices, config, words, None)
    text = capsys.readouterr().out
    assert all(len(line) <= 100 for line in text.splitlines())
    return " ".join(line.strip() for line in text.splitlines())


def test_no_option_makes_a_name_that_leads_out_of_log_dir(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "...yaml").write_text("# @package _global_\nseed: 3\n")
    with pytest.raises(UserError, match="leads out of log_dir"):
        compose_choices("train", ["experiment=.."], tmp_path)
    assert compose_choices("train", ["experiment=..", "name=mine"], tmp_path)[1] == "mine"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["optimizer.lr=1e-2", "seed=3", "log_dir=x"], ["optimizer=adam (lr=1e-2)", "  seed=3"]),
        (["~callbacks.early_stopping"], ["callbacks=default (~early_stopping)"]),
        (["logger=[wandb,tensorboard]"], ["logger=[wandb,tensorboard]"]),
        (["experiment=googlenet_cifar10"], ["model=googlenet", "(max_epochs=8)", "experiment="]),
        (
            ["debug=limit", "trainer.max_epochs=9", "model=timm", "model.name=test_resnet"],
            ["(max_epochs=9, limit_train_batches=5,", "model=timm (name=test_resnet)"],
        ),
    ],
)
def test_options_are_shown_with_what_differs(
    words: list[str], expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = shown(capsys, "train", *words)
    assert said.startswith("data=") and "x" not in said.split("log_dir")[1:]
    assert [part for part in expected if part not in said] == []


def test_a_verb_without_chosen_groups_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "eval", "checkpoint=best.ckpt") == ""
    assert "data=image_folder (root=photos.zip)" in shown(
        capsys, "eval", "checkpoint=best.ckpt", "data=image_folder", "data.root=photos.zip"
    )
    with showing(ENDING):
        assert shown(capsys, "train") == ""


def test_an_option_that_needs_an_experiment_is_shown_without_its_values(
    tmp_path: Path,
) -> None:
    for group, name, text in (
        ("model", "needy", "_target_: strided.models.MLP\ndropout: ${transfer.rate}\n"),
        ("experiment", "mine", "# @package _global_\ntransfer:\n  rate: 0.5\n"),
    ):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{name}.yaml").write_text(text)
    chosen = {"model": "needy", "experiment": "mine"}
    config = compose("train", ["seed=1"])
    assert by_overlays("train", chosen, config, tmp_path) == {}
    assert by_overlays("train", {"experiment": "mine"}, config, tmp_path) == {"seed": "1"}
