"""What a stranger's file may try (docs/security.md): every attempt is refused.

An attempt writes a file as somebody else may have made it and returns what a user would type about
it. The command has to end as a user's mistake ends: exit code 1, words that help, nothing that ran,
nothing written.
"""

import io
import json
import pickle
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
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
Attempt = Callable[[Scene], list[str]]
ATTEMPTS: dict[str, tuple[Attempt, str]] = {}  # by name, with words of the answer


def attempt(name: str, says: str, make: Attempt) -> None:
    """Add an attempt, which writes the stranger's files and returns what the user types."""
    assert name not in ATTEMPTS, name
    ATTEMPTS[name] = make, says


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


def put(place: str, node: Any) -> Callable[[dict[str, Any]], object]:
    """Return a function that sets `a.b.c` of a config."""

    def change(config: dict[str, Any]) -> None:
        *above, last = place.split(".")
        for key in above:
            config = config.setdefault(key, {})
        config[last] = node

    return change


def nested(place: str, node: Any) -> dict[str, Any]:
    """Return a config of this node alone."""
    config: dict[str, Any] = {}
    put(place, node)(config)
    return config


for _target in CODE:

    def _in_checkpoint(scene: Scene, target: str = _target) -> list[str]:
        return scene.checkpoint(put("hyper_parameters.model", node_of(target, scene)))

    def _in_run(scene: Scene, target: str = _target) -> list[str]:
        return scene.resumed(put("callbacks.theirs", node_of(target, scene)))

    def _in_experiment(scene: Scene, target: str = _target) -> list[str]:
        return scene.experiment(nested("logger.theirs", node_of(target, scene)))

    attempt(f"checkpoint: {_target}", "not allowed", _in_checkpoint)
    attempt(f"run folder: {_target}", "not allowed", _in_run)
    attempt(f"experiment: {_target}", "not allowed", _in_experiment)

for _place in ("loss", "loss.class_weights", "data"):
    attempt(
        f"checkpoint: os.system as {_place}",
        "not allowed",
        lambda scene, place=_place: scene.checkpoint(
            put(f"hyper_parameters.{place}", node_of("os.system", scene))
        ),
    )
for _place in ("model", "data", "optimizer", "scheduler", "loss", "augment", "transfer", "trainer",
               "trainer.strategy", "trainer.plugins", "transfer.stages.one", "model.activation",
               "logger.theirs", "name", "seed", "tags"):  # fmt: skip
    attempt(
        f"run folder: os.system as {_place}",
        "not allowed",
        lambda scene, place=_place: scene.resumed(put(place, node_of("os.system", scene))),
    )
for _place in ("search.sampler", "search.pruner", "search"):
    attempt(
        f"search: os.system as {_place}",
        "not allowed",
        lambda scene, place=_place: search_folder(scene, place, node_of("os.system", scene)),
    )


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


# Trust: words from a file are never words typed.


def sweep_folder(scene: Scene, **changed: Any) -> list[str]:
    """Write a stopped sweep with a changed sweep.yaml; return what goes on with it."""
    words = ["data=digits", "trainer=cpu", "seed=0,1"]
    state = {"verb": "train", "words": words, "jobs": [], "trend": None, **changed}
    scene.write("sweep/sweep.yaml", yaml.safe_dump(state))
    return ["train", f"resume={scene.theirs / 'sweep'}"]


TRUST = {"trust": ["os"], "model": {"_target_": "os.system", "command": "true"}}
attempt("experiment: trust", "not allowed", lambda scene: scene.experiment(TRUST))
attempt("run folder: trust", "not allowed", lambda scene: scene.resumed(lambda c: c.update(TRUST)))
attempt(
    "checkpoint: trust",
    "not allowed",
    lambda scene: scene.checkpoint(lambda c: c["hyper_parameters"].update(TRUST)),
)
for _verb in ("../../theirs", "/etc/passwd", "cli", None, ["train"], {"a": 1}):
    attempt(
        f"sweep: verb {_verb}",
        "is damaged",
        lambda scene, verb=_verb: sweep_folder(scene, verb=verb),
    )
for _word in ("trust=[os]", "+trust=[os]", "hydra.launcher._target_=os.system",
              "++hydra/launcher=x", "hydra.searchpath=[file:///theirs]", "~hydra.job", "resume=/elsewhere"):  # fmt: skip
    attempt(
        f"sweep: {_word}",
        "counts only as typed",
        lambda scene, word=_word: sweep_folder(scene, words=["seed=0,1", word]),
    )
    attempt(
        f"search: {_word}",
        "counts only as typed",
        lambda scene, word=_word: search_folder(scene, "words", ["data=digits", word]),
    )
for _key in ("trust", "+callbacks.x._target_", "hydra.launcher", "hydra/launcher", "log_dir",
             "resume", "a b", "seed=1 trust", "~model"):  # fmt: skip
    attempt(
        f"experiment: sweep.over {_key}",
        "counts only as typed",
        lambda scene, key=_key: scene.experiment(
            {"sweep": {"over": {"seed": [0, 1], key: ["os"]}, "x": "seed", "lines": "seed"}}
        ),
    )
attempt(
    "experiment: a study outside of strided",
    "sweep.study",
    lambda scene: scene.experiment(
        {"sweep": {"over": {"seed": [0]}, "x": "seed", "lines": "seed", "study": "x.os"}}
    ),
)


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
for _key, _node in HYDRA.items():
    for _sweeps in (False, True):

        def _hydra(scene: Scene, key: str = _key, node: Any = _node, sweeps: bool = _sweeps):  # type: ignore[no-untyped-def]
            text = json.dumps({key: node}).replace(MARKER, str(scene.marker))
            over = {"over": {"seed": [0, 1]}, "x": "seed", "lines": "seed"}
            return scene.experiment({"hydra": json.loads(text), "sweep": over if sweeps else None})

        attempt(f"experiment: hydra.{_key}, sweep {_sweeps}", f"hydra.{_key}", _hydra)


def _own_verb(scene: Scene) -> list[str]:
    scene.write("conf/train.yaml", "hydra: {launcher: {_target_: os.system, command: 'true'}}\n")
    return scene.experiment({"seed": 1})


def _own_default(scene: Scene) -> list[str]:
    scene.write("conf/hydra/launcher/theirs.yaml", "_target_: os.system\ncommand: 'true'\n")
    return scene.experiment({"defaults": [{"override /hydra/launcher": "theirs"}]})


attempt("experiment: a launcher as a default", "hydra", _own_default)


# Pickles: files of weights and checkpoints.


class Payload:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Callable[..., Any], *given: Any) -> None:
        self.call = function, given

    def __reduce__(self) -> Any:
        return self.call


def _payloads(marker: Path) -> dict[str, Any]:
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


for _name in _payloads(Path("x")):

    def _pickled(scene: Scene, name: str = _name) -> list[str]:
        payload = _payloads(scene.marker)[name]
        return scene.checkpoint(lambda content: content.update(extra=payload))

    def _weights(scene: Scene, name: str = _name) -> list[str]:
        torch.save({"fc.weight": _payloads(scene.marker)[name]}, scene.theirs / "theirs.pth")
        return ["train", *SMALL, f"model.weights={scene.theirs / 'theirs.pth'}"]

    def _old_pickle(scene: Scene, name: str = _name) -> list[str]:
        content = pickle.dumps({"a": _payloads(scene.marker)[name]}, protocol=2)
        file = scene.write("theirs.pth", content)
        return ["train", *SMALL, f"model.weights={file}"]

    attempt(f"checkpoint: pickled {_name}", "never loaded", _pickled)
    attempt(f"weights: pickled {_name}", "never loaded", _weights)
    attempt(f"weights: bare pickle of {_name}", "never loaded", _old_pickle)


def _torchscript(scene: Scene) -> list[str]:
    torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)).save(scene.theirs / "theirs.pth")
    return ["train", *SMALL, f"model.weights={scene.theirs / 'theirs.pth'}"]


attempt("weights: TorchScript", "model.weights", _torchscript)


# Damage: values that no run of strided writes.

attempt(
    "checkpoint: weights that are no numbers",
    "not finite",
    lambda scene: scene.checkpoint(
        lambda c: next(iter(c["state_dict"].values())).fill_(float("nan"))
    ),
)
for _place, _value in {
    "hyper_parameters": [],
    "hyper_parameters.preprocessing": {"channels": 1, "image_size": 32, "surplus": 1},
    "hyper_parameters.preprocessing.image_size": -1,
    "hyper_parameters.classes": "abc",
    "hyper_parameters.model": None,
    "strided": None,
    "state_dict": {},
}.items():
    attempt(
        f"checkpoint: {_place} is {_value}",
        "xpected",
        lambda scene, place=_place, value=_value: scene.checkpoint(put(place, value)),
    )
for _place, _value in {
    "trainer": "abc",
    "model": [],
    "data": None,
    "callbacks": "x",
    "logger": ["csv"],
    "seed": "zero",
    "trainer.max_epochs": "many",
    "log_dir": {"a": 1},
    "model.activation": 3,
}.items():
    attempt(
        f"run folder: {_place} is {_value}",
        "xpected",
        lambda scene, place=_place, value=_value: scene.resumed(put(place, value)),
    )
for _place, _value in {"search": 3, "search.space": [], "search.metric": 1, "seed": "x",
                       "search.num_trials": "many", "search.space.trust": "choice(a,b)",
                       "search.space.log_dir": "choice(a,b)", "search.surplus": 1,
                       "search.space.hydra": "choice(a,b)"}.items():  # fmt: skip
    attempt(
        f"search: {_place} is {_value}",
        "xpected",
        lambda scene, place=_place, value=_value: search_folder(scene, place, value),
    )


def _yaml_object(scene: Scene) -> list[str]:
    folder = Path(shutil.copytree(scene.run, scene.theirs / "run"))
    text = f"!!python/object/apply:os.system ['touch {scene.marker}']\n"
    (folder / "config.yaml").write_text(text)
    return ["train", f"resume={folder}"]


def _yaml_bomb(scene: Scene) -> list[str]:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    folder = Path(shutil.copytree(scene.run, scene.theirs / "run"))
    (folder / "config.yaml").write_text("\n".join(lines))
    return ["train", f"resume={folder}"]


attempt("run folder: a Python object in YAML", "cannot be read", _yaml_object)
attempt("run folder: a YAML that would fill the memory", "xpected", _yaml_bomb)


# Pictures, zips and archives: bounded before they are decoded, and decoded by safe code only.


def _png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
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


def _tiff(width: int, height: int) -> bytes:
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
    "PNG of 10 gigapixels": _png(100_000, 100_000),
    "PNG of one line of 2 gigapixels": _png(2**31 - 1, 1)[:200],
    "TIFF of 4 gigapixels": _tiff(65_535, 65_535),
    "PNG cut off": _png(64, 64)[:-30],
    "PNG, wrong checksum": _png(64, 64).replace(b"IDAT", b"IDAS"),
    "BMP with a negative offset": b"BM" + struct.pack("<IHHI", 54, 0, 0, 0xFFFFFFF0) + bytes(40),
}
for _name in PICTURES:

    def _picture(scene: Scene, name: str = _name) -> list[str]:
        write_images(scene.theirs / "images")
        scene.write("images/red/theirs.png", PICTURES[name])
        return ["train", *SMALL, "data=image_folder", f"data.root={scene.theirs / 'images'}"]

    attempt(f"picture: {_name}", "theirs.png", _picture)


def zip_of(scene: Scene, change: Callable[[zipfile.ZipFile], object], method: int = 8) -> Path:
    """Write a zip of class folders and what `change` adds."""
    images, archive = write_images(scene.theirs / "images"), scene.theirs / "theirs.zip"
    with zipfile.ZipFile(archive, "w", method) as target:
        for name in sorted(files(images)):
            target.write(images / name, name, zipfile.ZIP_STORED)
        change(target)
    shutil.rmtree(images)
    return archive


def _train_on(root: Path) -> list[str]:
    return ["train", *SMALL, "data=image_folder", f"data.root={root}"]


ZEROS = bytes(20_000_000)
attempt(
    "zip: a picture that unpacks to gigabytes",
    "theirs.png",
    lambda scene: _train_on(_forged(zip_of(scene, lambda z: z.writestr("red/theirs.png", ZEROS)))),
)
for _method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
    attempt(
        f"zip: method {_method}, whose unpacking has no bound",
        f"method {_method}",
        lambda scene, method=_method: _train_on(
            zip_of(scene, lambda z: z.writestr("red/theirs.png", ZEROS, method))
        ),
    )


def _forged(archive: Path) -> Path:
    """Let the directory say 10 gigabytes."""
    sizes = struct.pack("<I", len(ZEROS)), struct.pack("<I", 3_000_000_000)
    archive.write_bytes(archive.read_bytes().replace(*sizes))
    return archive


def _overlapping(scene: Scene) -> list[str]:
    archive = zip_of(scene, lambda z: z.writestr("red/theirs.png", b"x" * 1000))
    content = bytearray(archive.read_bytes())
    at = content.rfind(b"PK\1\2")
    content[at + 42 : at + 46] = struct.pack("<I", 17)  # begins inside another file
    archive.write_bytes(content)
    return _train_on(archive)


attempt("zip: a file that begins inside another", "theirs.png", _overlapping)
attempt(
    "zip: cut in half",
    "no readable zip",
    lambda scene: _train_on(
        scene.write("cut.zip", zip_of(scene, lambda z: None).read_bytes()[:2000])
    ),
)
for _name in ("../../outside.jpg", "/outside.jpg", "flower_photos/link/outside.jpg"):

    def _unpacked(scene: Scene, name: str = _name) -> list[str]:
        with tarfile.open(scene.theirs / "flower_photos.tgz", "w:gz") as target:
            if "link" in name:
                member = tarfile.TarInfo("flower_photos/link")
                member.type, member.linkname = tarfile.SYMTYPE, "../../.."
                target.addfile(member)
            member = tarfile.TarInfo(name)
            member.size = 1
            target.addfile(member, io.BytesIO(b"x"))
        return ["train", *SMALL, "data=flowers", f"data.root={scene.theirs}"]

    attempt(f"archive: {_name}", "flower_photos", _unpacked)


# Tables: any path may be named, but only a regular file that is a picture is read.

for _path in ("/dev/zero", "/dev/random", "/proc/self/environ", "/etc/passwd",
              "../../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1:1/x.png", "|id", "$(id)", "\0"):  # fmt: skip

    def _table(scene: Scene, path: str = _path) -> list[str]:
        write_images(scene.theirs / "images")
        lines = [f"{name},{name[0]}" for name in sorted(files(scene.theirs / "images"))]
        scene.write("images/theirs.csv", "\n".join(["path,label", *lines, f"{path},r"]))
        return ["train", *SMALL, "data=csv", f"data.csv={scene.theirs / 'images' / 'theirs.csv'}"]

    attempt(f"table: {_path!r}", "xpected", _table)


# Addresses

for _address in ("file:///etc/passwd", "ftp://127.0.0.1/x.png", "data://image/png;base64,AAAA",
                 "gopher://127.0.0.1:1/_x", "FILE:///etc/passwd", "jar:http://127.0.0.1!/x",
                 "http://[::1", "http://", "//127.0.0.1/x.png",
                 "http://127.0.0.1:99999/"):  # fmt: skip
    attempt(
        f"address: {_address}",
        "input=",
        lambda scene, address=_address: [
            "explain", f"checkpoint={scene.run}", f"input={address}"
        ],
    )  # fmt: skip


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
