"""--help: the verbs; a verb with its groups and keys; a group or an option with its arguments."""

import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from strided.config.arguments import Argument
from strided.config.docstrings import first_sentence
from strided.config.hints import hint_or_close
from strided.config.options import (
    Option,
    comments_of,
    decided,
    group_meanings,
    option_of,
    plain_keys,
)
from strided.config.overrides import key_of, normalise
from strided.config.yaml_files import config_folders, group_options, require_usable, verb_keys
from strided.errors import UserError, did_you_mean
from strided.verbs.table import GROUP_EXAMPLES, VERBS

_COLUMNS = 100
_LEFT = 32  # columns for key=default, with its meaning to the right


def overview() -> str:
    """Return the help of `strided` itself."""
    lines = [f"  {verb:<9} {row.purpose}" for verb, row in VERBS.items()]
    return "\n".join(
        ["strided <verb> key=value ...", "", *lines, "", "strided <verb> --help shows its keys"]
    )


def help_of(verb: str, words: Sequence[str], config_dir: Path | None) -> str:
    """Return the help of a verb, or of the groups, options and keys among the typed words.

    Raises UserError for words that the verb does not have.
    """
    if not words:
        return verb_help(verb, config_dir)
    typed = [word for word in words if "=" in word]
    normalise(verb, typed, config_dir, multirun=True)
    groups, keys = verb_keys(verb)
    chosen = groups | {key_of(word): word.partition("=")[2] for word in typed}
    folders = config_folders(config_dir)
    if config_dir:
        require_usable(config_dir)
    pages: dict[str, str] = {}
    for word in words:
        key = key_of(word)
        group = key.split(".")[0]
        if group in keys:
            own = [a for a in plain_keys(verb) if a.key.split(".")[0] == group]
            if key != group:
                known = [a.key for a in own]
                if key not in known:
                    raise UserError(
                        f"{key} is no key of {group}; expected one of {', '.join(known)}. "
                        f"{did_you_mean(key, known, f'Try {group}')}"
                    )
                own = [a for a in own if a.key == key]
            pages[key] = "\n".join(line for argument in own for line in _in_full(argument))
        elif group not in groups:
            raise UserError(
                f"{verb} has no group or key {group}; expected one that {_launcher(verb)} --help "
                f"shows. {hint_or_close(group, '', [*groups, *keys])}"
            )
        elif key == group and "=" not in word:
            pages[group] = group_help(verb, group, groups[group], folders)
        else:
            for name in (chosen[group] or "").strip("[]").split(","):
                page = _option_or_argument(verb, group, key, name, folders)
                pages[f"{group}={name}" if key == group else key] = page
    return "\n\n".join(pages.values())


def verb_help(verb: str, config_dir: Path | None) -> str:
    """Return the help of a verb."""
    return "\n".join(
        [
            f"{verb}: {VERBS[verb].purpose}",
            "",
            *_groups(verb, config_dir),
            "keys (key=default)",
            *_listed(plain_keys(verb)),
            "",
            "flags: -m (every combination of a=1,2 b=x,y), --cfg job (show the config), "
            "--config-dir <your own YAML>,",
            "       -v (say more), -q (say only what came out, and warnings),",
            "       --shell-completion install=bash (Tab completes words); all flags: --hydra-help",
            "",
            "for example",
            *(f"  {example}" for example in VERBS[verb].examples),
        ]
    )


def _groups(verb: str, config_dir: Path | None) -> Iterator[str]:
    """Yield the lines of a verb's groups, if it has any."""
    groups, _ = verb_keys(verb)
    if not groups:
        return
    options = {group: [""] for group in groups} | group_options(config_folders(config_dir))
    meanings = group_meanings(verb)
    width = max(map(len, groups))
    yield "groups (group=option; any argument of what stands behind: group.argument=value)"
    for group in groups:
        text = f"{meanings[group]}: {', '.join(options.get(group, []))}"
        yield _wrapped(f"  {group:<{width}}  ", text)
    first = next(iter(groups))
    yield f"  {_launcher(verb)} {first} --help shows one of them with its arguments"
    yield ""


def group_help(verb: str, group: str, default: str | None, folders: Sequence[Path]) -> str:
    """Return the help of a group: its options in a line each, the arguments of the default one."""
    names = group_options(folders).get(group, [])
    if not names:
        raise UserError(
            f"{group}: there is no {group}/ with YAML in {' or '.join(map(str, folders))}; "
            "expected one. Try --config-dir, which adds your own YAML to strided's"
        )
    width = max(map(len, names))
    said = {name: first_sentence(comments_of(group, name, folders).header) for name in names}
    option = option_of(group, default, folders) if default in names else None
    return "\n".join(
        [
            f"{group}: {group_meanings(verb)[group]}",
            "",
            f"options ({group}=option; without it {default or 'none'})",
            *(_wrapped(f"  {name:<{width}}  ", text) for name, text in said.items()),
            f"  {_launcher(verb)} {group}={names[-1]} --help shows one of them with its arguments",
            *([*_arguments(option)] if option else []),
            *_examples(verb, group, option.name if option else names[0], folders),
        ]
    )


def option_help(verb: str, option: Option, folders: Sequence[Path]) -> str:
    """Return the help of an option: what it is, what it decides, its arguments, two commands."""
    said = option.comments.header or next((part.purpose for part in option.parts), "")  # yours
    words = " ".join(decided(option))
    return "\n".join(
        [
            _wrapped(f"{option.group}={option.name}: ", said, 2),
            *([_wrapped("it decides: ", words, 2)] if not option.parts and words else []),
            *_arguments(option),
            *_examples(verb, option.group, option.name, folders),
        ]
    )


def _option_or_argument(verb: str, group: str, key: str, name: str, folders: Sequence[Path]) -> str:
    if name in ("", "null"):
        raise UserError(f"{key}: {group} has no option by default; expected one. Try {group}")
    if name.removesuffix(".yaml") not in (
        known := group_options(folders).get(group, [])
    ):  # quoted, or glob(*)
        raise UserError(
            f"{group}={name} is no option; expected its name alone. {did_you_mean(name, known)}"
        )
    option = option_of(group, name, folders)
    if key == group:
        return option_help(verb, option, folders)
    found = {argument.key: argument for part in option.parts for argument in part.arguments}
    if key not in found:
        raise UserError(
            f"{key} is no argument of {group}={name}; expected one of those that "
            f"{_launcher(verb)} {group}={name} --help shows. {did_you_mean(key, found)}"
        )
    return "\n".join(_in_full(found[key]))


def commands(verb: str, group: str, name: str, folders: Sequence[Path]) -> list[str]:
    """Return two commands with an option: those that its YAML shows come first."""
    if verb != "train":
        return sorted(VERBS[verb].examples, key=lambda shown: f" {group}=" not in shown)[:2]
    general = [
        f"python src/train.py {group}={name} {words}".strip() for words in GROUP_EXAMPLES[group]
    ]
    return [*comments_of(group, name, folders).commands, *general][:2]


def _arguments(option: Option) -> Iterator[str]:
    for part in option.parts:
        beside = "" if part.path == option.group else f": {part.purpose}"
        yield ""
        arguments = "arguments of " if part.arguments else ""
        yield _wrapped("", f"{arguments}{part.path}{beside} ({part.target})", 2)
        yield from _listed(part.arguments)
        if part.rest:
            yield _wrapped("  ", f"{part.path}.<another>=... {part.rest}", 2)
        if part.as_of:
            yield f"  and the others of {part.as_of}"


def _listed(arguments: Iterable[Argument]) -> Iterator[str]:
    """Yield the lines of arguments: key=default, its meaning, its type."""
    for argument in arguments:
        label = f"  {argument.label}"
        text = f"{argument.meaning} [{argument.words}]"
        if len(label) > _LEFT:
            yield label
            label = ""
        yield _wrapped(f"{label:<{_LEFT}}  ", text)


def _in_full(argument: Argument) -> Iterator[str]:
    yield _wrapped(argument.label, f" [{argument.words}]", 2)
    yield from (_wrapped("  ", text) for text in (argument.text, argument.comment) if text)


def _examples(verb: str, group: str, name: str, folders: Sequence[Path]) -> Iterator[str]:
    yield from ("", "for example")
    yield from (f"  {command}" for command in commands(verb, group, name, folders))


def _launcher(verb: str) -> str:
    return f"python src/{verb}.py"


def _wrapped(label: str, text: str, indent: int | None = None) -> str:
    """Fill lines after a label; they are indented as the label is long, or by `indent`."""
    return textwrap.fill(
        text,
        _COLUMNS,
        initial_indent=label,
        subsequent_indent=" " * (len(label) if indent is None else indent),
        break_long_words=False,
        break_on_hyphens=False,
    )
