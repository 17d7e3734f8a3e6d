"""The arguments of the class behind a `_target_`: key, type, default and meaning of each.

Names, types and defaults come from the signature of the class and from the YAML. Meanings come from
the docstring of the class and from the comment beside the value.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from strided.config.docstrings import argument_texts, first_sentence
from strided.config.keys import Node
from strided.config.needs import NEEDS, always
from strided.config.schema import FILLED_IN, OFF_WHEN_NULL, arguments_of
from strided.config.targets import EXTRA_KEYS, FOREIGN
from strided.config.type_words import REQUIRED, as_typed_value, expressible, type_words


@dataclass(frozen=True)
class Argument:
    """A key that may be typed; `default` and `type` are in the words of the command line.

    `text` is all that is said of it, `comment` what the YAML adds about its own value.
    """

    key: str
    default: str
    type: str
    text: str = ""
    comment: str = ""

    @property
    def label(self) -> str:
        """key=default, or the key alone if a value must be typed."""
        return self.key if self.default == REQUIRED else f"{self.key}={self.default}"

    @property
    def words(self) -> str:
        """The type, and whether a value must be typed."""
        return f"{self.type}; must be typed" if self.default == REQUIRED else self.type

    @property
    def meaning(self) -> str:
        """One line: the first sentence of the text, and the comment if it adds a word to it."""
        text = first_sentence(self.text)
        said = [text[:1].upper() + text[1:]] if text else []
        if not _words(self.comment) <= _words(self.text):
            said.append(self.comment)
        return "; ".join(said)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


def nodes(node: Any, path: str) -> Iterator[tuple[str, Node]]:
    """Yield each node with a `_target_` in a value at a dotted key, with its own dotted key."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield path, node
        for key, child in node.items():
            yield from nodes(child, f"{path}.{key}")


def arguments_at(
    path: str, node: Node, target: Callable[..., Any], comments: Mapping[str, str]
) -> tuple[Argument, ...]:
    """Return the arguments of the target of the node at a dotted key, those of the YAML first.

    `comments` are those of its YAML, by key. Left out is what nobody could type.
    """
    texts = argument_texts(target)
    return tuple(
        _argument(path, name, values, texts, node, comments)
        for name, values in _signature(target, path, node).items()
    )


def _argument(
    path: str,
    name: str,
    annotation_and_default: tuple[Any, Any],
    texts: Mapping[str, str],
    node: Node,
    comments: Mapping[str, str],
) -> Argument:
    annotation, default = annotation_and_default
    value = node.get(name, default)
    words = type_words(annotation, value)
    if OFF_WHEN_NULL.get(path) == name and not words.endswith("null"):
        words += " or null"
    key = f"{path}.{name}"
    comment = comments.get(key.partition(".")[2], "")
    extra = EXTRA_KEYS.get(path, {}).get(name)
    text = texts.get(name) or (extra.meaning if extra else "")
    return Argument(key, as_typed_value(value), words, text, comment)


def _signature(target: Callable[..., Any], path: str, node: Node) -> dict[str, tuple[Any, Any]]:
    """Type and default of each argument that may be typed: those of the YAML first."""
    accepted, _ = arguments_of(target)
    extra = EXTRA_KEYS.get(path, {})
    defaults = {**_defaults(target), **{name: entry.default for name, entry in extra.items()}}
    kinds = {**accepted, **{name: entry.type for name, entry in extra.items()}}
    stated = [name for name in node if name in kinds]
    return {
        name: (kinds[name], defaults.get(name, REQUIRED))
        for name in dict.fromkeys([*stated, *_own_first(target, kinds)])
        if not _is_hidden(target, path, name, kinds[name], node)
    }


def _own_first(target: Callable[..., Any], names: Iterable[str]) -> list[str]:
    own = _defaults(target, inherited=False)
    return sorted(names, key=lambda name: name not in own)


def _defaults(target: Callable[..., Any], *, inherited: bool = True) -> dict[str, Any]:
    """The default of each argument; REQUIRED if there is none."""
    homes: Sequence[Any] = [target]
    if inspect.isclass(target):
        owners = [base for base in target.__mro__[:-1] if "__init__" in vars(base)]
        homes = [vars(base)["__init__"] for base in (owners if inherited else owners[:1])]
    found: dict[str, Any] = {}
    for home in homes:
        for name, parameter in inspect.signature(inspect.unwrap(home)).parameters.items():
            has_none = parameter.default is inspect.Parameter.empty
            found.setdefault(name, REQUIRED if has_none else parameter.default)
    return found


def _is_hidden(
    target: Callable[..., Any], path: str, name: str, annotation: Any, node: Node
) -> bool:
    """Whether nobody could type it: filled in, of no use, a node of its own, or no plain value."""
    key = f"{path}.{name}"
    no_use = any(
        need.is_missing is always and fnmatchcase(key, pattern)
        for need in NEEDS
        for pattern in need.keys.split()
        if not pattern.endswith("*")
    )
    return (
        (path, name) in FILLED_IN
        or name in getattr(target, "unread", {})
        or any(nodes(node.get(name), key))
        or no_use
        or set(expressible(annotation)) <= {type(None)}
        or (annotation is Any and name not in node and _is_foreign(target))
    )


def _is_foreign(target: Callable[..., Any]) -> bool:
    """Whether it is of another library, whose arguments without a type are functions or the like.

    Optuna's and torch's are annotated with names that exist for type checkers only.
    """
    return target.__module__.split(".")[0] in {home.split(".")[0] for home, _ in FOREIGN.values()}
