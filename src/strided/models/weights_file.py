"""Read a file of weights safely: no code in it is run."""

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from strided.errors import UserError, first_line, printable, sought_from
from strided.runs.folder import RunFolder

State = dict[str, Tensor]


class WeightsFile(NamedTuple):
    """Named tensors; for a checkpoint of strided, also the arguments of its task."""

    state: State
    made_with: Mapping[str, Any] | None


def read_weights(path: Path) -> WeightsFile:
    """Read a .pth, .pt, .ckpt or .safetensors file without running any code in it."""
    _require_file(path)
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    made_with = _task_arguments(content)
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    tensors = (
        {str(key): value for key, value in content.items() if isinstance(value, Tensor)}
        if isinstance(content, Mapping)
        else {}
    )
    if not tensors:
        raise UserError(
            f"model.weights={path} holds no weights but a {type(content).__name__}. Expected "
            "named tensors, bare or under 'state_dict' or 'model'. Try saving it again with "
            "torch.save(net.state_dict(), path)"
        )
    require_plain(tensors, f"model.weights={path}")
    return WeightsFile(tensors, made_with)


def require_plain(state: Mapping[str, Any], source: object) -> None:
    """Raise UserError for tensors that a network would take over only in part, or not at all."""
    for name, tensor in state.items():
        if isinstance(tensor, Tensor) and (
            tensor.is_complex()  # torch would drop the imaginary part
            or tensor.layout != torch.strided
            or tensor.is_quantized
            or tensor.is_meta
        ):
            kind = f"{tensor.dtype}, {tensor.layout}, {tensor.device.type}".replace("torch.", "")
            raise UserError(
                f"{source}: {printable(str(name))[:200]} is no plain tensor ({kind}); expected "
                "real numbers, each of them stored. Try saving it again with "
                "torch.save(net.state_dict(), path)"
            )


def _task_arguments(content: Any) -> Mapping[str, Any] | None:
    """The task's arguments; other Lightning projects keep others under the same key."""
    arguments = content.get("hyper_parameters") if isinstance(content, Mapping) else None
    if not (isinstance(arguments, Mapping) and {"model", "preprocessing"} <= arguments.keys()):
        return None
    model = arguments["model"]
    return arguments if isinstance(model, Mapping) and "_target_" in model else None


def _require_file(path: Path) -> None:
    if path.is_dir():  # of a run, maybe: checkpoint= takes that
        best = RunFolder(path).best
        file = best if best.is_file() else path / "<file>"
        raise UserError(
            f"model.weights={path} is a folder. Expected a .pth, .pt, .ckpt or .safetensors file. "
            f"Try model.weights={file}"
        )
    if not path.is_file():
        raise UserError(
            f"model.weights={path} does not exist{sought_from(path)}. Expected a .pth, .pt, "
            ".ckpt or .safetensors file. Try the full path, or model.pretrained=true"
        )


def is_torchscript(path: Path) -> bool:
    """Whether a file was written by torch.jit.save: a zip with a folder code/ of programs."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def _read_pickle(path: Path) -> Any:
    try:
        if is_torchscript(path):
            raise UserError(
                f"model.weights={path} is TorchScript, a program, which is never run. Expected "
                "named tensors. Try, where you trust it: "
                "torch.save(torch.jit.load(path).state_dict(), 'weights.pth')"
            )
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"model.weights={path} is damaged, or holds Python objects, which could run code and "
            "are never loaded. Expected plain tensors. Try saving it again with "
            "torch.save(net.state_dict(), path)"
        ) from error
    except UserError:
        raise
    except Exception as error:  # torch's reader raises RuntimeError, EOFError, KeyError, ...
        raise UserError(_damaged(path, error)) from error


def _read_safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise UserError(_damaged(path, error)) from error


def _damaged(path: Path, error: Exception) -> str:
    return (
        f"model.weights={path} cannot be read: {first_line(error)}. Expected a whole .pth, .pt, "
        ".ckpt or .safetensors file. Try copying or downloading it again"
    )
