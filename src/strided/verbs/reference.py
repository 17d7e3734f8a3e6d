"""docs/reference.md: all verbs, groups, options and keys. `make reference` writes it."""

import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from strided.config.arguments import Argument
from strided.config.options import Option, decided, group_meanings, option_of, plain_keys
from strided.config.type_words import REQUIRED
from strided.config.yaml_files import config_folders, group_options, verb_keys
from strided.verbs.table import VERBS

_COLUMNS = 100
_MOST_DEFAULTS = 4  # of a key, that are listed with their options

_INTRODUCTION = """\
# Reference

Every verb, group, option and key. `make reference` writes this page: from `conf/`, from the
comments there, and from the signatures and docstrings of the classes behind the options. What
belongs to Lightning, torch or Optuna is in their words.

A key is typed `key=value`, of a group `group.key=value`. Keys stand here with their defaults.
Behind `--help` stands the same for what you have installed, and for your own options:
`python src/train.py data=csv --help`.
"""


def reference() -> str:
    """Return the page."""
    blocks = [_INTRODUCTION]
    for verb, row in VERBS.items():
        used = ", ".join(f"[{group}](#{group})" for group in verb_keys(verb)[0])
        blocks.append(f"## strided {verb}\n")
        purpose = row.purpose[0].upper() + row.purpose[1:]
        blocks.append(_filled(f"{purpose}. Groups: {used or 'none'}.") + "\n")
        bullets = (_bullet(a.key, a.default, a.words, a.meaning) for a in plain_keys(verb))
        blocks.append("\n".join(bullets) + "\n")
    meanings = {group: text for verb in VERBS for group, text in group_meanings(verb).items()}
    for group in dict.fromkeys(group for verb in VERBS for group in verb_keys(verb)[0]):
        blocks += [f"## {group}\n", _filled(f"{meanings[group].capitalize()}.") + "\n"]
        blocks += _group(group)
    return "\n".join(blocks)


def _group(group: str) -> Iterator[str]:
    folders = config_folders()
    options = [option_of(group, name, folders) for name in group_options(folders)[group]]
    yield "\n".join(map(_option, options)) + "\n"
    for names, arguments in _shared(options).items():
        of_all = len(names) == len(options) and len(options) > 1
        yield _filled(f"Arguments of {'all options' if of_all else _code(names)}:") + "\n"
        yield "\n".join(map(_argument, arguments)) + "\n"


def _option(option: Option) -> str:
    said = _escaped(option.comments.header.rstrip("."))
    words = " ".join(f"`{word}`" for word in decided(option)) if not option.parts else ""
    targets = _code(dict.fromkeys(part.target for part in option.parts))
    ends = [targets and f"Behind it: {targets}.", words and f"It decides {words}."]
    return _filled(" ".join([f"- **{option.name}**: {said}.", *filter(None, ends)]), 2)


def _shared(options: Iterable[Option]) -> dict[tuple[str, ...], list[list[tuple[str, Argument]]]]:
    """The arguments, each with the options that have it, by the names of these options."""
    owners: dict[tuple[str, str, str], list[tuple[str, Argument]]] = {}
    for option in options:
        for part in option.parts:
            for argument in part.arguments:
                same = (argument.key, argument.type, argument.text)
                owners.setdefault(same, []).append((option.name, argument))
    found: dict[tuple[str, ...], list[list[tuple[str, Argument]]]] = {}
    for owned in owners.values():
        found.setdefault(tuple(name for name, _ in owned), []).append(owned)
    return dict(sorted(found.items(), key=lambda item: (-len(item[0]), item[0])))


def _argument(owned: list[tuple[str, Argument]]) -> str:
    """An argument of some options: its most frequent default, and those of the other options."""
    _, first = owned[0]
    usual, _ = Counter(argument.default for _, argument in owned).most_common(1)[0]
    others: dict[str, list[str]] = {}
    for name, argument in owned:
        if argument.default != usual:
            others.setdefault(argument.default, []).append(name)
    said = [
        f"{'must be typed' if default == REQUIRED else default} in {', '.join(names)}"
        for default, names in others.items()
    ]
    if len(said) > _MOST_DEFAULTS:
        said, usual = ["the default differs"], REQUIRED
    elif usual == REQUIRED:
        said = ["must be typed", *said]
    same = len({argument.comment for _, argument in owned}) == 1
    meaning = first.meaning if same else Argument(first.key, "", "", first.text).meaning
    return _bullet(first.key, usual, "; ".join([first.type, *said]), meaning)


def _bullet(key: str, default: str, kind: str, meaning: str) -> str:
    typed = key if default == REQUIRED else f"{key}={default}"
    return _filled(f"- `{typed}` ({kind}): {_escaped(meaning)}", 2)


def _escaped(text: str) -> str:
    """Plain text as Markdown shows it: <root> is no tag, _target_ no emphasis."""
    return re.sub(r"<(?=\w)|(?<!\w)_(?=\w)|(?<=\w)_(?!\w)", r"\\\g<0>", text)


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _filled(text: str, indent: int = 0) -> str:
    return textwrap.fill(
        text,
        _COLUMNS,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
