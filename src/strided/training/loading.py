"""Find and load a checkpoint: its task is rebuilt from the file alone."""

import inspect
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from strided.config.schema import check
from strided.errors import UserError, first_line, sought_from
from strided.models.weights_file import is_torchscript
from strided.runs.folder import RunFolder
from strided.system.devices import FLOAT32_PRODUCTS
from strided.training.checkpoint_files import DamagedError, check_sums
from strided.training.task import ClassificationTask

_MOST_VALUES = 1_000_000  # of a config, with its class names


def find_checkpoint(run_or_checkpoint: str | Path) -> Path:
    """Return the .ckpt file itself, or best.ckpt of a run folder. Raises UserError."""
    path = Path(os.path.expanduser(run_or_checkpoint))
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


def load_task(file: Path) -> ClassificationTask:
    """Rebuild the task from a checkpoint alone, with weights_only=True. Raises UserError."""
    try:
        if is_torchscript(file):
            raise UserError(
                f"{file} is TorchScript, a program, which is never run; expected a checkpoint "
                "written by strided. Try best.ckpt of a run folder"
            )
        if zipfile.is_zipfile(file):
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
    except (RuntimeError, EOFError, zipfile.BadZipFile, OSError) as error:
        raise UserError(
            f"{file} cannot be loaded: {first_line(error)}. Expected a checkpoint written by "
            "strided. Try best.ckpt or last.ckpt of a run folder"
        ) from error
    if not _is_of_task(checkpoint):
        raise UserError(
            f"{file} holds weights only, or is of another project; expected a checkpoint written "
            "by strided, which has class names and preprocessing too. Try training from it: "
            f"model.weights={file}"
        )
    arguments = checkpoint["hyper_parameters"]
    _require_bounded(arguments, file)
    check({key: arguments[key] for key in ("model", "loss")})
    task = _rebuilt(arguments, checkpoint["state_dict"], file)
    _require_finite(task, file)
    saved = checkpoint["strided"]
    task.trained_on = saved.get("trained_on", {})
    products = saved.get("matmul_precision")  # older checkpoints have neither of these two
    task.matmul_precision = next((p for p in FLOAT32_PRODUCTS if p == products), None)
    precision = saved.get("precision")
    task.precision = precision if isinstance(precision, str) else task.precision
    return task


def _rebuilt(arguments: dict[str, Any], state: Any, file: Path) -> ClassificationTask:
    """Build the task and take over its weights. Raises UserError for values that do not fit."""
    try:
        if not isinstance(arguments["data"], dict):
            raise TypeError("its data are no mapping")
        task = ClassificationTask(**arguments)
        task.load_state_dict(state)
    except UserError:
        raise
    except Exception as error:  # of any kind: the values may be anything
        raise UserError(
            f"{file} does not fit together: {first_line(error)}; expected a checkpoint as strided "
            "wrote it. Try best.ckpt or last.ckpt of a run folder"
        ) from error
    return task


def _require_bounded(arguments: Any, file: Path) -> None:
    """Raise UserError for more values than a config has: a list may hold itself many times over."""
    left, waiting = _MOST_VALUES, [arguments]
    while waiting:
        value = waiting.pop()
        left -= 1
        if left < 0:
            raise UserError(
                f"{file} holds more than {_MOST_VALUES:,} values beside its weights; expected the "
                "config of a run. Try a checkpoint written by strided"
            )
        if isinstance(value, dict):
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)


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
