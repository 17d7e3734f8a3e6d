"""Configuration: where the YAML lives, how it is composed, checked and turned into objects.

The signature of the class behind a `_target_` is the schema: a key is valid when that class takes
an argument of that name, and a value when it fits the argument's type. See docs/architecture.md.
"""

import importlib
import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from strided.errors import UserError

_HERE = Path(__file__).parent
IS_CHECKOUT = not (_HERE / "conf").is_dir()  # the wheel ships conf/ inside the package
CONF_DIR = _HERE.parents[1] / "conf" if IS_CHECKOUT else _HERE / "conf"

# What a `_target_` may name. Never bare `torch` or `strided`: torch.utils.collect_env.run starts a
# shell, and strided.cli.main would take a `trust=` of the stranger's own.
ALLOWED_TARGETS = (
    "strided.data",
    "strided.models",
    "strided.schedules",
    "strided.callbacks",
    "strided.loggers",
    "torch.optim",
    "torch.nn",
    "torchvision.models",
    "timm.create_model",
    "lightning.pytorch.Trainer",
    "lightning.pytorch.callbacks",
    "lightning.pytorch.loggers",
    "lightning.pytorch.strategies",
    "torchmetrics",
)

_trusted: ContextVar[tuple[str, ...]] = ContextVar("trusted", default=())

# Arguments that strided fills in from the data or the run: (node, argument) -> where it comes from.
FILLED_IN = {
    ("model", "num_classes"): "the data",
    ("model", "in_channels"): "the data",
    ("model", "image_size"): "data.image_size",
    ("optimizer", "params"): "the model",
    ("scheduler", "optimizer"): "the optimizer group",
    ("scheduler", "total_steps"): "trainer.max_epochs and the data",
    ("trainer", "callbacks"): "the callbacks group",
    ("trainer", "logger"): "the logger group",
    ("trainer", "default_root_dir"): "log_dir and name",
    ("trainer", "enable_checkpointing"): "the callbacks group (none: callbacks.checkpoint=null)",
}
# Callbacks that null for this argument switches off, although the class itself takes no null.
OFF_WHEN_NULL = {"callbacks.early_stopping": "patience"}
# What can be watched while training, and which of its values are better.
MONITORS = {"val/acc": "max", "val/loss": "min", "train/acc": "max", "train/loss": "min"}
# Groups that hold several nodes by name.
GROUPS_OF_NODES = ("callbacks", "logger")
# The type of each key that belongs to no group.
PLAIN_KEYS: dict[str, Any] = {
    "seed": int,
    "name": str | None,
    "tags": list[str],
    "resume": str | None,
    "compile": bool,
    "log_dir": str | None,
    "trust": list[str],
    "traceback": bool,
    "checkpoint": str,
    "input": str,
    "split": Literal["test", "val"],
    "accelerator": str,
    "batch_size": int,
}
# Keys of a node that strided itself acts upon, whatever the target.
EXTRA_KEYS = {"model": ("weights", "pretrained")}


@contextmanager
def trusting(packages: Iterable[str]) -> Iterator[None]:
    """Within this, a `_target_` may name classes of these packages too (`trust=[mypackage]`)."""
    token = _trusted.set(tuple(packages))
    try:
        yield
    finally:
        _trusted.reset(token)


def plain(config: DictConfig) -> dict[str, Any]:
    """Resolve every interpolation and return dict, list, str and numbers only."""
    try:
        resolved = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "a key"
        raise UserError(f"{key} has no value; expected one. Try {key}=<value>") from error
    assert isinstance(resolved, dict)
    return {str(key): value for key, value in resolved.items()}


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """Return the sentence that offers the closest of `words`, or all of them when few."""
    known = sorted(set(words))
    if close := get_close_matches(word, known, n=1, cutoff=0.6):
        return f"Did you mean {close[0]}?"
    shown = ", ".join(known[:30]) + (", ..." if len(known) > 30 else "")
    return f"Known: {shown}" if known else ""


def locate(target: str) -> Callable[..., Any]:
    """Import the class or function that `target` names, if it is on the allow-list.

    Both the name and the module that defines the object must be allowed: a name alone could walk
    through an allowed module into one that it imports (`torch.optim.lr_scheduler.os.system`).
    """
    allowed = (*ALLOWED_TARGETS, *_trusted.get())
    private = any(part.startswith("_") for part in target.split("."))
    if private or not _within(target, allowed):
        raise UserError(
            f"_target_={target} is not allowed; expected a name within {', '.join(allowed)}. "
            f"If the code is your own or you trust it: trust=[{target.split('.')[0]}]"
        )
    found = _import(target)
    defined_in = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', '')}"
    is_function = inspect.isfunction(found) and "." not in found.__qualname__  # no method
    # where timm and Lightning define create_model and Trainer
    homes = (*allowed, "timm.models._factory", "lightning.pytorch.trainer.trainer.Trainer")
    if not (is_function or inspect.isclass(found)) or not _within(defined_in, homes):
        raise UserError(
            f"_target_={target} is not allowed; expected a class or function defined within "
            f"{', '.join(allowed)}, and this one is {defined_in}"
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
            f"{node['_target_']} refused its arguments: {str(error) or type(error).__name__}. "
            f"Expected values that it accepts. Try others for what was given: {keys}"
        ) from error


def _build_nested(value: Any, path: str) -> Any:
    if isinstance(value, dict) and "_target_" in value:
        return build(value, path)
    if isinstance(value, list):
        return [_build_nested(item, path) for item in value]
    return value


def check(config: dict[str, Any], *, values: bool = True) -> None:
    """Check every node that has a `_target_`: the target is allowed, and takes these arguments.

    `values=False` checks names only. Raises UserError.
    """
    for key, node in config.items():
        if values and key in PLAIN_KEYS and not fits(node, PLAIN_KEYS[key]):
            raise UserError(_misfit(key, node, PLAIN_KEYS[key]))
        _check_nested(node, key, values)
        if key in GROUPS_OF_NODES and isinstance(node, dict):
            _check_children(node, key)


def _check_children(node: dict[str, Any], group: str) -> None:
    """A key of a misspelt callback makes a new one, with no class to it."""
    for name, child in node.items():
        if child is not None and (not isinstance(child, dict) or "_target_" not in child):
            others = [other for other in node if other != name]
            raise UserError(
                f"{group}.{name} has no _target_; expected one of the {group}. "
                f"{did_you_mean(name, others)}"
            )


def _check_nested(value: Any, path: str, values: bool) -> None:
    if isinstance(value, dict):
        if "_target_" in value:
            _check_arguments(value, path, values)
        for key, child in value.items():
            _check_nested(child, f"{path}.{key}", values)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _check_nested(child, f"{path}.{index}", values)


def _check_monitor(node: dict[str, Any], path: str) -> None:
    """A metric that is never measured, or the worst value taken for the best, cost a whole run."""
    monitor, mode = node["monitor"], node.get("mode")
    if monitor not in MONITORS:
        raise UserError(
            f"{path}.monitor={monitor} is not measured while training; expected one of "
            f"{', '.join(MONITORS)}. {did_you_mean(str(monitor), MONITORS)}"
        )
    if mode is not None and mode != MONITORS[monitor]:
        raise UserError(
            f"{path}.monitor={monitor} with {path}.mode={mode} would take the worst for the best; "
            f"expected mode {MONITORS[monitor]}. Try {path}.mode={MONITORS[monitor]}"
        )


def _check_arguments(node: dict[str, Any], path: str, values: bool) -> None:
    target = locate(node["_target_"])
    accepted, open_ended = arguments_of(target)
    if values and "monitor" in node:
        _check_monitor(node, path)
    for key, value in node.items():
        if key == "_target_" or key in EXTRA_KEYS.get(path, ()):
            continue
        if origin := FILLED_IN.get((path, key)):
            raise UserError(f"{path}.{key} was given; it is filled in from {origin}. Leave it out")
        if key not in accepted:
            if open_ended:
                continue
            offered = [name for name in accepted if (path, name) not in FILLED_IN]
            raise UserError(
                f"{path}.{key} is not an argument of {node['_target_']}. "
                f"{did_you_mean(key, [*offered, *EXTRA_KEYS.get(path, ())])}"
            )
        if value is None and OFF_WHEN_NULL.get(path) == key:
            continue
        annotation = accepted[key]
        if values and not fits(value, annotation):
            raise UserError(_misfit(f"{path}.{key}", value, annotation))


def arguments_of(target: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    """Return the arguments `target` takes with their types, and whether it takes any others too.

    A class that hands `**kwargs` on is followed along its bases.
    """
    if not inspect.isclass(target):
        return _parameters(target)
    accepted: dict[str, Any] = {}
    for base in target.__mro__:
        if base is not object and "__init__" in vars(base):
            found, open_ended = _parameters(vars(base)["__init__"])
            accepted = {**found, **accepted}
            if not open_ended:
                return accepted, False
    return accepted, True


def _parameters(function: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    # Lightning wraps Trainer.__init__ to read defaults from the environment
    function = inspect.unwrap(function)
    try:
        hints = get_type_hints(function)
    except (NameError, TypeError):  # names that exist for type checkers only
        hints = {}
    accepted: dict[str, Any] = {}
    open_ended = False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL and name != "self":
            accepted[name] = hints.get(name, Any)
    return accepted, open_ended


def fits(value: Any, annotation: Any) -> bool:
    """Tell whether a YAML value fits a type; types that YAML cannot express are let through."""
    origin, choices = get_origin(annotation), get_args(annotation)
    if isinstance(value, dict) and "_target_" in value:
        return True
    if origin in (Union, types.UnionType):
        return any(fits(value, choice) for choice in choices)
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in choices)
    if annotation is None or annotation is type(None):
        return value is None
    if annotation is bool:
        return isinstance(value, bool)
    if annotation in (int, float):
        numbers = (int,) if annotation is int else (int, float)
        return isinstance(value, numbers) and not isinstance(value, bool)
    if annotation in (str, Path):
        return isinstance(value, str)
    if inspect.isclass(annotation) and annotation.__module__.startswith(("torch", "lightning")):
        return False  # a Tensor, a Strategy: no plain value is one
    container = origin or annotation
    if container in (list, tuple, Sequence, Iterable) or container is dict:
        if container is dict:
            return isinstance(value, dict)
        items = [choice for choice in choices if choice is not Ellipsis]
        exact = container is tuple and Ellipsis not in choices and items
        return (
            isinstance(value, list | tuple)
            and (not exact or len(value) == len(items))
            and all(
                fits(item, items[min(index, len(items) - 1)] if items else Any)
                for index, item in enumerate(value)
            )
        )
    return True


def _misfit(key: str, value: Any, annotation: Any) -> str:
    wanted = describe(annotation)
    example = get_args(annotation)[0] if get_origin(annotation) is Literal else f"<{wanted}>"
    typed = "null" if value is None else str(value).lower() if value in (True, False) else value
    return f"{key}={typed} does not fit; expected {wanted}. Try {key}={example}"


def describe(annotation: Any) -> str:
    """Return a type in the words of the command line."""
    origin, choices = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(describe(choice) for choice in choices))
    if origin is Literal:
        return ", ".join(str(choice) for choice in choices)
    if annotation is None or annotation is type(None):
        return "null"
    if origin in (list, tuple, Sequence, Iterable):
        return f"a list of {describe(choices[0])}" if choices else "a list"
    words = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))
