"""Attempts by YAML, and by the folders of a run, a sweep or a search: each is refused."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import yaml
from tests.attempts import MARKER, SMALL, Scene, attempts, put, refused

from strided.config.yaml_files import CONF_DIR

# Code: a _target_ that is no part of a classifier, in every file that holds some.

SHELL = {"command": f"touch {MARKER}"}
CODE: dict[str, dict[str, Any]] = {
    "os.system": SHELL,
    "subprocess.getoutput": {"cmd": f"touch {MARKER}"},
    "builtins.eval": {"source": f"open('{MARKER}', 'w')"},
    "builtins.open": {"file": MARKER, "mode": "w"},
    "pathlib.Path.touch": {"self": MARKER},
    "logging.FileHandler": {"filename": MARKER},
    "pickle.loads": {"data": "x"},
    "torch.save": {"obj": 1, "f": MARKER},
    "torch.load": {"f": MARKER, "weights_only": False},
    "torch.hub.load": {"repo_or_dir": MARKER, "model": "x", "source": "local"},
    "torch.utils.collect_env.run": SHELL,
    "torch.nn.modules.module.torch.serialization.os.system": SHELL,
    "hydra.utils.instantiate": {"config": {"_target_": "os.system", **SHELL}},
    "timm.create_model": {"model_name": "resnet18", "checkpoint_path": MARKER},
    "strided.data.reading.files.os.system": SHELL,
    "strided.loggers.wandb_logger.os.system": SHELL,
    "strided.system.durable.write_text": {"file": MARKER, "text": "x"},
    "strided.cli.main": {"argv": ["train", "trust=[os]", "model._target_=os.system"]},
    "lightning.pytorch.callbacks.early_stopping.pl.core.saving.save_hparams_to_yaml": {
        "config_yaml": MARKER,
        "hparams": {"a": 1},
    },
    "lightning.pytorch.callbacks.early_stopping.pl.profilers.SimpleProfiler": {"dirpath": MARKER},
    "lightning.pytorch.loggers.CSVLogger": {"save_dir": MARKER},
    "lightning.pytorch.callbacks.ModelCheckpoint": {"dirpath": MARKER},
}


def node_of(target: str, scene: Scene) -> dict[str, Any]:
    """The node that would run a target, with the path of the marker filled in."""
    text = json.dumps({"_target_": target, **CODE[target]})
    return dict(json.loads(text.replace(MARKER, str(scene.marker))))


@attempts("code in a checkpoint", "not allowed", CODE)
def _(target: str, scene: Scene) -> list[str]:
    return scene.checkpoint(put("hyper_parameters.model", node_of(target, scene)))


@attempts("code in a run folder", "not allowed", CODE)
def _(target: str, scene: Scene) -> list[str]:
    return scene.resumed(put("callbacks.theirs", node_of(target, scene)))


@attempts("code in an experiment", "not allowed", CODE)
def _(target: str, scene: Scene) -> list[str]:
    return scene.experiment({"logger": {"theirs": node_of(target, scene)}})


@attempts("place in a checkpoint", "not allowed", ["loss", "loss.class_weights", "data"])
def _(place: str, scene: Scene) -> list[str]:
    return scene.checkpoint(put(f"hyper_parameters.{place}", node_of("os.system", scene)))


PLACES = ["model", "data", "optimizer", "scheduler", "loss", "augment", "transfer", "trainer",
          "trainer.strategy", "trainer.plugins", "transfer.stages.one", "model.activation",
          "logger.theirs", "name", "seed", "tags"]  # fmt: skip


@attempts("place in a run folder", "not allowed", PLACES)
def _(place: str, scene: Scene) -> list[str]:
    return scene.resumed(put(place, node_of("os.system", scene)))


def search_folder(scene: Scene, place: str, value: Any) -> list[str]:
    """Write a stopped search with a changed plan; return what goes on with it."""
    plan = {
        "words": ["model=mlp_small", "data=digits", "trainer=cpu"],
        "seed": 0,
        "search": {
            "_target_": "strided.sweeps.search.space.Search",
            "metric": "best_val/acc",
            "direction": "maximize",
            "num_trials": 1,
            "num_workers": 1,
            "sampler": {"_target_": "optuna.samplers.RandomSampler"},
            "pruner": None,
            "space": {"optimizer.lr": "interval(1e-3,1e-1)"},
        },
    }
    put(place, value)(plan)
    scene.write("search/search.yaml", yaml.safe_dump(plan))
    return ["train", f"resume={scene.theirs / 'search'}"]


@attempts("place in a search", "not allowed", ["search.sampler", "search.pruner", "search"])
def _(place: str, scene: Scene) -> list[str]:
    return search_folder(scene, place, node_of("os.system", scene))


@attempts("a module beside a YAML", "not allowed", ["trust=[]", "trust=[lightning]"])
def _(typed: str, scene: Scene) -> list[str]:
    scene.write("conf/beside.py", f"open({str(scene.marker)!r}, 'w')\nclass Net: pass\n")
    return [*scene.experiment({"model": {"_target_": "beside.Net"}}), typed]


# Trust: words from a file are never words typed.

TRUST = {"trust": ["os"], "model": {"_target_": "os.system", "command": "true"}}


@attempts("trust in an experiment", "not allowed")
def _(_: str, scene: Scene) -> list[str]:
    return scene.experiment(TRUST)


@attempts("trust in a run folder", "not allowed")
def _(_: str, scene: Scene) -> list[str]:
    return scene.resumed(lambda config: config.update(TRUST))


@attempts("trust in a checkpoint", "xpected")
def _(_: str, scene: Scene) -> list[str]:
    return scene.checkpoint(lambda content: content["hyper_parameters"].update(TRUST))


def sweep_folder(scene: Scene, **changed: Any) -> list[str]:
    """Write a stopped sweep with a changed sweep.yaml; return what goes on with it."""
    words = ["data=digits", "trainer=cpu", "seed=0,1"]
    state = {"verb": "train", "words": words, "jobs": [], "trend": None, **changed}
    scene.write("sweep/sweep.yaml", yaml.safe_dump(state))
    return ["train", f"resume={scene.theirs / 'sweep'}"]


VERBS = ["../../theirs", "/etc/passwd", "cli", None, ["train"], {"a": 1}]
ONLY_TYPED = ["trust=[os]", "+trust=[os]", "hydra.launcher._target_=os.system",
              "++hydra/launcher=x", "hydra.searchpath=[file:///theirs]", "~hydra.job",
              "resume=/elsewhere"]  # fmt: skip


@attempts("verb of a sweep", "is damaged", VERBS)
def _(verb: Any, scene: Scene) -> list[str]:
    return sweep_folder(scene, verb=verb)


@attempts("word in a sweep", "counts only as typed", ONLY_TYPED)
def _(word: str, scene: Scene) -> list[str]:
    return sweep_folder(scene, words=["seed=0,1", word])


@attempts("word in a search", "counts only as typed", ONLY_TYPED)
def _(word: str, scene: Scene) -> list[str]:
    return search_folder(scene, "words", ["data=digits", word])


KEYS = ["trust", "+callbacks.x._target_", "hydra.launcher", "hydra/launcher", "log_dir", "resume",
        "a b", "seed=1 trust", "~model"]  # fmt: skip


@attempts("key in sweep.over", "counts only as typed", KEYS)
def _(key: str, scene: Scene) -> list[str]:
    over = {"seed": [0, 1], key: ["os"]}
    return scene.experiment({"sweep": {"over": over, "x": "seed", "lines": "seed"}})


@attempts(
    "key in search.space", "xpected", ["trust", "log_dir", "hydra", "hydra.run.dir", "resume"]
)
def _(key: str, scene: Scene) -> list[str]:
    return search_folder(scene, "search.space", {key: "choice(a,b)"})


@attempts("study of a sweep", "sweep.study", ["x.os", "os", "../x"])
def _(study: str, scene: Scene) -> list[str]:
    sweep = {"over": {"seed": [0]}, "x": "seed", "lines": "seed", "study": study}
    return scene.experiment({"sweep": sweep})


# Hydra has no allow-list of its own.

HYDRA: dict[str, dict[str, Any]] = {
    "job_logging": {"version": 1, "handlers": {"x": {"()": "os.system", **SHELL}}},
    "hydra_logging": {"version": 1, "formatters": {"x": {"()": "os.system", **SHELL}}},
    "callbacks": {"x": {"_target_": "os.system", **SHELL}},
    "launcher": {"_target_": "os.system", **SHELL},
    "sweeper": {"_target_": "os.system", **SHELL},
    "run": {"dir": MARKER},
    "sweep": {"dir": MARKER},
    "job": {"env_set": {"PYTHONSTARTUP": MARKER}, "chdir": True},
}


def hydra_in(key: str, scene: Scene, **more: Any) -> list[str]:
    text = json.dumps({key: HYDRA[key]}).replace(MARKER, str(scene.marker))
    return scene.experiment({"hydra": json.loads(text), **more})


@attempts("hydra in an experiment", "hydra.", HYDRA)
def _(key: str, scene: Scene) -> list[str]:
    return hydra_in(key, scene)


@attempts("hydra in an experiment that is a sweep", "hydra.", HYDRA)
def _(key: str, scene: Scene) -> list[str]:
    over = {"over": {"seed": [0, 1]}, "x": "seed", "lines": "seed"}
    return hydra_in(key, scene, sweep=over)


@attempts("launcher in a defaults list", "hydra")
def _(_: str, scene: Scene) -> list[str]:
    scene.write("conf/hydra/launcher/theirs.yaml", "_target_: os.system\ncommand: 'true'\n")
    return scene.experiment({"defaults": [{"override /hydra/launcher": "theirs"}]})


# Addresses, keys and folders count only as typed, and a name stays inside log_dir.

PLACES_OF_A_FILE: dict[str, Any] = {
    "logger.wandb": {"_target_": "strided.loggers.WandbLogger", "settings": {"base_url": "x"}},
    "logger.wandb.entity": {"_target_": "strided.loggers.WandbLogger", "entity": "theirs"},
    "logger.mlflow": {"_target_": "strided.loggers.MLflowLogger", "tracking_uri": "http://x"},
    "callbacks.theirs": {
        "_target_": "lightning.pytorch.callbacks.ModelCheckpoint",
        "dirpath": MARKER,
    },
    "data.cache_dir": MARKER,
    "trust": ["config-dir"],
}
NAMES = [
    "../../theirs",
    "/theirs",
    "a/../../../b",
    "..",
    ".",
    "a//b",
    "C:\\theirs",
    "a\nb",
    "a\x1b[2J",
]


@attempts("address or folder in an experiment", "xpected", PLACES_OF_A_FILE)
def _(place: str, scene: Scene) -> list[str]:
    text = json.dumps(PLACES_OF_A_FILE[place]).replace(MARKER, str(scene.marker))
    config: dict[str, Any] = {}
    put(place.removesuffix(".entity"), json.loads(text))(config)
    if place == "trust":
        put("data.cache_dir", str(scene.marker))(config)
    return scene.experiment(config)


@attempts("name in an experiment", "leads out of log_dir", NAMES)
def _(name: str, scene: Scene) -> list[str]:
    return scene.experiment({"name": name})


@attempts(
    "link in a run folder", "leads out", ["run.log", "results.json", "checkpoints", "figures"]
)
def _(name: str, scene: Scene) -> list[str]:
    words = scene.resumed(lambda config: None)
    file = scene.theirs / "run" / name
    if file.is_dir():
        shutil.rmtree(file)
    else:
        file.unlink()
    file.symlink_to(scene.marker)
    return words


@attempts("hard link in a run folder", "leads out", ["run.log"])
def _(name: str, scene: Scene) -> list[str]:
    words = scene.resumed(lambda config: None)
    (scene.theirs / "run" / name).unlink()
    os.link(scene.write("precious", "a file of the user"), scene.theirs / "run" / name)
    return words


# What --config-name and --config-path name is a stranger's YAML too.

PRIMARY: dict[str, tuple[str, dict[str, Any]]] = {
    "code": ("not allowed", {"logger": {"theirs": {"_target_": "os.system", **SHELL}}}),
    "trust": ("not allowed", TRUST),
    "a folder": ("sets data.cache_dir", {"data": {"cache_dir": MARKER}}),
    "an address": ("sets logger.x", {"logger": {"x": PLACES_OF_A_FILE["logger.wandb"]}}),
    "a secret": ("no file may read", {"tags": ["${oc.env:HOME}"]}),
    "resume": ("counts only as typed", {"resume": "/elsewhere"}),
    "a key of sweep.over": (
        "counts only as typed",
        {"sweep": {"over": {"trust": ["os"], "seed": [0]}, "x": "seed", "lines": "seed"}},
    ),
    **{f"hydra.{key}": ("hydra.", {"hydra": {key: HYDRA[key]}}) for key in HYDRA},
}


def begun(kind: str, scene: Scene) -> str:
    text = json.dumps(PRIMARY[kind][1]).replace(MARKER, str(scene.marker))
    return yaml.safe_dump({"defaults": ["theirs_before", "_self_"], **json.loads(text)})


def as_named(kind: str, scene: Scene) -> list[str]:
    scene.write("conf/theirs.yaml", begun(kind, scene).replace("theirs_before", "train"))
    flags = ["--config-dir", str(scene.theirs / "conf"), "--config-name", "theirs"]
    return ["train", *flags, *SMALL]


def as_folder(kind: str, scene: Scene) -> list[str]:
    conf = shutil.copytree(CONF_DIR, scene.theirs / "conf")
    (conf / "train.yaml").rename(conf / "theirs_before.yaml")
    scene.write("conf/train.yaml", begun(kind, scene))
    return ["train", "--config-path", str(conf), *SMALL]


for _kind, (_says, _node) in PRIMARY.items():
    attempts("a config that is named", _says, [_kind])(as_named)
    attempts("a folder in place of conf", _says, [_kind])(as_folder)


SECRETS: list[dict[str, Any]] = [
    {"name": "x-${oc.env:HOME}"},
    {"tags": ["${oc.env:HOME}"]},
    {"model": {"activation": "${oc.decode:${oc.env:HOME}}"}},
    {"data": {"root": "${hydra:runtime.cwd}"}},
]


@attempts("secret of the environment in an experiment", "no file may read", range(len(SECRETS)))
def _(number: int, scene: Scene) -> list[str]:
    return scene.experiment(SECRETS[number])


@attempts("secret of the environment in a sweep", "counts only as typed")
def _(_: str, scene: Scene) -> list[str]:
    return sweep_folder(scene, words=["seed=0,1", "tags=[${oc.env:HOME}]"])


@attempts("secret of the environment in a search", "xpected")
def _(_: str, scene: Scene) -> list[str]:
    return search_folder(scene, "search.space", {"optimizer.lr": "${oc.env:HOME},0.2"})


# Damage: values that strided never writes.

IN_RUN: dict[str, Any] = {
    "trainer": "abc",
    "model": [],
    "data": None,
    "callbacks": "x",
    "logger": ["csv"],
    "seed": "zero",
    "optimizer.lr": "fast",
    "model.activation": 3,
}
IN_SEARCH: dict[str, Any] = {
    "search": 3,
    "search.space": [],
    "search.metric": 1,
    "seed": "x",
    "search.num_trials": "many",
    "search.surplus": 1,
}


IN_RESULTS: dict[str, Any] = {
    "test/acc": 10**400,
    "test/acc_ci95": "ab",
    "test/nll": "<script>",
    "test/f1": [1],
    "parameters": {"total": "x"},
    "splits": None,
}
TABLES = {
    "label without a column": "path,label,predicted,error,prob/a\n1,b,a,,1\n",
    "row too long": "path,label,predicted,error,prob/a\n1,a,a,,1,0\n",
    "no class": "path,label,predicted,error\n1,a,a,\n",
    "class twice": "path,label,predicted,error,prob/a,prob/a\n1,a,a,,1,0\n",
    "probability of 2": "path,label,predicted,error,prob/a\n1,a,a,,2\n",
}


def compared(scene: Scene) -> tuple[Path, list[str]]:
    """Copy the run; return the copy and what compares both."""
    folder = shutil.copytree(scene.run, scene.theirs / "run")
    return folder, ["compare", f"runs=[{scene.run},{folder}]"]


@attempts("damage in results.json that is compared", "damaged", list(IN_RESULTS)[:-1])
@attempts("no splits in results.json that is compared", "no run of train", ["splits"])
def _(key: str, scene: Scene) -> list[str]:
    folder, words = compared(scene)
    results = json.loads((folder / "results.json").read_text())
    (folder / "results.json").write_text(json.dumps({**results, key: IN_RESULTS[key]}))
    return words


@attempts("damage in predictions.csv", "cannot be read", TABLES)
def _(kind: str, scene: Scene) -> list[str]:
    folder, words = compared(scene)
    (folder / "predictions.csv").write_text(TABLES[kind])
    return words


@attempts("number in metrics.csv that cannot be drawn", "is too large")
def _(_: str, scene: Scene) -> list[str]:
    folder, words = compared(scene)
    (folder / "metrics.csv").write_text("epoch,train/loss\n0,1e308\n1,-1e308\n")
    return words


@attempts("damage in a run folder", "xpected", IN_RUN)
def _(place: str, scene: Scene) -> list[str]:
    return scene.resumed(put(place, IN_RUN[place]))


@attempts("damage in a search", "error: ", IN_SEARCH)
def _(place: str, scene: Scene) -> list[str]:
    return search_folder(scene, place, IN_SEARCH[place])


def run_with(scene: Scene, config: str) -> list[str]:
    folder = Path(shutil.copytree(scene.run, scene.theirs / "run"))
    (folder / "config.yaml").write_text(config)
    return ["train", f"resume={folder}"]


@attempts("a Python object in YAML", "cannot be read")
def _(_: str, scene: Scene) -> list[str]:
    return run_with(scene, f"!!python/object/apply:os.system ['touch {scene.marker}']\n")


@attempts("a YAML that would fill the memory", "xpected")
def _(_: str, scene: Scene) -> list[str]:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    return run_with(scene, "\n".join(lines))


# Files that strided reads back: YAML, JSON, tables and Optuna's journal, damaged or made to be.

NO_CONTENT: dict[str, tuple[str, str | bytes]] = {
    "YAML of 5,000 levels": ("config.yaml", "seed: " + "[" * 5000 + "]" * 5000),
    "YAML with a key twice": ("config.yaml", "seed: 0\nseed: 1\n"),
    "YAML that is no text": ("config.yaml", b"\xff\xfe\x00"),
    "YAML with half a surrogate pair": ("config.yaml", 'name: "\\ud800"\n'),
    "words of 5,000 levels": ("overrides.yaml", "[" * 5000 + "]" * 5000),
    "JSON of 100,000 levels": ("results.json", "[" * 100_000),
    "JSON with half a surrogate pair": ("results.json", '{"command": ["\\ud800"]}'),
    "JSON with an infinite number": ("results.json", '{"test/acc": 1e400}'),
    "JSON with NaN": ("results.json", '{"test/acc": NaN}'),
    "JSON with a number of 10,000 digits": ("results.json", '{"seed": ' + "9" * 10_000 + "}"),
    "table that is no text": ("metrics.csv", b"\xff\xfe\x00\x01" * 100),
    "table without epochs": ("metrics.csv", "a,b\n1,2\n"),
    "table of words": ("metrics.csv", "epoch,step\none,two\n"),
}


@attempts("no content in a run folder", "xpected", NO_CONTENT)
def _(kind: str, scene: Scene) -> list[str]:
    words = scene.resumed(lambda config: None)
    name, content = NO_CONTENT[kind]
    if name == "overrides.yaml":  # which is only asked where there are no results
        (scene.theirs / "run" / "results.json").unlink()
    scene.write(f"run/{name}", content)
    return words


NO_YAML: dict[str, str | bytes] = {
    "5,000 levels": "tags: " + "[" * 5000 + "]" * 5000,
    "a key twice": "tags: []\ntags: [a]\n",
    "half a surrogate pair": 'tags: ["\\ud800"]\n',
    "no text": b"\xff\xfe\x00",
    "a list that holds itself many times over": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)),
}


@attempts("no content in an experiment", "error: ", NO_YAML)
def _(kind: str, scene: Scene) -> list[str]:
    words = scene.experiment({})
    text = NO_YAML[kind]
    head = b"# @package _global_\n"
    content = text if isinstance(text, bytes) else text.encode()
    scene.write("conf/experiment/theirs.yaml", head + content)
    return words


JOURNALS = {
    "an unknown operation": '{"op_code":99}\n[]\n',
    "an unknown direction": '{"op_code":0,"worker_id":"x","study_name":"s","directions":[9]}\n',
    "100,000 levels": "[" * 100_000 + "\n",
    "no JSON": "\x00\n\x00\n",
}


@attempts("journal of a search", "study.journal is damaged", JOURNALS)
def _(kind: str, scene: Scene) -> list[str]:
    scene.write("search/study.journal", JOURNALS[kind])
    return search_folder(scene, "seed", 0)


@attempts("file that is a pipe or a device", "is no file", ["pipe", "/dev/zero", "/nowhere"])
def _(kind: str, scene: Scene) -> list[str]:
    shutil.copytree(scene.run, scene.theirs / "run")
    file = scene.theirs / "run" / "predictions.csv"
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    else:
        file.symlink_to(kind)
    return ["compare", f"runs=[{scene.run},{scene.theirs / 'run'}]"]


# What nothing would read, or what this machine cannot do.


@attempts("resume in an experiment", "counts only as typed")
def _(_: str, scene: Scene) -> list[str]:
    return scene.experiment({"resume": str(scene.run)})


OWN_NAMES = [
    "train.yaml",
    "model/lenet5.yaml",
    "hydra/env/default.yaml",
]


@attempts("YAML with a name of strided's or Hydra's", "would not be read", OWN_NAMES)
def _(name: str, scene: Scene) -> list[str]:
    scene.write(f"conf/{name}", "_target_: os.system\ncommand: 'true'\n")
    return scene.experiment({})


TRAINERS: dict[str, dict[str, Any]] = {
    "spawned processes": {"strategy": "ddp_spawn", "devices": 2},
    "forked processes": {"strategy": "ddp_fork"},
    "spawned by a class": {
        "strategy": {
            "_target_": "lightning.pytorch.strategies.DDPStrategy",
            "start_method": "spawn",
        }
    },
    "shards": {"strategy": {"_target_": "lightning.pytorch.strategies.FSDPStrategy"}},
    "10,000 processes": {"strategy": "ddp", "devices": 10_000},
    "a text for processes": {"strategy": "ddp", "devices": "10000"},
}


@attempts("processes of an experiment", "trainer.", TRAINERS)
def _(kind: str, scene: Scene) -> list[str]:
    return scene.experiment({"trainer": TRAINERS[kind]})


@attempts("processes of a run folder", "trainer.", TRAINERS)
def _(kind: str, scene: Scene) -> list[str]:
    return scene.resumed(lambda config: config["trainer"].update(TRAINERS[kind]))


@attempts("processes of a search", "search.num_workers=1000000")
def _(_: str, scene: Scene) -> list[str]:
    return search_folder(scene, "search.num_workers", 10**6)


@attempts("processes that decode", "data.num_workers=1000000")
def _(_: str, scene: Scene) -> list[str]:
    return scene.experiment({"data": {"num_workers": 10**6}})


test_an_attempt_is_refused = refused(__name__)
