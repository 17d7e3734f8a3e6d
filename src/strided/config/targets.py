"""What a `_target_` may name, and how to build the object of a config node."""

import importlib
import inspect
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from strided.config.keys import Node
from strided.config.own_code import finding, own_code
from strided.errors import UserError, did_you_mean, first_line, one_line
from strided.system.late_torchmetrics import import_torchmetrics

# The packages of strided that have targets: each lists them, by kind, in its `TARGETS`. No other
# function or class can be named: `strided.cli.main` would accept a stranger's `trust=`.
PACKAGES = (
    "strided.data",
    "strided.models",
    "strided.training",
    "strided.loggers",
    "strided.sweeps.search",
)

# What may be named beyond these, by kind: a public class of this module with this base class.
# Lightning's loggers are not among them: `save_dir` and `filename_suffix` may be any folder and any
# ending, and a file such as `x.pth` in site-packages runs code at the next start of Python.
FOREIGN = {
    "layer": ("torch.nn", "torch.nn.Module"),
    "loss": ("torch.nn", "torch.nn.modules.loss._Loss"),
    "optimizer": ("torch.optim", "torch.optim.Optimizer"),
    "scheduler": ("torch.optim.lr_scheduler", "torch.optim.lr_scheduler.LRScheduler"),
    "trainer": ("lightning.pytorch", "lightning.pytorch.Trainer"),
    "strategy": ("lightning.pytorch.strategies", "lightning.pytorch.strategies.Strategy"),
    "callback": ("lightning.pytorch.callbacks", "lightning.pytorch.callbacks.Callback"),
    "sampler": ("optuna.samplers", "optuna.samplers.BaseSampler"),
    "pruner": ("optuna.pruners", "optuna.pruners.BasePruner"),
}

# What the object at a place must be, by kind: a trusted class may be anything. A loss is tried.
MADE = {
    "model": "torch.nn.Module",
    "data": "strided.data.ImageDataModule",
    "augment": "strided.data.BatchAugment",
    "transfer": "strided.training.Transfer",
    "stage": "strided.training.Stage",
    "logger": "lightning.pytorch.loggers.Logger",
    **{kind: base for kind, (_, base) in FOREIGN.items() if kind != "loss"},
}

# Classes of FOREIGN that write where their arguments say, outside the run folder too.
WRITERS = ("ModelCheckpoint", "OnExceptionCheckpoint", "SpikeDetection")

# The kind that belongs to each place of a config. `*` is any one name, `**` any place below.
PLACES = {
    "model": "model",
    "model.**": "layer",
    "data": "data",
    "augment": "augment",
    "optimizer": "optimizer",
    "scheduler": "scheduler",
    "loss": "loss",
    "loss.**": "loss",
    "transfer": "transfer",
    "transfer.stages.*": "stage",
    "transfer.stages.*.scheduler": "scheduler",
    "trainer": "trainer",
    "trainer.strategy": "strategy",
    "callbacks.*": "callback",
    "callbacks.pruning.pruner": "pruner",
    "callbacks.pruning.pruner.**": "pruner",
    "logger.*": "logger",
    "search": "search",
    "search.sampler": "sampler",
    "search.sampler.**": "sampler",
    "search.pruner": "pruner",
    "search.pruner.**": "pruner",
}

# Targets of version 0.1.0, which users' checkpoints and run folders hold.
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


class Extra(NamedTuple):
    """An argument of strided's own beside those of a target."""

    type: Any
    default: Any
    meaning: str


# Keys of a node that strided itself uses, whatever the target.
EXTRA_KEYS: dict[str, dict[str, Extra]] = {
    "model": {
        "pretrained": Extra(bool, False, "Start from published weights: torchvision's or timm's"),
        "weights": Extra(str | None, None, "Start from a file of weights"),
        "dirac": Extra(
            bool, False, "Start with filters that hand on the layer's input, as many as it has maps"
        ),
        "whitening": Extra(
            bool,
            False,
            "Fit the first convolution's filters to whiten patches of training images, and keep "
            "them",
        ),
    },
    "optimizer": {
        "layer_decay": Extra(
            float | None,
            None,
            "Each layer trains at this share of the rate of the next one, such as 0.75; null: all "
            "at one rate",
        ),
        "norm_bias_factor": Extra(
            float,
            1.0,
            "Biases of batch normalisation train at this multiple of the rate",
        ),
    },
}

# In `trust=`, this is no package: YAML of --config-dir may then name addresses and folders.
CONFIG_DIR = "config-dir"

_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())


@contextmanager
def trusting(packages: Iterable[str], config_dir: Path | None = None) -> Iterator[None]:
    """Allow classes of these packages too as `_target_` inside the block (`trust=[mypackage]`).

    Python looks for these packages in `config_dir` last, and for no others there.
    """
    token = _trusted.set(tuple(dict.fromkeys((*_trusted.get(), *packages))))
    try:
        with finding(_packages(), config_dir):
            yield
    finally:
        _trusted.reset(token)


def trusted() -> tuple[str, ...]:
    """Return what `trusting` allows here: packages, and perhaps CONFIG_DIR."""
    return _trusted.get()


def trusts_config_dir() -> bool:
    """Whether YAML of --config-dir counts as typed here (`trust=[config-dir]`)."""
    return CONFIG_DIR in _trusted.get()


def _packages() -> list[str]:
    return [name for name in _trusted.get() if name != CONFIG_DIR]


def locate(target: str, path: str) -> Callable[..., Any]:
    """Import the class or function that `target` names at this place of the config.

    Allowed are exactly the targets that strided lists for the kind that belongs there, the public
    classes of that kind in torch, Lightning and Optuna, and what `trusting` adds. Nothing else is
    imported. Raises UserError.
    """
    import_torchmetrics()  # what is located imports Lightning, nearly always
    target = MOVED.get(str(target), str(target))  # a file may hold anything there
    kind = kind_at(path)
    if not any(part.startswith("_") for part in target.split(".")):
        if _within(target, _packages()):
            return _trusted_target(target)
        found = _own_target(target, kind) or _foreign_target(target, kind)
        if found is not None:
            return found
    if kind is None:
        expected = "no _target_"
    else:
        homes = ["strided"] if kind not in FOREIGN else ["strided", FOREIGN[kind][0]]
        expected = f"{'an' if kind[0] in 'aeiou' else 'a'} {kind} of {' or '.join(homes)}"
    raise UserError(
        f"{path}._target_={target} is not allowed; expected {expected} there. If the code is your "
        f"own or you trust it, try trust=[{target.split('.')[0]}]"
    )


def kind_at(path: str) -> str | None:
    """Return the kind of object that belongs to this place of the config, None for no kind."""
    names = path.split(".")
    for place, kind in PLACES.items():
        pattern = place.split(".")
        if pattern[-1] == "**":
            if len(names) >= len(pattern) and names[: len(pattern) - 1] == pattern[:-1]:
                return kind
        elif len(names) == len(pattern) and all(
            wanted in ("*", name) for wanted, name in zip(pattern, names, strict=True)
        ):
            return kind
    return None


def _own_target(target: str, kind: str | None) -> Callable[..., Any] | None:
    """Return the target if a package of strided lists it for this kind."""
    for package in PACKAGES:
        name = target.removeprefix(package + ".")
        if name != target:
            listed: dict[str, tuple[str, ...]] = importlib.import_module(package).TARGETS
            if kind is not None and name in listed.get(kind, ()):
                found: Callable[..., Any] = _import(target)
                return found
    return None


def _foreign_target(target: str, kind: str | None) -> type | None:
    """Return the target if it is a public class of this kind in torch, Lightning or Optuna."""
    if kind not in FOREIGN:
        return None
    module, base = FOREIGN[kind]
    home, _, name = target.rpartition(".")
    if home != module or name in WRITERS:
        return None
    found = getattr(importlib.import_module(module), name, None)
    if found is None:
        _import(target)  # raises, with the name that may be meant
    if not (inspect.isclass(found) and issubclass(found, _import(base))):
        return None
    return found


def _trusted_target(target: str) -> Callable[..., Any]:
    """Return what a trusted package itself defines, not what it imports."""
    found: Any = _import(target)
    defined_in = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', '')}"
    is_function = inspect.isfunction(found) and "." not in found.__qualname__  # not a method
    if not (is_function or inspect.isclass(found)) or not _within(defined_in, _packages()):
        raise UserError(
            f"_target_={target} is not allowed; expected a class or function that a trusted "
            f"package defines, and this one is {defined_in}. Try its own name"
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
                raise _lacking(target, name, str(error.name)) from error
            continue
        for part in parts[size:]:
            if inspect.ismodule(getattr(found, part, None)):  # imported there, defined elsewhere
                raise UserError(f"_target_={target} is not allowed: {part} is another module")
            if not hasattr(found, part):
                names = [entry for entry in dir(found) if not entry.startswith("_")]
                raise UserError(
                    f"_target_={target}: {name} has no {part}. {did_you_mean(part, names)}"
                )
            found = getattr(found, part)
        return found
    raise _not_found(target, parts[0])


def _not_found(target: str, name: str) -> UserError:
    """The error of a module that Python does not find."""
    folders = [f"{one_line(str(finder.folder))}{os.sep}" for finder in own_code()]
    where = " or ".join(("installed", *(f"in {folder}" for folder in folders)))
    expected = f"{folders[0]}{name}.py" if folders else "one that Python finds"
    return UserError(
        f"_target_={target}: no module {name} is {where}; expected {expected}. "
        f"Try --config-dir <the folder that holds {name}.py>"
    )


def _lacking(target: str, name: str, lacks: str) -> UserError:
    """The error of a module that is there, but imports another one that Python does not find."""
    top = lacks.split(".")[0]
    if any(finder.holds(top) for finder in own_code()):
        expected = f"it to be named, as {top}.py is your own"
        advice = f"trust=[{','.join(dict.fromkeys((*_trusted.get(), top)))}]"
    else:
        expected, advice = "a module that Python finds", f"pip install {top}"
    return UserError(
        f"_target_={target}: {name} imports {lacks}, which is not found; expected {expected}. "
        f"Try {advice}"
    )


def build(node: Node, path: str, /, **filled_in: Any) -> Any:
    """Call the `_target_` of `node` with its other keys; `filled_in` come from strided itself.

    Raises UserError, naming `path`, for arguments that the target refuses, and for an object of
    another kind than belongs there.
    """
    target = locate(node["_target_"], path)
    arguments = {
        key: _build_nested(value, f"{path}.{key}")
        for key, value in node.items()
        if key != "_target_"
    }
    try:
        made = target(**arguments, **filled_in)
    except UserError:
        raise
    except Exception as error:  # a user's class may fail in any way
        keys = ", ".join(f"{path}.{key}={value}" for key, value in arguments.items())
        raise UserError(
            f"{node['_target_']} refused its arguments: {first_line(error)}. "
            f"Expected values that it accepts. Try others for what was given: {keys}"
        ) from error
    base = MADE.get(kind_at(path) or "")
    if base and not isinstance(made, _import(base)):
        raise UserError(
            f"{path}._target_={node['_target_']} gave a {type(made).__name__}; expected a {base}. "
            "Try a class that is derived from it, or a function that returns one"
        )
    return made


def _build_nested(value: Any, path: str) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        return build(value, path)
    if isinstance(value, list):
        return [_build_nested(item, path) for item in value]
    return value
