from pathlib import Path
from typing import Any

import pytest

import strided
from strided.cli import main
from strided.config.compose import compose
from strided.config.overrides import as_typed, normalise, quoted
from strided.config.yaml_files import group_options, verb_keys
from strided.errors import UserError
from strided.sweeps.grammar import sweep_jobs

ODD_PATHS = [
    "/data/plain",
    "/data/with spaces/my images.zip",
    " leading and trailing ",
    "/data/a,b,c",
    "/data/a=b",
    "/data/(copy) [1] {2}",
    "/data/it's",
    "'begins with a quote",
    'says "hello"',
    "C:\\data\\images",
    "\\\\server\\share",
    "ends with a backslash\\",
    "two\\\\",
    "backslash before\\'quote",
    "/data/*.jpg",
    "/data/#1: 50% @home!",
    "/données/画像",
    "~/data",
    "a: b",
    "true",
    "12",
    "1e3",
    "choice(a,b)",
]


def value_of(config: Any, key: str) -> Any:
    for part in key.split("."):
        config = config[part]
    return config


@pytest.mark.parametrize("path", ODD_PATHS)
def test_a_path_arrives_as_typed(path: str) -> None:
    config = strided.compose("predict", ["checkpoint=x", f"input={path}", f"log_dir={path}"])
    assert config["input"] == config["log_dir"] == path
    assert as_typed(f"input={quoted(path)}") == f"input={path}"


@pytest.mark.parametrize(
    ("verb", "key"),
    [
        ("train", "data.root"),
        ("train", "data.cache_dir"),
        ("train", "data.extra"),
        ("train", "data.external"),
        ("train", "data.intended_use"),
        ("train", "model.weights"),
        ("train", "name"),
        ("train", "resume"),
        ("eval", "checkpoint"),
        ("eval", "data.root"),
        ("eval", "name"),
        ("predict", "checkpoint"),
        ("export", "intended_use"),
    ],
)
def test_every_path_may_hold_what_hydra_gives_a_meaning(verb: str, key: str) -> None:
    path = "my (old) runs, it's = [1]\\2\\"
    others = {
        "train": [],
        "eval": ["checkpoint=x", "data=digits"],
        "predict": ["input=x"],
        "export": ["checkpoint=x", "bundle=y"],
    }[verb]
    assert value_of(compose(verb, [*others, f"{key}={path}"]), key) == path


def test_a_path_that_is_quoted_already_is_left_alone() -> None:
    assert quoted("'a b'") == "'a b'"
    assert strided.compose("train", ["name='a b'"])["name"] == "a b"


def test_null_stays_null() -> None:
    assert strided.compose("train", ["log_dir=null", "model.weights=null"])["log_dir"] is None


def test_a_path_may_follow_the_user_across_a_sweep() -> None:
    (word,) = normalise("train", ["data.root=/my images"], multirun=True)
    assert word == "++data.root='/my images'"
    typed = ["data.root=/my images,'/a, (b)'", "data.label_columns=[a,b],[c]"]
    jobs = sweep_jobs(normalise("train", ["data=csv", "data.csv=x", *typed], multirun=True))
    assert [job[2:] for job in jobs] == [
        [f"data.root={root}", f"data.label_columns={columns}"]
        for root in ("/my images", "/a, (b)")
        for columns in ("[a,b]", "[c]")
    ]


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("trainer.limit_train_batches=3", 3),
        ("trainer.limit_train_batches=0.5", 0.5),
        ("trainer.accumulate_grad_batches=2", 2),
        ("trainer.precision=bf16-mixed", "bf16-mixed"),
        ("trainer.devices=auto", "auto"),
        ("trainer.gradient_clip_val=1.0", 1.0),
        ("trainer.deterministic=true", True),
        ("optimizer.betas=[0.8,0.9]", [0.8, 0.9]),
        ("optimizer.amsgrad=true", True),
        ("optimizer.lr=1e-4", 1e-4),
        ("optimizer.lr=1", 1),
        ("loss.class_weights.cat=2", 2),
        ("data.drop_last=true", True),
        ("data.mean=[0.5]", [0.5]),
        ("data.cache_dir=/tmp/x", "/tmp/x"),
        ("augment.rotation=5", 5),
        ("model.activation=relu", "relu"),
        ("callbacks.checkpoint.every_n_train_steps=7", 7),
        ("callbacks.early_stopping.min_delta=0.1", 0.1),
        ("callbacks.early_stopping.patience=null", None),
        ("scheduler.last_epoch=-1", -1),
        ("tags=[a,b c]", ["a", "b c"]),
        ("tags=[]", []),
        ("+trainer.max_steps=3", 3),
        ("++trainer.max_steps=3", 3),
    ],
)
def test_every_argument_of_a_target_can_be_set(typed: str, value: object) -> None:
    found = value_of(compose("train", [typed]), typed.lstrip("+").partition("=")[0])
    assert found == value and type(found) is type(value)


def test_arguments_of_other_options_can_be_set() -> None:
    config = strided.compose(
        "train",
        ["logger=wandb", "logger.wandb.project=flowers", "model=torchvision", "model.name=vgg11_bn",
         "optimizer=sgd", "optimizer.dampening=0.1", "optimizer.nesterov=false"],
    )  # fmt: skip
    assert config["logger"]["wandb"]["project"] == "flowers"
    assert config["optimizer"]["dampening"] == 0.1


def test_a_callback_can_be_switched_off() -> None:
    assert (
        strided.compose("train", ["callbacks.checkpoint=null"])["callbacks"]["checkpoint"] is None
    )


def test_an_experiment_and_debug_settings_can_be_switched_off() -> None:
    plain = strided.compose("train", [])
    assert strided.compose("train", ["experiment=null", "debug=null"]) == plain
    evaluation = strided.compose("eval", ["checkpoint=x"])
    assert strided.compose("eval", ["checkpoint=x", "data=null"]) == evaluation
    on_trial = ["experiment=lenet5_mnist", "experiment=null"]  # the last one counts
    assert strided.compose("train", on_trial) == plain


def test_what_is_typed_wins_over_an_experiment() -> None:
    typed = ["optimizer.lr=0.5", "model=mlp", "trainer.max_epochs=2"]
    for order in ([*typed, "experiment=lenet5_mnist"], ["experiment=lenet5_mnist", *typed]):
        config = strided.compose("train", order)
        assert config["optimizer"]["lr"] == 0.5
        assert config["model"]["_target_"].endswith("MLP")
        assert config["trainer"]["max_epochs"] == 2


def test_an_interpolation_follows_what_is_typed() -> None:
    config = strided.compose("train", ["scheduler=one_cycle", "optimizer.lr=0.25"])
    assert config["scheduler"]["max_lr"] == 0.25


@pytest.mark.parametrize("typed", ["model.hidden=[1,2", "optimizer.betas=(1,2", "tags=a b,]"])
def test_a_value_that_cannot_be_read_is_shown_with_the_way_to_type_lists(typed: str) -> None:
    with pytest.raises(UserError, match=r"cannot be read.*\[a,b\]"):
        strided.compose("train", [typed])


def test_groups_and_keys_are_those_of_the_yaml() -> None:
    groups, keys = verb_keys("train")
    assert {"model", "data", "experiment", "debug"} <= set(groups)
    assert {"seed", "resume", "trust"} <= set(keys) and "hydra" not in keys


def test_an_own_folder_adds_options(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "small.yaml").write_text("_target_: strided.models.MLP\nhidden: [8]\n")
    config = strided.compose
    assert "small" in group_options([tmp_path])["model"]
    with pytest.raises(UserError, match="model=small"):
        config("train", ["model=small"])
    from strided.config.compose import compose

    assert compose("train", ["model=small"], tmp_path)["model"]["hidden"] == [8]


# Sweeps


def test_every_swept_option_is_checked() -> None:
    with pytest.raises(UserError, match=r"model=lenet9.*Did you mean lenet5"):
        normalise("train", ["model=mlp,lenet9"], multirun=True)


GIFT = "{_target_: torch.utils.collect_env.run, command: touch GIFT}"
CALL = "{(): subprocess.getoutput, cmd: touch GIFT}"
LOGGING = f"{{version: 1, handlers: {{gift: {CALL}}}, root: {{handlers: [gift]}}}}"
SWEEP = "sweep: {over: {seed: [0, 1]}, x: seed, lines: seed}\n"
HYDRA = {
    "callbacks.gift": f"callbacks: {{gift: {GIFT}}}",
    "hydra_logging": f"hydra_logging: {LOGGING}",
    "job_logging": f"job_logging: {LOGGING}",
    "launcher": "launcher: {_target_: os.system}",
    "sweeper": "sweeper: {_target_: os.system}",
    "job.env_set": "job: {env_set: {PYTHONSTARTUP: GIFT}}",
    "job.chdir": "job: {chdir: true}",
    "run.dir": "run: {dir: GIFT}",
    "sweep.dir": "sweep: {dir: GIFT}",
    "output_subdir": "output_subdir: GIFT",
    "overrides.hydra": "overrides: {hydra: [hydra.job.env_set.PYTHONSTARTUP=GIFT]}",
    "overrides.task": "overrides: {task: [log_dir=GIFT]}",
    "runtime.choices.mine": "runtime: {choices: {mine: GIFT}}",
}


@pytest.mark.parametrize("key", HYDRA)
@pytest.mark.parametrize("way", ["run", "sweep", "sweep of the YAML"])
def test_a_yaml_cannot_change_a_setting_of_hydra(
    key: str, way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    gift = tmp_path / "gift"
    setting = HYDRA[key].replace("GIFT", str(gift))
    text = f"# @package _global_\nhydra: {{{setting}}}\n" + (SWEEP if "YAML" in way else "")
    (tmp_path / "mine" / "experiment" / "evil.yaml").write_text(text)
    words = ["-m", "seed=0,1"] if way == "sweep" else []
    typed = ["--config-dir", str(tmp_path / "mine"), "experiment=evil", *words]
    assert main(["train", *typed, "debug=fast_dev_run", f"log_dir={tmp_path}"]) == 1
    error = capsys.readouterr().err
    assert f"hydra.{key.partition('.')[0]}" in error and "may run any code" in error
    assert not gift.exists() and not list(tmp_path.glob("*/train-*"))


def test_a_yaml_of_the_users_own_may_leave_hydra_alone(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nseed: 3\n")
    from strided.config.compose import compose

    assert compose("train", ["experiment=mine"], tmp_path)["seed"] == 3


@pytest.mark.parametrize(
    "value", ["str(../../mine/e)", "choice(../../mine/e,lenet5_mnist)", "[../mine/e]", "../mine/e"]
)
def test_an_option_is_no_path(value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "-m", f"experiment={value}", "seed=0,1"]) == 1
    assert "mine/e: there is no such option" in capsys.readouterr().err
