"""Hydra's own keys: which of them a sweep takes, and what is typed in place of the others."""

from hydra.errors import MissingConfigException

from strided.errors import UserError, did_you_mean

# By the beginning of the key. A sweep takes all others, as Hydra does.
INSTEAD = {
    "hydra.run.dir": "log_dir=<folder> for all runs, and name=<name> for this one",
    "hydra.sweep.dir": "log_dir=<folder> for all runs, and name=<name> for this sweep",
    "hydra.sweep.subdir": "it without: the folder of each job is its number",
    "hydra.job.chdir": "full paths: relative ones are of the directory where you typed",
    "hydra.searchpath": "--config-dir <folder>",
    "hydra.mode": "-m, or an experiment with a sweep",
    "hydra.sweeper.params": "-m with key=1,2, or an experiment with a sweep",
    "hydra/sweeper": "search=optuna, which chooses values by Optuna; -m runs every combination",
}
# What a sweep takes, but a single run does not.
INSTEAD_OF_SINGLE = {
    "hydra.output_subdir": "it without: config.yaml and run.log of the run folder are its record",
    "hydra.job.name": "name=<name>",
    "hydra.verbose": "traceback=true to see where an error came from",
    "hydra.job_logging": "it without: run.log of the run folder has all that is printed",
    "hydra/launcher": "it with -m: a launcher starts the jobs of a sweep",
    "hydra.launcher": "it with -m: a launcher starts the jobs of a sweep",
}
LAUNCHERS = {
    "joblib": "hydra-joblib-launcher",
    "submitit_local": "hydra-submitit-launcher",
    "submitit_slurm": "hydra-submitit-launcher",
    "ray": "hydra-ray-launcher",
    "ray_aws": "hydra-ray-launcher",
    "rq": "hydra-rq-launcher",
}


def instead_of(key: str, hints: dict[str, str] = INSTEAD) -> str | None:
    """Return what to type in place of a key of Hydra; None for a key that a sweep takes."""
    found = [hint for own, hint in hints.items() if f"{key}.".startswith(f"{own}.")]
    return found[0] if found else None


def check_hydra_word(word: str, *, multirun: bool) -> None:
    """Raise UserError for a key of Hydra that strided decides itself, or that is for sweeps."""
    key, _, value = word.lstrip("+~").partition("=")
    hint = None if key == "hydra/sweeper" and value == "basic" else instead_of(key)
    if multirun and hint:
        raise UserError(
            f"{word} would change what strided itself decides; expected none. Try {hint}"
        )
    if not multirun:
        hint = hint or instead_of(key, INSTEAD_OF_SINGLE) or "log_dir=, name= or -m"
        raise UserError(f"{word}: Hydra's own keys are for sweeps. Try {hint}")


def not_installed(error: Exception) -> UserError | None:
    """Return the message about a launcher that Hydra did not find, if that is the error."""
    group, _, name = str(getattr(error, "missing_cfg_file", "")).rpartition("/")
    if not isinstance(error, MissingConfigException) or group != "hydra/launcher":
        return None
    if package := LAUNCHERS.get(name):
        return UserError(
            f"hydra/launcher={name} is not installed; expected its plugin beside strided. "
            f"Try pip install {package}"
        )
    return UserError(
        f"hydra/launcher={name}: no plugin that is installed has it; expected one of "
        f"{', '.join(error.options or ())}. {did_you_mean(name, LAUNCHERS)}"
    )
