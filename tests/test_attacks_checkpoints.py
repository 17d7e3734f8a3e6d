"""Attempts by checkpoints and files of weights: each is refused."""

import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tests.attempts import SMALL, Scene, attempts, put, refused
from torch import Tensor

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


@attempts("damage in a checkpoint", "xpected", IN_CHECKPOINT)
def _(place: str, scene: Scene) -> list[str]:
    return scene.checkpoint(put(place, IN_CHECKPOINT[place]))


@attempts("weights that are no numbers", "not finite", ["nan", "inf"])
def _(value: str, scene: Scene) -> list[str]:
    return scene.checkpoint(
        lambda content: next(iter(content["state_dict"].values())).fill_(float(value))
    )


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


# What would take more memory, or more time, than the file's own weights do.

NETWORKS: dict[str, dict[str, Any]] = {
    "two layers of 300,000": {"_target_": "strided.models.MLP", "hidden": [300_000, 300_000]},
    "a million blocks": {"_target_": "strided.models.CifarResNet", "depth": 6_000_002},
    "another network": {"_target_": "strided.models.LeNet5Original"},
    "an activation with layers": {
        "_target_": "strided.models.LeNet5",
        "activation": {"_target_": "torch.nn.Transformer", "num_encoder_layers": 10**6},
    },
}


@attempts("network of a checkpoint", "weights", NETWORKS)
def _(name: str, scene: Scene) -> list[str]:
    return scene.checkpoint(put("hyper_parameters.model", NETWORKS[name]))


@attempts("network of a config that is resumed", "another network than config.yaml", NETWORKS)
def _(name: str, scene: Scene) -> list[str]:
    return scene.resumed(put("model", NETWORKS[name]))


@attempts("network of a run folder", "weights", NETWORKS)
def _(name: str, scene: Scene) -> list[str]:
    words = scene.resumed(put("model", NETWORKS[name]))
    scene.checkpoint(
        put("hyper_parameters.model", NETWORKS[name]), name="run/checkpoints/last.ckpt"
    )
    return words


@attempts("tensor that is one number, many times", "names 400,000,")
def _(_: str, scene: Scene) -> list[str]:
    def expand(content: dict[str, Any]) -> None:
        content["state_dict"]["model.0.weight"] = torch.zeros(1).expand(10**11)

    return scene.checkpoint(expand)


TENSORS: dict[str, Callable[[Tensor], Tensor]] = {
    "complex": lambda tensor: tensor.to(torch.complex64),
    "of no values": lambda tensor: tensor.to("meta"),
}


@attempts("tensor of another kind in a checkpoint", "no plain tensor", TENSORS)
def _(kind: str, scene: Scene) -> list[str]:
    return scene.checkpoint(lambda content: _convert(content["state_dict"], kind))


@attempts("tensor of another kind in weights", "no plain tensor", TENSORS)
def _(kind: str, scene: Scene) -> list[str]:
    scene.checkpoint(lambda content: _convert(content["state_dict"], kind))
    return ["train", *SMALL, f"model.weights={scene.theirs / 'theirs.ckpt'}"]


def _convert(state: dict[str, Tensor], kind: str) -> None:
    name = next(iter(state))
    state[name] = TENSORS[kind](state[name])


NO_TEXT = {"half of a surrogate pair": "\ud800", "five million letters": "a" * 5_000_000}


@attempts("class name that is no text", "beside its weights, it holds", NO_TEXT)
def _(kind: str, scene: Scene) -> list[str]:
    names = [f"{NO_TEXT[kind]}{number}" for number in range(10)]
    return scene.checkpoint(put("hyper_parameters.classes", names))


@attempts("name of a tensor that is no text", "does not fit", ["\ud800\x1b[31m\u202e"])
def _(name: str, scene: Scene) -> list[str]:
    return scene.checkpoint(lambda content: content["state_dict"].update({name: torch.zeros(1)}))


@attempts("safetensors whose header says terabytes", "xpected ", ["checkpoint", "model.weights"])
def _(key: str, scene: Scene) -> list[str]:
    file = scene.write("theirs.safetensors", struct.pack("<Q", 2**40) + b"{}")
    return [*(["eval"] if key == "checkpoint" else ["train", *SMALL]), f"{key}={file}"]


@attempts("damage in a checkpoint that is taken for weights", "xpected", IN_CHECKPOINT)
def _(place: str, scene: Scene) -> list[str]:
    scene.checkpoint(put(place, IN_CHECKPOINT[place]))
    return [
        "train",
        *SMALL,
        "model.activation=wrong",
        f"model.weights={scene.theirs / 'theirs.ckpt'}",
    ]


HEADERS = {
    "pickled objects": "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
    "shape beyond an address": f"{{'descr': '<u8', 'fortran_order': False, 'shape': ({10**30},)}}",
    "dict without its end": "{'descr': '<u8', ",
    "string without its end": '"""',
    "thousands of signs": "-" * 9000 + "1",
}


@attempts("damage in seen.npy", "not the list of images", HEADERS)
def _(kind: str, scene: Scene) -> list[str]:
    header = HEADERS[kind].encode() + b"\n"
    start = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header))
    scene.write("seen.npy", start + header + bytes(64))
    return scene.checkpoint(lambda content: None)


test_an_attempt_is_refused = refused(__name__)
