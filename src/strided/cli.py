"""The command line: `python src/<verb>.py key=value ...` and `strided <verb> key=value ...`."""

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from strided.config.overrides import typed_trust, typed_value, without
from strided.config.primary import beginning_with
from strided.config.targets import trusting
from strided.errors import UserError, printable
from strided.flags import Typed, parse
from strided.hydra_flags import answer
from strided.jobs.runner import print_error, run
from strided.sweeps.folder import SweepFolder
from strided.sweeps.search.search import resume_search, run_search
from strided.sweeps.sweep import resume_sweep, run_sweep, sweep_of
from strided.system.processes import ignore_batch_script, is_launched
from strided.system.signals import Interrupted
from strided.system.starting import starting
from strided.system.verbosity import showing
from strided.verbs.help import help_of, overview

# What `strided` itself answers, without a verb.
NO_VERB = ("--version", "--hydra-help", "--shell-completion", "-sc")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a verb; return the exit code: 0 done, 1 a mistake or failure, 130 and 143 stopped."""
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names may hold any byte
    if not words or words[0] in ("-h", "--help"):
        print(overview())
        return 0
    try:
        verb, *rest = words if words[0] not in NO_VERB else ["train", *words]
        typed = parse(verb, rest)
        with (
            starting(),
            trusting(typed_trust(typed.words), typed.config_dir),
            beginning_with(typed.primary),
            showing(typed.shown_from),
        ):
            if typed.help:
                show(help_of(verb, typed.words, typed.config_dir))
            elif typed.shows:
                show(answer(typed))
            else:
                run_verb(typed)
        return 0
    except (Interrupted, KeyboardInterrupt) as stop:
        print(f"\n{stop or 'stopped'}", file=sys.stderr)
        return stop.exit_code if isinstance(stop, Interrupted) else 130
    except Exception as error:
        print_error(error, words)
        return 1


def show(text: str) -> None:
    """Print an answer, which a pipe may end early: `--cfg job | head`."""
    try:
        print(printable(text), flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run_verb(typed: Typed) -> None:
    """Run one job, the rest of one, or the jobs of a sweep."""
    verb, words, config_dir = typed.verb, typed.words, typed.config_dir
    stopped = typed_value(words, "resume")
    searching = verb == "train" and typed_value(words, "search")
    if typed.multirun or searching or verb != "train":
        require_single_process()
    if typed.multirun:
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
