"""--help of a group and of an option, docs/reference.md, and what other tools' names lead to."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from strided.cli import main
from strided.config.hints import ADVICE, HINTS, keys_of
from strided.config.options import Option, group_meanings, option_of, plain_keys
from strided.config.overrides import normalise
from strided.config.yaml_files import CONF_DIR, group_options, verb_keys
from strided.verbs.help import commands
from strided.verbs.reference import reference
from strided.verbs.table import VERBS

ROOT = CONF_DIR.parent
COLUMNS = 100


@pytest.fixture(scope="module")
def options() -> list[Option]:
    """Every option of every group."""
    groups = group_options([CONF_DIR])
    return [option_of(group, name, [CONF_DIR]) for group in groups for name in groups[group]]


def test_every_argument_has_a_meaning_and_a_type(options: list[Option]) -> None:
    arguments = [one for option in options for part in option.parts for one in part.arguments]
    assert len(arguments) > 500
    assert not [one.key for one in arguments if not one.meaning or not one.type]


def test_every_option_says_what_it_is(options: list[Option]) -> None:
    assert not [f"{one.group}={one.name}" for one in options if not one.comments.header]


@pytest.mark.parametrize("verb", VERBS)
def test_every_key_and_group_of_a_verb_has_a_meaning(verb: str) -> None:
    assert all(argument.meaning for argument in plain_keys(verb))
    assert set(group_meanings(verb)) == set(verb_keys(verb)[0])


def test_two_commands_of_every_option_are_understood(options: list[Option]) -> None:
    for option in options:
        shown = commands("train", option.group, option.name, [CONF_DIR])
        assert len(set(shown)) == 2
        for command in shown:
            words = command.removeprefix("python src/train.py ").replace('"', "").split()
            assert f"{option.group}={option.name}" in words
            assert normalise("train", words, multirun=True)


def test_an_option_shows_its_arguments_with_type_default_and_meaning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "data=csv", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "data.val_fraction=0.1" in shown
    assert "The column of the patient, camera or day" in shown
    assert "[merge, keep or null]" in shown
    assert shown.count("python src/train.py") == 2
    assert max(map(len, shown.splitlines())) <= COLUMNS


def test_a_group_alone_shows_its_options_and_lightnings_arguments(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "trainer", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "ddp_cpu  Two processes on the CPU" in shown
    assert "trainer.accumulate_grad_batches=1" in shown
    assert "Accumulates gradients over k batches" in shown
    assert "trainer.logger" not in shown and "trainer.plugins" not in shown  # nobody can type them


def test_one_key_alone_is_shown_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "trainer.gradient_clip_val=1", "seed", "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("trainer.gradient_clip_val=null [a number or null]")
    assert "seed=0 [a whole number]\n  initial weights" in shown
    assert main(["train", "trainer", "trainer.max_epochs", "--help"]) == 0
    group, key = capsys.readouterr().out.split("\n\ntrainer.max_epochs=")
    assert group.startswith("trainer: ") and key.startswith("15 [")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("model=resnt18", "Did you mean resnet18?"),
        ("epochs", "Try trainer.max_epochs="),
        ("data.wrokers", "Did you mean data.num_workers?"),
        ("search.metric", "search has no option by default"),
        ("model='lenet5'", "model='lenet5' is no option"),
        ("model=glob(*)", "model=glob(*) is no option"),
        ("model=", "there is no such option. Try model=airbench\nThe options of model: airbench, "),
    ],
)
def test_help_on_what_is_not_there_is_refused(
    words: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", words, "--help"]) == 1
    assert expected in capsys.readouterr().err


def test_help_on_an_option_behind_a_plus_is_of_that_option(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["train", "+model=mlp", "--help"]) == 0
    assert "model.hidden=[512,256]" in capsys.readouterr().out


def test_help_on_transfer_leads_to_its_stages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "transfer", "--help"]) == 0
    assert "transfer=frozen --help" in " ".join(capsys.readouterr().out.split())
    assert main(["train", "transfer=frozen", "--help"]) == 0
    assert "transfer.stages.frozen.epochs=30" in capsys.readouterr().out


OWN_FILES = {
    "model/five.yaml": b"defaults: 5\n",
    "model/list.yaml": b"- 1\n",
    "model/latin.yaml": b"# f\xfcr\n",
    "experiment/five.yaml": b"defaults: [5, {override /model: mlp}]\n",
}


@pytest.fixture(scope="module")
def own_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of YAML that no option can be, and without most groups."""
    folder = tmp_path_factory.mktemp("own")
    for name, content in OWN_FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("file", OWN_FILES)
def test_help_on_a_yaml_that_is_no_option_names_it(
    file: str, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    word = file.removesuffix(".yaml").replace("/", "=")
    assert main(["train", word, "--help", "--config-dir", str(own_folder)]) == 1
    said = capsys.readouterr().err
    assert str(own_folder / file) in said and "; expected " in said


def test_help_on_groups_of_ones_own_folder_has_no_traceback(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "model", "--help", "--config-dir", str(own_folder)]) == 0
    path = ["--config-path", str(own_folder)]
    assert main(["train", "--help", *path]) == 0
    assert main(["train", "model", "--help", *path]) == 0
    assert main(["train", "optimizer", "--help", *path]) == 1
    assert "there is no optimizer/ with YAML" in capsys.readouterr().err


def test_a_yaml_that_is_no_utf8_is_named(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "model=latin", "--cfg", "job", "--config-dir", str(own_folder)]) == 1
    assert "latin.yaml cannot be read" in capsys.readouterr().err


def test_help_shows_the_arguments_of_an_own_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ownnet.py").write_text(
        "import torch\n\nclass Tiny(torch.nn.Module):\n"
        '    """A network.\n\n    Args:\n        width: Filters of a layer. More cost time."""\n'
        "    def __init__(self, num_classes: int, in_channels: int, width: int = 4) -> None: ...\n"
    )
    folder = tmp_path / "mine" / "model"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text("# Ours.\n_target_: ownnet.Tiny\nwidth: 8 # enough\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["train", "model=tiny", "--help", "--config-dir", str(tmp_path / "mine")]
    assert main(words) == 1
    assert "trust=[ownnet]" in capsys.readouterr().err
    assert main([*words, "trust=[ownnet]"]) == 0
    shown = capsys.readouterr().out
    assert "model=tiny: Ours." in shown
    assert re.search(r"model\.width=8 +Filters of a layer; enough \[a whole number\]", shown)
    assert "num_classes" not in shown


def test_the_reference_is_up_to_date() -> None:
    pins = dict(re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    others = [
        name
        for name in ("lightning", "torch", "optuna")
        if version(name).split("+")[0] != pins[name]
    ]
    if others:
        pytest.skip(f"its words are those of other versions of {', '.join(others)}")
    assert reference() == (ROOT / "docs" / "reference.md").read_text("utf-8"), "make reference"


# names of other tools


def test_every_hint_leads_to_what_is_there(options: list[Option]) -> None:
    known = {one.key for option in options for part in option.parts for one in part.arguments}
    known |= {key for verb in VERBS for names in verb_keys(verb) for key in names}
    chosen = {f"{option.group}={option.name}" for option in options}
    for words in HINTS.values():
        assert keys_of(words) and set(keys_of(words)) <= known, words
        for key, value in re.findall(r"(?:^|[ ,])(\w+)=(\w+)", words):
            assert f"{key}={value}" in chosen or key in ("accelerator", "compile", "precision")


def test_a_name_has_one_hint() -> None:
    names = [name for names in (*HINTS, *ADVICE) for name in names.split()]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("train lr=0.1", "Try optimizer.lr=0.1"),
        ("train epochs=5", "Try trainer.max_epochs=5"),
        ("train batch_size=8", "Try data.batch_size=8"),
        ("train ckpt_path=a/b", "Try resume=a/b"),
        ("eval ckpt_path=a/b", "Try checkpoint=a/b"),
        ("train task_name=x", "Try name=x"),
        ("train extras.print_config=true", "--cfg job"),
        ("train hparams_search=mnist", "search=optuna"),
        ("train train=false", "src/eval.py"),
        ("train --lr 0.1", "Try optimizer.lr=0.1"),
        ("train --batch-size=8", "Try data.batch_size=8"),
        ("train --trainer.max_epochs=3", "Try trainer.max_epochs=3"),
        ("train -b 8", "Try data.batch_size=8"),
        ("train num_classes=3", "the data decide"),
        ("train model.optimizer.lr=0.1", "Try optimizer.lr="),
        ("train data.img_size=64", "Try data.image_size=64"),
        ("train -m lr=0.1,0.2", "Try optimizer.lr=0.1,0.2"),
        ("predict source=photos", "Try input=photos"),
        ("fit", "Did you mean train?"),
    ],
)
def test_names_of_other_tools_are_translated(
    typed: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(typed.split()) == 1
    assert expected in capsys.readouterr().err
