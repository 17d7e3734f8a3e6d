"""What a `_target_` may name, and how a node of the config becomes its object."""

import importlib
import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from strided.errors import UserError, did_you_mean, first_line

# What a `_target_` may name. Never bare `torch` or `strided`: torch.utils.collect_env.run starts a
# shell, and strided.cli.main would take a `trust=` of the stranger's own.
ALLOWED_TARGETS = (
    "strided.data",
    "strided.models",
    "strided.training",
    "strided.sweeps.search.space.Search",
    "strided.sweeps.search.pruning.Pruning",
    "strided.loggers",
    "torch.optim",
    "torch.nn",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.strategies",
    "optuna.samplers",
    "optuna.pruners",
)

# Targets of version 0.1.0, which stand in the checkpoints and run folders of its users.
MOVED = {
    "strided.losses.CrossEntropy": "strided.training.CrossEntropy",
    "strided.losses.FocalLoss": "strided.training.FocalLoss",
    "strided.schedules.cosine": "strided.training.cosine",
    "strided.schedules.OneCycle": "strided.training.OneCycle",
    "strided.schedules.Plateau": "strided.training.Plateau",
    "strided.callbacks.Checkpoint": "strided.training.Checkpoint",
    "strided.callbacks.EMA": "strided.training.EMA",
    "strided.rates.LearningRateFinder": "strided.training.LearningRateFinder",
    "strided.gradients.GradientNorms": "strided.training.GradientNorms",
    "strided.transfer.Transfer": "strided.training.Transfer",
    "strided.transfer.Stage": "strided.training.Stage",
    "strided.space.Search": "strided.sweeps.search.space.Search",
    "strided.pruning.Pruning": "strided.sweeps.search.pruning.Pruning",
}

# Keys of a node that strided itself acts upon, whatever the target, and their types.
EXTRA_KEYS: dict[str, dict[str, Any]] = {
    "model": {"weights": str | None, "pretrained": bool},
    "optimizer": {"layer_decay": float | None},
}

_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


@contextmanager
def trusting(packages: Iterable[str]) -> Iterator[None]:
    """Within this, a `_target_` may name classes of these packages too (`trust=[mypackage]`)."""
    token = _trusted.set((*_trusted.get(), *packages))
    try:
        yield
    finally:
        _trusted.reset(token)


def trusted() -> tuple[str, ...]:
    """Return the packages of `trusting` here."""
    return _trusted.get()


def locate(target: str) -> Callable[..., Any]:
    """Import the class or function that `target` names, if it is on the allow-list.

    Both the name and the module that defines the object must be allowed: a name alone could walk
    through an allowed module into one that it imports (`torch.optim.lr_scheduler.os.system`).
    """
    target = MOVED.get(target, target)
    allowed = (*ALLOWED_TARGETS, *_trusted.get())
    private = any(part.startswith("_") for part in target.split("."))
    if private or not _within(target, allowed):
        raise UserError(
            f"_target_={target} is not allowed. If the code is your own or you trust it, try "
            f"trust=[{target.split('.')[0]}]; expected otherwise a class of strided, torch.nn, "
            "torch.optim or lightning.pytorch, where it is one that a config needs"
        )
    found = _import(target)
    defined_in = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', '')}"
    is_function = inspect.isfunction(found) and "." not in found.__qualname__  # no method
    homes = (*allowed, "lightning.pytorch.trainer.trainer.Trainer")  # where Trainer is defined
    if not (is_function or inspect.isclass(found)) or not _within(defined_in, homes):
        raise UserError(
            f"_target_={target} is not allowed; expected a class or function that is "
            f"defined where it is allowed, and this one is {defined_in}. Try its own name"
        )
    return found


def _within(name: str, namespaces: Iterable[str]) -> bool:
    return any(name == space or name.startswith(space + ".") for space in namespaces)


def _import(target: str) -> Any:
    """Import the longest prefix of `target` that is a module, then walk its attributes."""
    parts = target.split(".")
    for size in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:size])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if not (error.name and (name == error.name or name.startswith(error.name + "."))):
                raise  # the module exists and misses something itself
            continue
        for part in parts[size:]:
            if inspect.ismodule(getattr(found, part, None)):  # imported there, at home elsewhere
                raise UserError(f"_target_={target} is not allowed: {part} is another module")
            if not hasattr(found, part):
                names = [entry for entry in dir(found) if not entry.startswith("_")]
                raise UserError(
                    f"_target_={target}: {name} has no {part}. {did_you_mean(part, names)}"
                )
            found = getattr(found, part)
        return found
    raise UserError(f"_target_={target}: no module {parts[0]} is installed. Try its full name")


def build(node: dict[str, Any], path: str, /, **filled_in: Any) -> Any:
    """Call the `_target_` of `node` with its other keys; `filled_in` come from strided itself.

    Raises UserError, naming `path`, for arguments that the target refuses.
    """
    target = locate(node["_target_"])
    arguments = {
        key: _build_nested(value, f"{path}.{key}")
        for key, value in node.items()
        if key != "_target_"
    }
    try:
        return target(**arguments, **filled_in)
    except UserError:
        raise
    except Exception as error:  # a class of the user's own may fail in any way
        keys = ", ".join(f"{path}.{key}={value}" for key, value in arguments.items())
        raise UserError(
            f"{node['_target_']} refused its arguments: {first_line(error)}. "
            f"Expected values that it accepts. Try others for what was given: {keys}"
        ) from error


def _build_nested(value: Any, path: str) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        return build(value, path)
    if isinstance(value, list):
        return [_build_nested(item, path) for item in value]
    return value
