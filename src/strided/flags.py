"""What was typed after the verb: overrides, and the flags, which are Hydra's."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from strided.config.hints import flag_advice, other_verb
from strided.config.overrides import typed_value
from strided.config.primary import Primary
from strided.config.yaml_files import verb_keys
from strided.errors import UserError
from strided.system.verbosity import ENDING, ONCE
from strided.verbs.table import VERBS


@dataclass(frozen=True)
class Typed:
    """What was typed after the verb: `words` are the overrides, the rest are flags."""

    verb: str
    words: list[str]
    help: bool
    multirun: bool
    run: bool
    config_dir: Path | None
    config_path: Path | None
    config_name: str | None
    cfg: str | None
    resolve: bool
    package: str | None
    info: str | None
    shell_completion: bool
    hydra_help: bool
    version: bool
    experimental_rerun: str | None
    shown_from: int  # of the levels of messages

    @property
    def primary(self) -> Primary:
        """The config to begin with."""
        return Primary(self.config_name, self.config_path and self.config_path.resolve())

    @property
    def shows(self) -> bool:
        """Whether something is shown in place of a run."""
        return bool(
            self.cfg or self.info or self.shell_completion or self.hydra_help or self.version
        )


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; expected key=value words. Try --help")


def parse(verb: str, words: Sequence[str]) -> Typed:
    """Split the typed words into overrides and flags. Raises UserError."""
    if verb not in VERBS:
        raise UserError(
            f"there is no verb {verb}; expected one of {', '.join(VERBS)}. "
            f"{other_verb(verb) or 'Try --help'}"
        )
    found, unknown = _parser().parse_known_intermixed_args(list(words))
    if unknown:
        groups, keys = verb_keys(verb)
        raise UserError(
            f"{unknown[0]} is no flag; expected key=value words, without dashes. "
            f"{flag_advice(unknown[0], words, [*groups, *keys])}"
        )
    flags = vars(found)
    typed = Typed(verb, flags.pop("overrides"), **flags)
    _require_one_purpose(typed)
    return typed


def _parser() -> _Parser:
    hydras = get_args_parser()
    parser = _Parser(
        add_help=False, allow_abbrev=False, parents=[hydras], conflict_handler="resolve"
    )
    parser.add_argument("--version", action="store_true")
    parser.add_argument("-cd", "--config-dir", type=Path)
    parser.add_argument("-cp", "--config-path", type=Path)
    shown = parser.add_mutually_exclusive_group()
    shown.set_defaults(shown_from=ONCE)
    for flag, level in (("verbose", logging.DEBUG), ("quiet", ENDING)):
        shown.add_argument(
            f"-{flag[0]}", f"--{flag}", dest="shown_from", action="store_const", const=level
        )
    return parser


def _require_one_purpose(typed: Typed) -> None:
    """Raise UserError for flags that exclude each other, or that strided does not take."""
    if typed.experimental_rerun is not None:
        raise UserError(
            f"--experimental-rerun {typed.experimental_rerun} would load a pickle, which may run "
            "any code; expected a run folder. Try resume=<run folder> to go on with it, or --cfg "
            "job --resolve > mine/again.yaml and --config-dir mine --config-name again"
        )
    if (typed.resolve or typed.package) and not typed.cfg:
        raise UserError("--resolve and --package say how --cfg shows a config. Try --cfg job")
    stopped = typed_value(typed.words, "resume")
    searching = typed.verb == "train" and typed_value(typed.words, "search")
    purposes = (
        *(typed.cfg, typed.info, typed.shell_completion),
        *(typed.multirun, typed.run or stopped),
    )
    if sum(map(bool, purposes)) > 1 or (typed.multirun and searching):
        raise UserError(
            "--cfg, --info, --shell-completion, --run, -m, resume= and search= exclude each other; "
            "expected one of them. Try it without the others"
        )
    if typed.multirun and typed.verb == "compare":
        raise UserError(
            "-m makes runs apart from each other; expected one table of all. Try models=[a,b]"
        )
    if typed.multirun and typed.verb == "serve":
        raise UserError(
            "-m makes runs one after the other, and a service runs until it is stopped; expected "
            "one service a command. Try a command for each without -m, with a port of its own: "
            "port=8001"
        )
    if typed.multirun and typed_value(typed.words, "models"):
        raise UserError("-m and models= exclude each other; expected one. Try -m model=a,b")
