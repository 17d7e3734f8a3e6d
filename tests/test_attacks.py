"""What a stranger's file may try (docs/security.md): each attempt is refused.

An attempt writes a file as somebody else may have made it and returns what a user would type about
it. The command has to end as a user's mistake ends: exit code 1, words that help, nothing that ran,
nothing written.
"""

import gzip
import io
import json
import pickle
import shutil
import struct
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from tests.conftest import files, write_images

from strided.cli import main


@dataclass(frozen=True)
class Scene:
    """theirs: the stranger's files. marker: what their code would leave. run: a finished run."""

    theirs: Path
    marker: Path
    run: Path

    def write(self, name: str, content: str | bytes) -> Path:
        """Write one of the stranger's files."""
        file = self.theirs / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def experiment(self, node: dict[str, Any], package: str = "_global_") -> list[str]:
        """Write an experiment YAML; return what runs it."""
        text = f"# @package {package}\n" + yaml.safe_dump(node, sort_keys=False)
        self.write("conf/experiment/theirs.yaml", text)
        return ["train", "--config-dir", str(self.theirs / "conf"), "experiment=theirs", *SMALL]

    def resumed(self, change: Callable[[dict[str, Any]], object]) -> list[str]:
        """Copy the run and change its config.yaml; return what resumes it."""
        folder = shutil.copytree(self.run, self.theirs / "run")
        config = yaml.safe_load((folder / "config.yaml").read_text())
        change(config)
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        return ["train", f"resume={folder}", "trainer.max_epochs=3"]

    def checkpoint(self, change: Callable[[dict[str, Any]], object]) -> list[str]:
        """Write the run's checkpoint, changed; return what measures it."""
        content = torch.load(self.run / "checkpoints" / "best.ckpt", weights_only=True)
        change(content)
        torch.save(content, self.theirs / "theirs.ckpt")
        return ["eval", f"checkpoint={self.theirs / 'theirs.ckpt'}"]


SMALL = ("trainer=cpu", "debug=fast_dev_run")
ATTEMPTS: dict[str, tuple[Callable[[Scene], list[str]], str]] = {}  # with words of the answer


def attempts(
    name: str, says: str, cases: Iterable[Any] = ("",)
) -> Callable[[Callable[..., list[str]]], Callable[..., list[str]]]:
    """Add a function of (a case, the scene) for each case; it returns what the user types."""

    def add(make: Callable[..., list[str]]) -> Callable[..., list[str]]:
        for case in cases:
            full = f"{name}: {case}"
            assert full not in ATTEMPTS, full
            ATTEMPTS[full] = partial(make, case), says
        return make

    return add


def put(place: str, node: Any) -> Callable[[dict[str, Any]], object]:
    """Return a function that sets `a.b.c` of a config."""

    def change(config: dict[str, Any]) -> None:
        *above, last = place.split(".")
        for key in above:
            config = config.setdefault(key, {})
        config[last] = node

    return change


# Code: a _target_ that is no part of a classifier, in every file that holds some.

MARKER = "{marker}"
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


# Pickles: files of weights and checkpoints.


class Payload:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *given: Any) -> None:
        self.call = function, given

    def __reduce__(self) -> Any:
        return self.call


def payloads(marker: Path) -> dict[str, Any]:
    import os
    import subprocess

    return {
        "os.system": Payload(os.system, f"touch {marker}"),
        "Path.touch": Payload(Path.touch, marker),
        "subprocess": Payload(subprocess.check_call, ["touch", str(marker)]),
        "eval": Payload(eval, f"open({str(marker)!r}, 'w')"),
        "a network": torch.nn.Linear(2, 2),
        "an array of objects": np.array([Payload(Path.touch, marker)], dtype=object),
        "the builder of a tensor": Payload(torch.load, str(marker)),
    }


PAYLOADS = tuple(payloads(Path("x")))


@attempts("pickle in a checkpoint", "never loaded", PAYLOADS)
def _(name: str, scene: Scene) -> list[str]:
    payload = payloads(scene.marker)[name]
    return scene.checkpoint(lambda content: content.update(extra=payload))


@attempts("pickle in weights", "never loaded", PAYLOADS)
def _(name: str, scene: Scene) -> list[str]:
    torch.save({"fc.weight": payloads(scene.marker)[name]}, scene.theirs / "theirs.pth")
    return ["train", *SMALL, f"model.weights={scene.theirs / 'theirs.pth'}"]


@attempts("bare pickle as weights", "never loaded", PAYLOADS)
def _(name: str, scene: Scene) -> list[str]:
    file = scene.write("theirs.pth", pickle.dumps({"a": payloads(scene.marker)[name]}, protocol=2))
    return ["train", *SMALL, f"model.weights={file}"]


def torchscript(scene: Scene) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch advises against making more
        torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(scene.theirs / "theirs.pth")
    return scene.theirs / "theirs.pth"


@attempts("TorchScript as weights", "never run")
def _(_: str, scene: Scene) -> list[str]:
    return ["train", *SMALL, f"model.weights={torchscript(scene)}"]


@attempts("TorchScript as a checkpoint", "never run")
def _(_: str, scene: Scene) -> list[str]:
    return ["eval", f"checkpoint={torchscript(scene)}"]


# Damage: values that strided never writes.

IN_CHECKPOINT: dict[str, Any] = {
    "hyper_parameters": [],
    "hyper_parameters.preprocessing": {"channels": 1, "image_size": 32, "surplus": 1},
    "hyper_parameters.preprocessing.image_size": -1,
    "hyper_parameters.classes": "abc",
    "hyper_parameters.model": None,
    "strided": None,
    "state_dict": {},
}
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


@attempts("damage in a checkpoint", "xpected", IN_CHECKPOINT)
def _(place: str, scene: Scene) -> list[str]:
    return scene.checkpoint(put(place, IN_CHECKPOINT[place]))


@attempts("damage in a run folder", "xpected", IN_RUN)
def _(place: str, scene: Scene) -> list[str]:
    return scene.resumed(put(place, IN_RUN[place]))


@attempts("damage in a search", "error: ", IN_SEARCH)
def _(place: str, scene: Scene) -> list[str]:
    return search_folder(scene, place, IN_SEARCH[place])


@attempts("weights that are no numbers", "not finite", ["nan", "inf"])
def _(value: str, scene: Scene) -> list[str]:
    return scene.checkpoint(
        lambda content: next(iter(content["state_dict"].values())).fill_(float(value))
    )


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


# Pictures, zips and archives: bounded before they are decoded, and decoded by safe code only.


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of zeros that says it has this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )  # fmt: skip

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes(min(height, 64) * (width + 1)))
    parts = [chunk(b"IHDR", header), *(chunk(*one) for one in chunks), chunk(b"IDAT", rows)]
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IEND", b"")])


def tiff(width: int, height: int) -> bytes:
    entries = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1),
               (262, 3, 1, 1), (273, 4, 1, 8), (278, 4, 1, height), (279, 4, 1, 10)]  # fmt: skip
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4)


PICTURES: dict[str, bytes] = {
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(touch) run\nshowpage\n",
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
    "XML that expands": b"<!DOCTYPE x [<!ENTITY a 'aaaa'>]><svg>&a;</svg>",
    "PDF": b"%PDF-1.7\n1 0 obj<</Type/Catalog/OpenAction 2 0 R>>endobj",
    "HTML": b"<html><script>alert(1)</script></html>",
    "a program": b"#!/bin/sh\ntouch {marker}\n",
    "a pickle": pickle.dumps({"a": 1}),
    "nothing": b"",
    "PNG of 10 gigapixels": png(100_000, 100_000),
    "PNG of one line of 2 gigapixels": png(2**31 - 1, 1)[:200],
    "TIFF of 4 gigapixels": tiff(65_535, 65_535),
    "PNG cut off": png(64, 64)[:-30],
    "PNG, wrong checksum": png(64, 64).replace(b"IDAT", b"IDAS"),
    "BMP with a negative offset": b"BM" + struct.pack("<IHHI", 54, 0, 0, 0xFFFFFFF0) + bytes(40),
}


def train_on(root: Path) -> list[str]:
    return ["train", *SMALL, "data=image_folder", f"data.root={root}"]


@attempts("picture", "theirs.png", PICTURES)
def _(name: str, scene: Scene) -> list[str]:
    scene.write("images/red/theirs.png", PICTURES[name])
    return train_on(write_images(scene.theirs / "images"))


ZEROS = bytes(20_000_000)


def zip_with(scene: Scene, content: bytes = b"", method: int = zipfile.ZIP_DEFLATED) -> Path:
    """Write a zip of class folders with one file of this content."""
    images, archive = write_images(scene.theirs / "images"), scene.theirs / "theirs.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for name in sorted(files(images)):
            target.write(images / name, name)
        target.writestr("red/theirs.png", content, method)
    shutil.rmtree(images)
    return archive


@attempts("zip that unpacks to gigabytes", "theirs.png")
def _(_: str, scene: Scene) -> list[str]:
    archive = zip_with(scene, ZEROS)
    sizes = struct.pack("<I", len(ZEROS)), struct.pack("<I", 3_000_000_000)
    archive.write_bytes(archive.read_bytes().replace(*sizes))
    return train_on(archive)


@attempts("zip whose unpacking has no bound", "method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def _(method: int, scene: Scene) -> list[str]:
    return train_on(zip_with(scene, ZEROS, method))


@attempts("zip with a file inside another", "theirs.png")
def _(_: str, scene: Scene) -> list[str]:
    archive = zip_with(scene, b"x" * 1000)
    content = bytearray(archive.read_bytes())
    place = content.rfind(b"PK\1\2") + 42
    content[place : place + 4] = struct.pack("<I", 17)
    archive.write_bytes(content)
    return train_on(archive)


@attempts("zip cut off", "no readable zip", [0.3, 0.9, 0.999])
def _(share: float, scene: Scene) -> list[str]:
    archive = zip_with(scene)
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    return train_on(archive)


OUTSIDE = ["../../outside.jpg", "/outside.jpg", "flower_photos/link/outside.jpg"]


@attempts("archive that leads outside", "flower_photos", OUTSIDE)
def _(name: str, scene: Scene) -> list[str]:
    with tarfile.open(scene.theirs / "flower_photos.tgz", "w:gz") as target:
        if "link" in name:
            member = tarfile.TarInfo("flower_photos/link")
            member.type, member.linkname = tarfile.SYMTYPE, "../../.."
            target.addfile(member)
        member = tarfile.TarInfo(name)
        member.size = 1
        target.addfile(member, io.BytesIO(b"x"))
    return ["train", *SMALL, "data=flowers", f"data.root={scene.theirs}"]


# What would fill the memory, or copy a secret.


@attempts("list that holds itself many times over", "more than 1,000,000 values")
def _(_: str, scene: Scene) -> list[str]:
    values: list[Any] = ["x"] * 9
    for _level in range(9):
        values = [values] * 9
    return scene.checkpoint(put("hyper_parameters.model.activation", values))


@attempts("packed member of a checkpoint", "torch packs nothing")
def _(_: str, scene: Scene) -> list[str]:
    with (
        zipfile.ZipFile(scene.run / "checkpoints" / "best.ckpt") as whole,
        zipfile.ZipFile(scene.theirs / "theirs.ckpt", "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for member in whole.namelist():
            target.writestr(member, whole.read(member) + bytes(1_000_000))
    return ["eval", f"checkpoint={scene.theirs / 'theirs.ckpt'}"]


@attempts("archive whose header says gigabytes", "cannot be unpacked", ["x", "L"])
def _(kind: str, scene: Scene) -> list[str]:
    header = tarfile.TarInfo("flower_photos/x")
    header.type, header.size = kind.encode(), 3_000_000_000
    scene.write("flower_photos.tgz", gzip.compress(header.tobuf() + ZEROS, 1))
    return ["train", *SMALL, "data=flowers", f"data.root={scene.theirs}"]


@attempts("MNIST that unpacks to gigabytes", "is damaged")
def _(_: str, scene: Scene) -> list[str]:
    with gzip.open(scene.theirs / "train-images-idx3-ubyte.gz", "wb", 1) as target:
        for _chunk in range(15):
            target.write(ZEROS)
    for name in ("train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        scene.write(name, b"")
    return ["train", *SMALL, "data=mnist", f"data.root={scene.theirs}"]


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


# Tables: any path may be named, but only a regular file that is a picture is read.

PATHS = ["/dev/zero", "/dev/random", "/proc/self/environ", "/etc/passwd", "../../../etc/passwd",
         "file:///etc/passwd", "http://127.0.0.1:1/x.png", "|id", "$(id)", "\0"]  # fmt: skip


@attempts("path in a table", "xpected", PATHS)
def _(path: str, scene: Scene) -> list[str]:
    write_images(scene.theirs / "images")
    lines = [f"{name},{name[0]}" for name in sorted(files(scene.theirs / "images"))]
    table = scene.write("images/theirs.csv", "\n".join(["path,label", *lines, f"{path},r"]))
    return ["train", *SMALL, "data=csv", f"data.csv={table}"]


# Addresses: the web only.

ADDRESSES = ["file:///etc/passwd", "ftp://127.0.0.1/x.png", "data://image/png;base64,AAAA",
             "gopher://127.0.0.1:1/_x", "FILE:///etc/passwd", "jar:http://127.0.0.1!/x",
             "http://[::1", "http://", "//127.0.0.1/x.png", "http://127.0.0.1:99999/"]  # fmt: skip


@attempts("address", "input=", ADDRESSES)
def _(address: str, scene: Scene) -> list[str]:
    return ["explain", f"checkpoint={scene.run}", f"input={address}"]


# The test


@pytest.fixture
def scene(tmp_path: Path, trained_run: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return Scene(tmp_path / "theirs", tmp_path / "marker", trained_run)


@pytest.mark.parametrize("name", ATTEMPTS)
def test_an_attempt_is_refused(
    name: str, scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make, says = ATTEMPTS[name]
    words = make(scene)
    if "resume=" not in " ".join(words):
        words.append(f"log_dir={tmp_path / 'logs'}")
    theirs = files(scene.theirs)
    code, answer = main(words), capsys.readouterr().err
    print(answer)
    assert code == 1
    assert answer.startswith("error: ") and says in answer and len(answer.splitlines()) <= 15
    assert "traceback=true" not in answer, "taken for a fault of strided, not of the file"
    assert not scene.marker.exists()
    assert not files(tmp_path / "here")
    assert "config.yaml" not in files(scene.theirs) - theirs
