"""What there is to say of each verb's keys, of each group and of each option, for --help."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints, is_typeddict

from strided.config.arguments import Argument, arguments_at, nodes
from strided.config.docstrings import argument_texts, purpose
from strided.config.keys import Node
from strided.config.schema import PLAIN_KEYS
from strided.config.targets import locate
from strided.config.type_words import as_typed_value, type_words
from strided.config.typed_only import leaves
from strided.config.yaml_comments import Comments, read_comments
from strided.config.yaml_files import CONF_DIR, plain_defaults
from strided.errors import UserError, one_line, printable
from strided.system.plain_data import read_yaml


@dataclass(frozen=True)
class Part:
    """A node of an option: the class behind its `_target_`, and the arguments of that class.

    `rest` says what else it takes, if it passes arguments on. Of a class that an earlier part of
    the option has too, only the arguments that the YAML decides are listed.
    """

    path: str
    target: str
    purpose: str
    arguments: tuple[Argument, ...]
    rest: str = ""
    as_of: str = ""  # the path of the earlier part


@dataclass(frozen=True)
class Option:
    """An option of a group: what its YAML says of it and decides, and its parts."""

    group: str
    name: str
    comments: Comments
    node: Node
    parts: tuple[Part, ...]


def plain_keys(verb: str) -> list[Argument]:
    """Return the keys of a verb that belong to no group; of a node, each of its keys."""
    comments = read_comments(CONF_DIR / f"{verb}.yaml").of
    return [
        Argument(
            inner,
            as_typed_value(value),
            type_words(kinds.get(inner.partition(".")[2], PLAIN_KEYS[key])),
            comment=comments.get(inner, ""),
        )
        for key, default in plain_defaults(verb).items()
        for kinds in [get_type_hints(PLAIN_KEYS[key]) if is_typeddict(PLAIN_KEYS[key]) else {}]
        for inner, value in (leaves(key, default) if kinds else {key: default}).items()
    ]


def group_meanings(verb: str) -> dict[str, str]:
    """Return what conf/<verb>.yaml says of each group."""
    found = read_comments(CONF_DIR / f"{verb}.yaml").of
    start = "defaults."
    return {key.removeprefix(start): text for key, text in found.items() if key.startswith(start)}


def comments_of(group: str, name: str, folders: Sequence[Path]) -> Comments:
    """Return the comments of an option's own YAML; imports nothing."""
    return read_comments(_file_of(group, name, folders))


def option_of(group: str, name: str, folders: Sequence[Path]) -> Option:
    """Read an option and import the classes that it names.

    Raises UserError for a class that is not allowed, and for a YAML that cannot be read.
    """
    node, comments = _read(group, name, folders, ())
    found: dict[str, Part] = {}  # the first of each target
    parts = []
    for path, inner in nodes(node, group):
        part = _part(path, inner, comments)
        first = found.setdefault(part.target, part)
        parts.append(part if first is part else _shortened(part, inner, first.path))
    return Option(group, name, comments, node, tuple(parts))


def decided(option: Option) -> Iterator[str]:
    """Yield what an experiment chooses and sets, as words that could be typed."""
    for entry in option.node.get("defaults", []):
        if isinstance(entry, dict):
            for group, name in entry.items():
                yield f"{group.removeprefix('override /')}={name}"
    for key, value in option.node.items():
        if key != "defaults":
            for inner, typed in leaves(key, value).items():
                yield f"{inner}={as_typed_value(typed)}"


def _read(
    group: str, name: str, folders: Sequence[Path], within: tuple[str, ...]
) -> tuple[Node, Comments]:
    """An option's YAML with what it takes over from others of its group."""
    file = _file_of(group, name, folders)
    try:
        content = read_yaml(file)
    except (ValueError, OSError) as error:
        raise UserError(
            f"{printable(str(file))} cannot be read: {error}; expected groups, keys and values. "
            "Try it without this option"
        ) from error
    own: Node = content if content is not None else {}
    _require_mapping(own, file)
    comments = read_comments(file)
    node: Node = {}
    of: dict[str, str] = {}
    for entry in own.get("defaults") or []:
        is_other = isinstance(entry, str) and entry not in (*within, name, "_self_")
        if is_other and _files_of(group, entry, folders):
            above, inherited = _read(group, entry, folders, (*within, name))
            node |= above
            of |= inherited.of
    return node | own, replace(comments, of=of | comments.of)


def _require_mapping(content: Any, file: Path) -> None:
    """Raise UserError for a YAML that is no mapping, or whose defaults are no list of options."""
    defaults = (content.get("defaults") or []) if isinstance(content, dict) else None
    known = isinstance(defaults, list) and all(
        isinstance(key, str)
        for entry in defaults
        for key in (entry if isinstance(entry, dict) else [entry])
    )
    if not known:
        raise UserError(
            f"{printable(str(file))} holds {one_line(str(content)[:60])}; expected keys with values"
            " and, if any, defaults that are a list of options. Try it without defaults"
        )


def _file_of(group: str, name: str, folders: Sequence[Path]) -> Path:
    return _files_of(group, name, folders)[0]


def _files_of(group: str, name: str, folders: Sequence[Path]) -> list[Path]:
    """The YAML of an option in these folders, of which Hydra takes the first."""
    if not re.fullmatch(r"[\w.-]+", name):
        return []
    files = (folder / group / f"{name.removesuffix('.yaml')}.yaml" for folder in folders)
    return [file for file in files if file.is_file()]


def _part(path: str, node: Node, comments: Comments) -> Part:
    target = locate(node["_target_"], path)
    texts = argument_texts(target)
    rest = next((text for name, text in texts.items() if name.startswith("**")), "")
    said = comments.of.get(path.partition(".")[2]) or purpose(target)
    return Part(path, node["_target_"], said, arguments_at(path, node, target, comments.of), rest)


def _shortened(part: Part, node: Node, earlier: str) -> Part:
    """A part whose class was explained before."""
    stated = (one for one in part.arguments if one.key.rpartition(".")[2] in node)
    return replace(part, arguments=tuple(stated), as_of=earlier)
