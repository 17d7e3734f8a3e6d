"""The launchers, their --help and --cfg, and what a run says and leaves. test_wheel.py installs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import strided
from strided.cli import main
from strided.config.yaml_files import CONF_DIR, group_options, verb_keys
from strided.verbs.table import VERBS

SRC = CONF_DIR.parent / "src"


def start(script: str, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a launcher as a user does, from another directory."""
    return subprocess.run(
        [sys.executable, str(SRC / script), *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_train_runs_from_any_directory(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = start(
        "train.py",
        "debug=fast_dev_run",
        "trainer=cpu",
        "log_dir=my logs",
        cwd=elsewhere,
    )
    assert done.returncode == 0, done.stderr
    assert "test accuracy" in done.stdout and "training time" in done.stdout
    assert [entry.name for entry in elsewhere.iterdir()] == ["my logs"]
    (folder,) = elsewhere.glob("my logs/train/lenet5-digits/*")
    assert json.loads((folder / "results.json").read_text())["state"] == "finished"


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_launcher_that_only_enters(verb: str) -> None:
    text = (SRC / f"{verb}.py").read_text()
    assert f"python src/{verb}.py" in text
    assert len(text.splitlines()) < 12


def test_launchers_hide_no_module_of_the_standard_library() -> None:
    names = {file.stem for file in SRC.glob("*.py")}
    assert names == set(VERBS)
    assert not names & sys.stdlib_module_names


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_the_overview_names_the_verbs(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert all(f"  {verb}" in shown for verb in VERBS)


@pytest.mark.parametrize("flag", ["-h", "--help"])
@pytest.mark.parametrize("verb", VERBS)
def test_help_shows_groups_options_keys_and_commands(
    verb: str, flag: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, flag]) == 0
    shown = capsys.readouterr().out
    groups, keys = verb_keys(verb)
    options = group_options([CONF_DIR])
    words = set(re.sub("[,=.]", " ", shown).split())  # keys within keys are shown too
    assert set(keys) <= words
    assert {name for group in groups for name in (group, *options[group])} <= words
    assert sum(f"python src/{verb}.py" in line for line in shown.splitlines()) >= 3
    assert all(len(line) <= 120 for line in shown.splitlines())


def test_help_shows_the_options_of_an_own_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "my_net.yaml").write_text("_target_: strided.models.MLP\n")
    assert main(["train", "--config-dir", str(tmp_path), "--help"]) == 0
    assert "my_net" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("verb", "words"),
    [
        ("train", ["model=mlp", "optimizer.lr=0.5", "name=größe"]),
        ("eval", ["checkpoint=a b", "split=val"]),
        ("predict", ["checkpoint=x", "input=my photos/*.jpg"]),
    ],
)
def test_cfg_job_prints_the_config_as_yaml_and_runs_nothing(
    verb: str, words: list[str], log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([verb, *words, f"log_dir={log_dir}", "--cfg", "job"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown == strided.compose(verb, [*words, f"log_dir={log_dir}"])
    assert not log_dir.exists()


def test_flags_may_stand_anywhere(capsys: pytest.CaptureFixture[str]) -> None:
    shown = []
    for words in (["--cfg", "job", "model=mlp"], ["model=mlp", "-c", "job"]):
        assert main(["train", *words]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0] == shown[1]


@pytest.mark.parametrize(
    "words", [["--cfg", "job", "-m"], ["--cfg", "job", "resume=run"], ["-m", "resume=run"]]
)
def test_flags_that_exclude_each_other_are_refused(
    words: list[str], log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *words, f"log_dir={log_dir}"]) == 1
    assert "exclude each other" in capsys.readouterr().err
    assert not log_dir.exists()


def test_train_from_python_resumes(copied_run: Path) -> None:
    before = json.loads((copied_run / "results.json").read_text())
    (copied_run / "predictions.csv").unlink()
    found = strided.train([f"resume={copied_run}"])
    assert found["state"] == "finished" and found["test/acc"] == before["test/acc"]
    assert json.loads((copied_run / "results.json").read_text()) == found
    assert (copied_run / "predictions.csv").is_file()


def test_train_from_python_gives_what_results_json_has(log_dir: Path) -> None:
    results = strided.train(
        [
            "model=mlp",
            "model.hidden=[8]",
            "trainer.max_epochs=1",
            "trainer=cpu",
            f"log_dir={log_dir}",
        ]
    )
    (file,) = log_dir.glob("train/mlp-digits/*/results.json")
    assert json.loads(file.read_text()) == results
    assert results["state"] == "finished" and 0 <= results["test/acc"] <= 1


def test_trust_typed_to_train_in_python_counts(
    log_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = "import torch\nclass Loss(torch.nn.CrossEntropyLoss):\n    pass\n"
    (tmp_path / "own_losses.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    words = ["loss._target_=own_losses.Loss", "trust=[own_losses]", "debug=fast_dev_run"]
    results = strided.train([*words, "trainer=cpu", f"log_dir={log_dir}"])
    assert results["state"] == "finished"


def test_a_mistake_from_python_is_a_user_error(log_dir: Path) -> None:
    with pytest.raises(strided.UserError, match="Did you mean lenet5"):
        strided.train(["model=lenet", f"log_dir={log_dir}"])
    with pytest.raises(strided.UserError, match="does not exist"):
        strided.load("nowhere.ckpt")
