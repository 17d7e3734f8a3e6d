"""What counts only as typed: addresses, keys and folders, since any file may be a stranger's.

A YAML that named W&B's address would get the user's API key, and one that named a folder would be
written to. A file may set what is listed here, and no other argument of a logger.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from hydra.core.override_parser.overrides_parser import OverridesParser

from strided.config.keys import Config
from strided.config.overrides import ONLY_TYPED, is_hydra, key_of
from strided.config.schema import arguments_of, check
from strided.config.targets import MOVED, WRITERS, locate
from strided.errors import UserError, printable

# folders, places, and what writes pictures; of `input`, only an address
KEYS = (
    *("log_dir", "data.cache_dir", "data.external", "data.extra", "triage.copies"),
    *("state", "audit.url", "audit.anchor", "access.jwt", "tls.cert", "tls.key"),
    *("database", "review.export"),
)
# Arguments that a file may set, of what sends or writes: names, and what is logged.
HARMLESS = {
    "strided.sweeps.search.pruning.Pruning": ("trial", "monitor", "pruner"),
    "strided.loggers.WandbLogger": (
        *("project", "group", "job_type", "notes"),
        *("offline", "watch", "log_model", "init_timeout"),
    ),
    "strided.loggers.MLflowLogger": ("experiment",),
    "strided.loggers.TensorBoardLogger": (),
}
# Words of a trusted package's callbacks that a file may set, besides numbers and switches.
_NAMES = ("_target_", "monitor", "mode")
_RESOLVER = re.compile(r"\$\{[^{}]*:")  # a function of OmegaConf, not another key
_SECRET = ("key", "token", "password", "secret")  # parts of names whose values are not shown


def found_in(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a config holds that counts only as typed: the value of each dotted key."""
    found = {key: value for key in KEYS if (value := _get(config, key)) is not None}
    if "://" in str(config.get("input")):
        found["input"] = config["input"]
    for group in ("logger", "callbacks"):
        nodes = config.get(group)
        for name, node in nodes.items() if isinstance(nodes, dict) else ():
            if isinstance(node, dict):
                found |= _found_in_node(f"{group}.{name}", node)
    return found


def _found_in_node(path: str, node: Mapping[str, Any]) -> dict[str, Any]:
    target = str(node.get("_target_"))
    target = MOVED.get(target, target)
    if path.startswith("callbacks.") and _writes_nowhere(target):
        return {}
    found: dict[str, Any] = {}
    for key, value in node.items():
        if target in HARMLESS:
            harmless = key == "_target_" or key in HARMLESS[target] or value is None
        else:
            harmless = key in _NAMES or is_number(value)
        if not harmless:
            found |= leaves(f"{path}.{key}", value)
    return found


def _writes_nowhere(callback: str) -> bool:
    """Whether a callback is strided's, or one of Lightning's that are allowed without trust."""
    home, _, name = callback.rpartition(".")
    is_lightnings = home == "lightning.pytorch.callbacks" and name not in WRITERS
    return callback not in HARMLESS and (callback.startswith("strided.") or is_lightnings)


def is_number(value: Any) -> bool:
    """Whether a value, or each of a list, is a number, a switch or null: no folder, no address."""
    if isinstance(value, list):
        return all(map(is_number, value))
    return value is None or isinstance(value, bool | int | float)


def leaves(path: str, value: Any) -> dict[str, Any]:
    """Return the values below a dotted key, by their own dotted keys."""
    if not isinstance(value, Mapping):
        return {path: value}
    found: dict[str, Any] = {}
    for key, child in value.items():
        found |= leaves(f"{path}.{key}", child)
    return found


def typed_keys(overrides: Iterable[str]) -> set[str]:
    """Return the dotted keys of the typed overrides; of a typed mapping, those of its values."""
    found: set[str] = set()
    for word in overrides:
        if "=" in word and not word.startswith("~") and not is_hydra(word):
            value = OverridesParser.create().parse_override(word).value()
            found |= leaves(key_of(word), value).keys()
    return found


def require_typed(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Raise UserError if a YAML of --config-dir names an address, a key or a folder.

    `trust=[config-dir]`, typed, lets that folder's YAML name them: then this is not asked.
    """
    found = found_in(config)
    for key in sorted(found.keys() - typed_keys(overrides)):
        check(config, values=False)  # a class that is not allowed is the greater fault
        raise UserError(
            f"a YAML of --config-dir sets {shown(key, found[key])}; expected it to be typed, since "
            "an address, a key or a folder in a file may be a stranger's. Try it on the command "
            "line, or trust=[config-dir] if all of that folder is your own"
        )


def require_no_resolver(config: Any, overrides: Sequence[str]) -> None:
    """Raise UserError if a YAML calls a resolver, such as ${oc.env:WANDB_API_KEY}.

    It would copy a secret of the environment into the run folder, and onto the terminal.
    """
    typed = typed_keys(overrides)
    for key, value in leaves("", config).items():
        if _RESOLVER.search(str(value)) and key.lstrip(".") not in typed:
            raise UserError(
                f"a YAML of --config-dir sets {printable(key.lstrip('.'))}={printable(str(value))}"
                ", which reads what no file may read; expected values, or ${another.key}. Try it "
                "on the command line, or trust=[config-dir] if all of that folder is your own"
            )


def downloads_nothing(data: Any) -> bool:
    """Whether a data node of a file must not download: its root is one that only the file names."""
    if not isinstance(data, Mapping) or data.get("root") in (None, "data"):
        return False
    target = locate(str(data.get("_target_")), "data") if "_target_" in data else None
    return target is not None and "download" in arguments_of(target)[0]


def may_be_axis(key: Any, values: Iterable[Any]) -> bool:
    """Whether a YAML may vary this key: its values become words of a command, as if typed."""
    if not re.fullmatch(r"[a-z_]+(\.\w+)*", str(key)) or any(
        _RESOLVER.search(str(value)) for value in values
    ):
        return False
    group, *inner = key.split(".")
    if is_hydra(key) or group in (*ONLY_TYPED, "logger", "sweep") or key in (*KEYS, "input"):
        return False
    if group == "callbacks" and inner[-1:] not in (["monitor"], ["mode"]):
        return is_number(list(values))
    return True


def without_places(config: Config, typed: Iterable[str] = ()) -> tuple[Config, dict[str, Any]]:
    """Return a config from a file without what counts only as typed, and what was left out."""
    left = {key: value for key, value in found_in(config).items() if key not in set(typed)}
    kept: dict[str, Any] = dict(config)
    for key in left:
        kept = _without(kept, key.split("."))
    if "log_dir" in left:
        kept["log_dir"] = None
    if downloads_nothing(kept.get("data")):
        kept["data"] = {**kept["data"], "download": False}
    return cast("Config", kept), left


def brings_back(word: str, left: Iterable[str]) -> bool:
    """Whether a typed word is about a key that was left out, or one above it; no group's choice."""
    key = key_of(word)
    is_plain = "." in key or key in (*KEYS, "input")
    return is_plain and any(f"{other}.".startswith(f"{key}.") for other in left)


def left_out(left: Mapping[str, Any], file: object) -> str:
    """Return the line that says what was left out of a file, and the words that bring it back."""
    words = " ".join(shown(key, value) for key, value in left.items())
    return (
        f"{printable(str(file))} names addresses or folders, which count only as typed and were "
        f"left out. To use them, add: {words}"
    )


def shown(key: str, value: Any) -> str:
    """Return `key=value` for a message; the value of a secret is not shown."""
    is_secret = any(part in key.rpartition(".")[2].lower() for part in _SECRET)
    return f"{printable(key)}={'...' if is_secret else printable(str(value))[:200]}"


def _get(config: Mapping[str, Any], key: str) -> Any:
    value: Any = config
    for name in key.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _without(node: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    """Return a mapping without the value at a path; a mapping that becomes empty goes too."""
    kept = dict(node)
    if len(path) == 1:
        kept.pop(path[0], None)
    elif isinstance(kept.get(path[0]), Mapping):
        kept[path[0]] = _without(kept[path[0]], path[1:])
        if not kept[path[0]]:
            del kept[path[0]]
    return kept
