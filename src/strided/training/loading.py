"""Find and load a checkpoint: its task is rebuilt from the file alone."""

import inspect
import os
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

import torch

from strided.config.keys import Node, Views
from strided.config.schema import check
from strided.data.preprocessing import Preprocessing
from strided.errors import UserError, first_line, printable, sought_from
from strided.models.outline import require_same_network
from strided.models.weights_file import is_torchscript, require_plain
from strided.runs.folder import RunFolder
from strided.system.devices import FLOAT32_PRODUCTS
from strided.system.plain_data import require_plain as require_plain_data
from strided.training.checkpoint_files import DamagedError, check_sums, is_packed
from strided.training.decision_file import stored_decision
from strided.training.task import ClassificationTask

_NETWORK = "model.onnx"  # of a bundle (serving/files.py)

# Keys of a model node that are only about its first weights, and one that `plan` decides.
_BEGINNINGS = ("weights", "pretrained", "stem")


def find_checkpoint(run_or_checkpoint: str | Path) -> Path:
    """Return the .ckpt file itself, or best.ckpt of a run folder. Raises UserError."""
    path = Path(os.path.expanduser(run_or_checkpoint))
    refuse_bundle(path)
    if path.is_dir():
        best = RunFolder(path).best
        if not best.is_file():
            raise UserError(
                f"{path} has no checkpoints/best.ckpt; expected the folder of a run that finished "
                f"an epoch. Try resume={path} with src/train.py, or checkpoint=<file>.ckpt"
            )
        return best
    if not path.is_file():
        raise UserError(
            f"checkpoint={run_or_checkpoint} does not exist{sought_from(path)}; expected a run "
            "folder or a .ckpt file. Try: ls logs/train/*"
        )
    return path


def refuse_bundle(path: Path) -> None:
    """Raise UserError for a bundle, a version or its network: versions look like a sweep's jobs."""
    is_network = path.suffix == ".onnx" and path.is_file()
    if is_network or (path / _NETWORK).is_file() or any(path.glob(f"*/{_NETWORK}")):
        folder = path.parent if is_network else path
        raise UserError(
            f"{path} belongs to a bundle, which answers without its checkpoint and does not hold "
            "it; expected a run folder or a .ckpt file. Try the run that manifest.json names in "
            f"source, or in Python strided.serving.Bundle.load({str(folder)!r})"
        )


def load_task(file: Path) -> ClassificationTask:
    """Rebuild the task from a checkpoint alone, with weights_only=True. Raises UserError."""
    try:
        if is_torchscript(file):
            raise UserError(
                f"{file} is TorchScript, a program, which is never run; expected a checkpoint "
                "written by strided. Try best.ckpt of a run folder"
            )
        if is_packed(file):
            check_sums(file)
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # torch's message would advise to trust the file
        raise UserError(
            f"{file} is no checkpoint, or holds Python objects, which could run code and are never "
            "loaded. Expected a checkpoint written by strided. Try best.ckpt of a run folder"
        ) from error
    except UserError:
        raise
    except DamagedError as error:
        raise UserError(
            f"{file} is damaged: {error}; expected a checkpoint as it was written. Try a copy of "
            "it, or last.ckpt or previous.ckpt beside it, which may be of other epochs"
        ) from error
    except Exception as error:  # torch's readers raise RuntimeError, EOFError, KeyError, ...
        raise UserError(
            f"{file} cannot be loaded: {first_line(error)}. Expected a checkpoint written by "
            "strided. Try best.ckpt or last.ckpt of a run folder"
        ) from error
    arguments = _arguments_of(checkpoint, file)
    task = _rebuilt(arguments, checkpoint["state_dict"], file)
    _require_finite(task, file)
    saved = checkpoint["strided"]
    task.trained_on = saved.get("trained_on", {})
    products = saved.get("matmul_precision")  # older checkpoints have none of these three
    task.matmul_precision = next((p for p in FLOAT32_PRODUCTS if p == products), None)
    precision = saved.get("precision")
    task.precision = precision if isinstance(precision, str) else task.precision
    task.views = next((views for views in get_args(Views) if views == saved.get("views")), "none")
    task.decision = stored_decision(
        saved, file, len(task.classes), task.model, task.preprocessing.channels
    )
    return task


def require_own_network(model: Node, file: Path) -> None:
    """Raise UserError unless a run folder's config has the network of the checkpoint to go on from.

    Either may be a stranger's. Nothing is built for real, and the tensors stay on the disk.
    """
    checkpoint = torch.load(file, map_location="cpu", weights_only=True, mmap=True)
    arguments = _arguments_of(checkpoint, file)
    own = {key: value for key, value in model.items() if key not in _BEGINNINGS}
    known = {key: value for key, value in arguments["model"].items() if key not in _BEGINNINGS}
    if own != known:
        other = sorted(k for k in own.keys() | known.keys() if own.get(k) != known.get(k))
        raise UserError(
            f"{file} was saved with another network than config.yaml asks for: "
            f"{printable(', '.join(f'model.{key}' for key in other))[:200]}; expected the folder "
            "as the run wrote it. Try another copy of it, or a new run"
        )
    with _fitting(file):
        _require_same_network(arguments, checkpoint["state_dict"], file)


def _arguments_of(checkpoint: Any, file: Path) -> dict[str, Any]:
    """Return the arguments of a checkpoint's task. Raises UserError for others than strided's."""
    if not _is_of_task(checkpoint):
        raise UserError(
            f"{file} holds weights only, or is of another project; expected a checkpoint written "
            "by strided, which has class names and preprocessing too. Try training from it: "
            f"model.weights={file}"
        )
    arguments: dict[str, Any] = checkpoint["hyper_parameters"]
    _require_bounded(arguments, file)
    check({key: arguments[key] for key in ("model", "loss")})
    return arguments


def _rebuilt(arguments: dict[str, Any], state: Any, file: Path) -> ClassificationTask:
    """Build the task and take over its weights. Raises UserError for values that do not fit."""
    with _fitting(file):
        _require_same_network(arguments, state, file)
        task = ClassificationTask(**arguments)
        task.load_state_dict(state)
    return task


@contextmanager
def _fitting(file: Path) -> Iterator[None]:
    """Turn an error of values that do not fit together into a UserError."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of any kind: the values may be anything
        raise UserError(
            f"{file} does not fit together: {first_line(error)}; expected a checkpoint as strided "
            "wrote it. Try best.ckpt or last.ckpt of a run folder"
        ) from error


def _require_same_network(arguments: dict[str, Any], state: Any, file: Path) -> None:
    if not isinstance(arguments["data"], dict):
        raise TypeError("its data are no mapping")
    require_plain(state, file)
    preprocessing = Preprocessing.from_dict(arguments["preprocessing"])
    require_same_network(arguments["model"], len(arguments["classes"]), preprocessing, state, file)


def _require_bounded(arguments: Any, file: Path) -> None:
    """Raise UserError for what no config holds: a list may hold itself many times over."""
    try:
        require_plain_data(arguments)
    except ValueError as error:
        raise UserError(
            f"{file} cannot be used: beside its weights, {error}; expected the config of a run. "
            "Try a checkpoint written by strided"
        ) from error


def _require_finite(task: ClassificationTask, file: Path) -> None:
    """Raise UserError for weights that are no numbers: every image would be of the first class."""
    for name, tensor in task.state_dict().items():
        if not tensor.isfinite().all():
            raise UserError(
                f"{file}: {name} holds values that are not finite (NaN or infinity); expected "
                "trained weights. Try a checkpoint from before the training failed, or train again "
                "with a lower optimizer.lr"
            )


def _is_of_task(checkpoint: Any) -> bool:
    """Whether strided wrote it: other Lightning projects have other arguments under this key."""
    if not (
        isinstance(checkpoint, dict)
        and isinstance(checkpoint.get("strided"), dict)
        and isinstance(checkpoint.get("state_dict"), dict)
    ):
        return False
    arguments = checkpoint.get("hyper_parameters")
    known = inspect.signature(ClassificationTask).parameters.keys()
    return isinstance(arguments, dict) and arguments.keys() == known
