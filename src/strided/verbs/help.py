"""--help: the verbs; for each verb its groups with options, its keys, and working commands."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

from strided.config.yaml_files import config_folders, group_options, verb_keys
from strided.verbs.table import VERBS


def overview() -> str:
    """Return the help of `strided` itself."""
    lines = [f"  {verb:<9} {row.purpose}" for verb, row in VERBS.items()]
    return "\n".join(
        ["strided <verb> key=value ...", "", *lines, "", "strided <verb> --help shows its keys"]
    )


def verb_help(verb: str, config_dir: Path | None) -> str:
    """Return the help of a verb."""
    options = group_options(config_folders(config_dir))
    groups, keys = verb_keys(verb)
    width = max(len(group) for group in [*groups, "keys"])
    return "\n".join(
        [
            f"{verb}: {VERBS[verb].purpose}",
            "",
            "groups (group=option; any argument of what stands behind: group.argument=value)",
            *(_wrapped(f"  {group:<{width}}  ", options.get(group, [])) for group in groups),
            "",
            _wrapped("keys: ", keys),
            "flags: -m (every combination of a=1,2 b=x,y), --cfg job (show the config), "
            "--config-dir <your own YAML>,",
            "       --shell-completion install=bash (Tab completes words); all flags: --hydra-help",
            "       -v (say more), -q (say only what came out, and warnings)",
            "",
            "for example",
            *(f"  {example}" for example in VERBS[verb].examples),
        ]
    )


def _wrapped(label: str, words: Iterable[str]) -> str:
    return textwrap.fill(
        ", ".join(words), 100, initial_indent=label, subsequent_indent=" " * len(label)
    )
