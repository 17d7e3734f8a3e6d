"""Completion of words in bash, zsh and fish (--shell-completion); Hydra finds the words.

Hydra's own scripts are not used: on a Tab behind `python other.py` they start that script, and bash
expands their words, which may be a stranger's. Nor do they know of verbs.
"""

import os
import re
import shlex
import sys
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from strided.config.compose import compose_hydra
from strided.config.hydra_app import hydra_of_our_own
from strided.config.overrides import is_hydra, normalise, typed_trust
from strided.config.primary import beginning_with, primary
from strided.config.targets import trusting
from strided.config.yaml_files import primary_name
from strided.errors import UserError
from strided.flags import Typed, parse
from strided.verbs.table import VERBS

_BASH = """_strided() {
    local command file reply
    COMPREPLY=()
    read -r command file reply <<< "$COMP_LINE"
    case "${command##*/}" in
        python*)
            grep -qs "from strided.cli import main" "$file" || return
            set -- "$command" "$file" ;;
        *) set -- "$command" ;;
    esac
    while IFS= read -r reply; do
        COMPREPLY+=("$reply")
    done < <(COMP_LINE="${COMP_LINE:0:$COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        "$@" -sc query=bash 2> /dev/null)
}
complete -o nospace -o default -F _strided NAMES"""
_ZSH = f"""autoload -Uz compinit bashcompinit
(( $+functions[compdef] )) || compinit
bashcompinit
{_BASH}"""
_FISH = """function _strided
    set -l words (commandline -opc)
    set -l run $words[1]
    if string match -q 'python*' (basename $words[1])
        set run $words[1..2]
    end
    COMP_LINE=(commandline -cp) $run -sc query=fish 2> /dev/null
end
function _is_strided
    set -l words (commandline -opc)
    not string match -q 'python*' (basename $words[1])
    or grep -qs 'from strided.cli import main' $words[2]
end
complete NAMES -n _is_strided -x -a '(_strided)'"""
INSTALL = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}
UNINSTALL = {
    "bash": "complete -r NAMES",
    "zsh": "compdef -d NAMES",
    "fish": "complete -e NAMES",
}
# Of a YAML's values, only those that a shell reads as they are.
_PLAIN = re.compile(r"[\w./=+~:@%,-]+", re.ASCII)


def complete(typed: Typed) -> str:
    """Answer `install=bash`, `uninstall=bash` or `query=bash`, for any of the shells."""
    task, _, shell = " ".join(typed.words).partition("=")
    if task not in ("install", "uninstall", "query") or shell not in INSTALL:
        raise UserError(
            f"--shell-completion {' '.join(typed.words)}; expected install, uninstall or query of "
            f'{", ".join(INSTALL)}. Try eval "$({_own_name()} -sc install=bash)"'
        )
    if task == "query":
        return "\n".join(matches(os.environ.get("COMP_LINE", "")))
    is_script = sys.argv[0].endswith(".py")
    names = ["python", "python3"] if is_script else [Path(sys.argv[0]).name]
    given = " ".join(f"-c {name}" if shell == "fish" else name for name in names)
    return {"install": INSTALL, "uninstall": UNINSTALL}[task][shell].replace("NAMES", given)


def _own_name() -> str:
    name = sys.argv[0]
    return f"python {name}" if name.endswith(".py") else Path(name).name


def matches(line: str) -> list[str]:
    """Return the words that the last one of a command line may become, one or more."""
    try:
        words = shlex.split(line)
    except ValueError:  # an open quote
        return []
    partial = "" if line[-1:].isspace() else words.pop()
    words, command = words[1:], Path(words[0] if words else "").name
    verb = Path(words[0]).stem if command.startswith("python") and words else None
    if verb is None:
        if not words:
            return [verb for verb in VERBS if verb.startswith(partial)]
        verb = words[0]
    try:
        found = _words_of_hydra(parse(verb, words[1:]), partial)
    except (UserError, HydraException, OmegaConfBaseException):
        return []  # what was typed so far cannot be composed
    broken = set(os.environ.get("COMP_WORDBREAKS", "")) & set("=:")
    begun = max((partial.rfind(sign) + 1 for sign in broken), default=0)
    return [word[begun:] for word in found if _PLAIN.fullmatch(word)]


def _words_of_hydra(typed: Typed, partial: str) -> list[str]:
    """Return Hydra's words; the YAML so far is checked first, since it may be a stranger's."""
    if partial.startswith("-"):
        return []
    with trusting(typed_trust(typed.words), typed.config_dir), beginning_with(typed.primary):
        overrides = normalise(typed.verb, typed.words, typed.config_dir, multirun=typed.multirun)
        if typed.config_dir or primary().is_typed:
            compose_hydra(typed.verb, [*overrides], typed.config_dir)
        words = [word for word in overrides if not re.search(r"\s", word)]
        name = primary_name(typed.verb, typed.config_dir)
        with hydra_of_our_own(typed.config_dir) as own:
            plugin = own.get_shell_to_plugin_map(own.config_loader)["bash"][0]
            found = plugin._query(config_name=name, line=" ".join([*words, partial]))
    return [str(word) for word in found if typed.multirun or not is_hydra(str(word))]
