"""Check a composed config: the signature of the class behind a `_target_` is the schema.

A key is valid if that class takes an argument of that name, and a value if it fits the
argument's type.
"""

import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from strided.config.addresses import require_no_passwords
from strided.config.hints import hint
from strided.config.keys import Node, PlainKeys
from strided.config.targets import EXTRA_KEYS, PLACES, locate
from strided.config.values import check_plain, fits, misfit
from strided.errors import UserError, did_you_mean

# Arguments that strided fills in from the data or the run: (node, argument) -> where it comes from.
FILLED_IN = {
    ("model", "num_classes"): "the data",
    ("model", "in_channels"): "the data",
    ("model", "image_size"): "data.image_size",
    ("loss", "classes"): "the data",
    ("optimizer", "params"): "the model",
    ("scheduler", "optimizer"): "the optimizer group",
    ("scheduler", "total_steps"): "trainer.max_epochs and the data",
    ("trainer", "callbacks"): "the callbacks group",
    ("trainer", "logger"): "the logger group",
    ("trainer", "default_root_dir"): "log_dir and name",
    ("trainer", "enable_checkpointing"): "the callbacks group (none: callbacks.checkpoint=null)",
}
# Null for this argument switches these callbacks off, though the class itself takes no null.
OFF_WHEN_NULL = {
    "callbacks.early_stopping": "patience",
    "callbacks.ema": "decay",
    "callbacks.image_size": "start",
    "callbacks.lookahead": "steps",
    "callbacks.lr_finder": "steps",
    "callbacks.gradient_norms": "steps",
    "callbacks.target": "value",
}
# Metrics that callbacks can monitor while training, and which of their values are better.
MONITORS = {"val/acc": "max", "val/loss": "min", "train/acc": "max", "train/loss": "min"}
# Groups that hold several nodes by name.
GROUPS_OF_NODES = ("callbacks", "logger")
# The type of each key that belongs to no group, as it may be typed.
PLAIN_KEYS: dict[str, Any] = {
    **get_type_hints(PlainKeys),
    "name": str | None,  # null: one is made of the choices
    "input": str | None,  # null: for explain's layer=? only
    "models": list[str],  # each of which becomes a node
}


class UnknownArgumentError(UserError):
    """A dotted key that the class of its node does not take."""

    def __init__(self, key: str, target: str, advice: str) -> None:
        super().__init__(f"{key} is not an argument of {target}. {advice}")
        self.key = key


def check(config: Mapping[str, Any], *, values: bool = True) -> None:
    """Check every node that has a `_target_`: the target is allowed, and takes these arguments.

    `values=False` checks names only. Raises UserError.
    """
    for key, node in config.items():
        if values and key in PLAIN_KEYS:
            check_plain(key, node, PLAIN_KEYS[key])
        _check_nested(node, key, values)
        if key in GROUPS_OF_NODES and isinstance(node, dict):
            _check_children(node, key)
    require_no_passwords(config)
    if values and "checkpoint" in config:
        _check_network(config["checkpoint"], config.get("model"))


def _check_network(checkpoint: str | list[str] | None, model: Node | None) -> None:
    """Check the network: eval takes a checkpoint, predict also a pretrained network."""
    expected = "a run folder or a .ckpt file. Try checkpoint=logs/train/<name>/<date_time>"
    if checkpoint in (None, []) and model is None:
        raise UserError(f"checkpoint has no value; expected {expected}")
    if checkpoint is not None and model is not None:
        raise UserError(
            "checkpoint= and model= exclude each other: a checkpoint has its own network; expected "
            "one of them. Try without model="
        )
    if model is not None and "_target_" not in model:
        raise UserError(
            f"model.{next(iter(model))} without model=; expected one of its options. "
            "Try model=efficientnet_lite0"
        )


def _check_children(node: Node, group: str) -> None:
    """Check the nodes of a group; a misspelt callback would make a new node without a class."""
    for name, child in node.items():
        if child is not None and (not isinstance(child, dict) or "_target_" not in child):
            others = [other for other in node if other != name]
            raise UserError(
                f"{group}.{name} has no _target_; expected one of the {group}. "
                f"{did_you_mean(name, others) or f'Try {group}={name} first'}"
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


def _check_monitor(node: Node, path: str) -> None:
    """Refuse an unmeasured metric and a wrong mode: either would cost a whole run."""
    monitor, mode = node["monitor"], node.get("mode")
    if monitor not in MONITORS:
        raise UserError(
            f"{path}.monitor={monitor} is not measured while training; expected one of "
            f"{', '.join(MONITORS)}. "
            f"{did_you_mean(str(monitor), MONITORS, f'Try {path}.monitor={next(iter(MONITORS))}')}"
        )
    if mode is not None and mode != MONITORS[monitor]:
        raise UserError(
            f"{path}.monitor={monitor} with {path}.mode={mode} would take the worst for the best; "
            f"expected mode {MONITORS[monitor]}. Try {path}.mode={MONITORS[monitor]}"
        )


def _check_arguments(node: Node, path: str, values: bool) -> None:
    target = locate(node["_target_"], path)
    accepted, open_ended = arguments_of(target)
    accepted |= {name: extra.type for name, extra in EXTRA_KEYS.get(path, {}).items()}
    if values and "monitor" in node:
        _check_monitor(node, path)
    for key, value in node.items():
        if key == "_target_":
            continue
        if origin := FILLED_IN.get((path, key)):
            raise UserError(f"{path}.{key} was given; it is filled in from {origin}. Leave it out")
        if key not in accepted:
            if open_ended:
                continue
            offered = [name for name in accepted if (path, name) not in FILLED_IN]
            typed = "" if isinstance(value, dict | list) else str(value)
            advice = _elsewhere(path, key, typed) or did_you_mean(key, offered)
            raise UnknownArgumentError(f"{path}.{key}", node["_target_"], advice)
        if value is None and OFF_WHEN_NULL.get(path) == key:
            continue
        annotation = accepted[key]
        if values and not fits(value, annotation):
            raise UserError(misfit(f"{path}.{key}", value, annotation))


def _elsewhere(path: str, key: str, value: str) -> str:
    """The hint of a name that other tools have, unless it is the very key that was refused."""
    found = hint(key, value, {place.split(".")[0] for place in PLACES})
    return "" if found.startswith(f"Try {path}.{key}=") else found


def arguments_of(target: Callable[..., Any]) -> tuple[dict[str, Any], bool]:
    """Return the arguments `target` takes with their types, and whether it takes any others too.

    If a class passes `**kwargs` on, its bases are searched too.
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
    # Lightning wraps Trainer.__init__ to read defaults from the environment.
    function = inspect.unwrap(function)
    accepted: dict[str, Any] = {}
    open_ended = False
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind is not inspect.Parameter.VAR_POSITIONAL and name != "self":
            accepted[name] = _type_of(parameter, function)
    return accepted, open_ended


def _type_of(parameter: inspect.Parameter, function: Callable[..., Any]) -> Any:
    """The type of a parameter; Any if there is none, or one for type checkers only."""
    if parameter.annotation is inspect.Parameter.empty:
        return Any
    alone = types.SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        return get_type_hints(alone, getattr(function, "__globals__", {}))["it"]
    except (NameError, TypeError, AttributeError):
        return Any
