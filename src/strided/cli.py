"""The command line: `python src/<verb>.py key=value ...` and `strided <verb> key=value ...`."""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import yaml

from strided.config.overrides import typed_trust, typed_value, without
from strided.config.targets import trusting
from strided.errors import UserError, printable
from strided.jobs.job import compose_run
from strided.jobs.runner import print_error, run
from strided.sweeps.folder import SweepFolder
from strided.sweeps.search.search import resume_search, run_search
from strided.sweeps.sweep import resume_sweep, run_sweep, sweep_of
from strided.system.processes import ignore_batch_script, is_launched
from strided.system.signals import Interrupted
from strided.verbs.help import overview, verb_help
from strided.verbs.table import VERBS


@dataclass(frozen=True)
class Typed:
    """What was typed after the verb: `words` are the overrides, the rest are flags."""

    verb: str
    words: list[str]
    help: bool
    multirun: bool
    config_dir: Path | None
    cfg: str | None


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; return the exit code: 0 done, 1 a mistake or failure, 130 and 143 stopped."""
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold any byte
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0
    try:
        typed = parse(words[0], words[1:])
        with trusting(typed_trust(typed.words)):
            run_verb(typed)
        return 0
    except (Interrupted, KeyboardInterrupt) as stop:
        print(f"\n{stop or 'stopped'}", file=sys.stderr)
        return stop.exit_code if isinstance(stop, Interrupted) else 130
    except Exception as error:
        print_error(error, words)
        return 1


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; expected key=value words. Try --help")


def parse(verb: str, words: Sequence[str]) -> Typed:
    """Split the typed words into overrides and flags. Raises UserError."""
    if verb not in VERBS:
        raise UserError(f"there is no verb {verb}; expected one of {', '.join(VERBS)}. Try --help")
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("words", nargs="*")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("-m", "--multirun", action="store_true")
    parser.add_argument("-cd", "--config-dir", type=Path)
    parser.add_argument("-c", "--cfg", choices=["job"])
    return Typed(verb, **vars(parser.parse_intermixed_args(list(words))))


def run_verb(typed: Typed) -> None:
    """Show help or config, or run: one job, the rest of one, or the jobs of a sweep."""
    verb, words, config_dir = typed.verb, typed.words, typed.config_dir
    stopped = typed_value(words, "resume")
    searching = verb == "train" and typed_value(words, "search")
    if sum(map(bool, (typed.cfg, typed.multirun, stopped))) > 1 or (typed.multirun and searching):
        raise UserError("--cfg, -m, resume= and search= exclude each other; expected one of them")
    if typed.multirun and verb == "compare":
        raise UserError(
            "-m makes runs apart from each other; expected one table of all. Try models=[a,b]"
        )
    if typed.multirun and typed_value(words, "models"):
        raise UserError("-m and models= exclude each other; expected one. Try -m model=a,b")
    if typed.multirun or searching or verb != "train":
        require_single_process()
    if typed.help:
        print(printable(verb_help(verb, config_dir)))
    elif typed.cfg:
        config, _ = compose_run(verb, words, config_dir)
        print(printable(yaml.safe_dump(config, sort_keys=False, allow_unicode=True)))
    elif typed.multirun:
        run_sweep(verb, words, config_dir, sweep_of(verb, words, config_dir))
    elif verb == "train" and stopped:
        resume(Path(os.path.expanduser(stopped)), typed)
    elif searching:
        run_search(words, config_dir)
    elif trend := sweep_of(verb, words, config_dir):
        require_single_process()
        run_sweep(verb, words, config_dir, trend)
    else:
        run(verb, words, config_dir)


def resume(folder: Path, typed: Typed) -> None:
    """Continue a sweep, a search or a run."""
    changes = without(typed.words, "resume")
    files = SweepFolder(folder)
    if files.sweep.is_file() or files.search.is_file():
        require_single_process()
    if files.sweep.is_file():
        resume_sweep(folder, changes, typed.config_dir)
    elif files.search.is_file():
        resume_search(folder, changes, typed.config_dir)
    else:
        run(typed.verb, typed.words, typed.config_dir)


def require_single_process() -> None:
    """Raise UserError within torchrun or srun."""
    ignore_batch_script()
    if is_launched():
        raise UserError(
            "a launcher (torchrun, srun) started several processes, which only a run of train can "
            "use; expected one. Try it without a launcher: the jobs of a sweep start their own, as "
            "many as trainer.devices says"
        )
