"""The folder of a run: the names of its files, and reading and writing some of them."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_type_hints

import yaml

from strided.config.keys import Config
from strided.config.type_words import describe
from strided.config.values import fits
from strided.config.yaml_files import CONF_DIR, IS_CHECKOUT
from strided.errors import UserError, printable, sought_from
from strided.runs.results import Results
from strided.system.durable import write_text
from strided.system.plain_data import is_there, read_json, read_yaml

FIGURES = "figures"  # in a sweep too
BEST, LAST = "best.ckpt", "last.ckpt"
PREVIOUS = "previous.ckpt"  # the last.ckpt before the last save
SEEN = "seen.npy"  # beside the checkpoints: digests of the images they were trained on


@dataclass(frozen=True)
class RunFolder:
    """The path of each file of a run. The names are a contract; a file may be missing."""

    path: Path

    @property
    def config(self) -> Path:
        """The whole resolved config."""
        return self.path / "config.yaml"

    @property
    def overrides(self) -> Path:
        """What was typed."""
        return self.path / "overrides.yaml"

    @property
    def results(self) -> Path:
        """The results of the run."""
        return self.path / "results.json"

    @property
    def log(self) -> Path:
        """The terminal's output."""
        return self.path / "run.log"

    @property
    def metrics(self) -> Path:
        """A row per epoch."""
        return self.path / "metrics.csv"

    @property
    def gradients(self) -> Path:
        """A row per epoch and layer, if callbacks.gradient_norms is on."""
        return self.path / "gradients.csv"

    @property
    def predictions(self) -> Path:
        """A row per image."""
        return self.path / "predictions.csv"

    @property
    def val_predictions(self) -> Path:
        """A row per validation image, of at most 5,000 where there is a test split."""
        return self.path / "val_predictions.csv"

    @property
    def cases(self) -> Path:
        """A row per image that a person shall look at, of a run with a triage policy."""
        return self.path / "cases.csv"

    @property
    def inner_predictions(self) -> Path:
        """A row per training image, left out of the fit: of optimizer=lbfgs with several l2."""
        return self.path / "inner_predictions.csv"

    @property
    def inner_logits(self) -> Path:
        """The logits of the same images, without a validation split: to calibrate on."""
        return self.checkpoints / "inner_logits.npz"

    @property
    def label_suspects(self) -> Path:
        """The errors of the test, the surest first, of a run with shortcuts=true."""
        return self.path / "label_suspects.csv"

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """The checkpoint for the test."""
        return self.checkpoints / BEST

    @property
    def last(self) -> Path:
        """The checkpoint that a resumed run starts from."""
        return self.checkpoints / LAST

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "card.md"

    @property
    def figures(self) -> Path:
        """The folder of the figures, including the report's."""
        return self.path / FIGURES


def log_folder(log_dir: str | None) -> Path:
    """Return the folder of all run folders: as typed, else logs/ of the checkout or cwd."""
    if log_dir is not None:
        return Path(os.path.expanduser(log_dir))
    return CONF_DIR.parent / "logs" if IS_CHECKOUT else Path("logs")


def lies_in(folder: Path, log_dir: object) -> bool:
    """Whether a folder of a run, a sweep or a search is where this log_dir would have put it."""
    if not isinstance(log_dir, str):
        return False
    home, place = log_folder(log_dir).resolve(), folder.resolve()
    inside = place.relative_to(home).parts if place.is_relative_to(home) else ()
    return len(inside) > 2 and inside[0] in ("train", "multirun")


def require_no_way_out(folder: Path) -> None:
    """Raise UserError if a file that is to be written again is a link to outside of the folder.

    The folder may be a stranger's; a link would have us write to its target. W&B's own folders hold
    links of its own, and are never written again. A hard link is refused where it would be written
    to: all other files are replaced, and checkpoints share their bytes.
    """
    here = folder.resolve()
    for place, folders, files in os.walk(folder):
        if Path(place) == folder / "wandb":
            folders[:] = []
        for name in (*folders, *files):
            file = Path(place, name)
            is_wandbs = file.parent == folder / "wandb" and name != "run_id"
            plain = (file.is_file() and not _is_shared(file)) or file.is_dir()
            if not is_wandbs and not (plain and file.resolve().is_relative_to(here)):
                raise UserError(
                    f"{printable(str(file))} leads out of its run folder, or is no file; expected "
                    "the folder as the run wrote it. Try replacing it by a copy of what it leads to"
                )


def _is_shared(file: Path) -> bool:
    """Whether a file that is written in place, not replaced, has another name somewhere."""
    return file.name in ("run.log", "run_id") and file.stat().st_nlink > 1


def create_run_folder(parent: Path) -> Path:
    """Create `<parent>/<date_time>`; a run that starts in the same second gets another one."""
    started = time.strftime("%Y-%m-%d_%H-%M-%S")
    for attempt in range(1000):
        folder = parent / (f"{started}_{attempt}" if attempt else started)
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"the run folder {folder} cannot be created ({error.strerror}); expected a folder "
                "that can be written. Try log_dir=<another folder>"
            ) from error
        return folder
    raise UserError(f"{parent} holds 1,000 runs of this second; try another name=")


def write_config(folder: Path, config: Config, typed: list[str]) -> None:
    """Write overrides.yaml (what was typed) and config.yaml (whole and resolved).

    config.yaml comes last: a killed run that has it can be resumed.
    """
    files = RunFolder(folder)
    write_text(files.overrides, yaml.safe_dump(typed, allow_unicode=True))
    write_text(files.config, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def read_config(folder: Path) -> Config:
    """Read a run folder's config.yaml. Raises UserError if there is none or it is damaged."""
    file = RunFolder(folder).config
    if not is_there(file):
        exists = folder.is_dir()
        lacks = "it has no config.yaml" if exists else f"it does not exist{sought_from(folder)}"
        raise UserError(
            f"{folder} is not a run folder: {lacks}; expected one such as "
            "logs/train/lenet5-digits/2026-01-31_12-00-00. Try: ls logs/train/*"
        )
    try:
        config = read_yaml(file)
    except ValueError as error:
        raise UserError(
            f"{file} cannot be read: {error}; expected the YAML of a run. Try another copy of the "
            "run folder"
        ) from error
    if not isinstance(config, dict):
        raise UserError(f"{file} holds no mapping; expected the YAML of a run")
    return cast("Config", config)


def read_overrides(folder: Path) -> list[str]:
    """Return overrides.yaml of a run folder: what was typed; empty if there is none or no list."""
    file = RunFolder(folder).overrides
    try:
        words = read_yaml(file) if is_there(file) else []
    except ValueError as error:
        raise UserError(
            f"{file} cannot be read: {error}; expected the words of a run. Try deleting it"
        ) from error
    return [str(word) for word in words] if isinstance(words, list) else []


def read_results(folder: Path) -> Results:
    """Return results.json of a run folder, empty if the run was killed before writing it."""
    file = RunFolder(folder).results
    if not is_there(file):
        return {}
    try:
        results = dict(read_json(file))
        for key, expected in get_type_hints(Results).items():
            if results.get(key) is not None and not fits(results[key], expected):
                raise ValueError(f"{key} is not {describe(expected)}")
        return cast("Results", results)
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{file} is damaged: {error}; expected the JSON of a run. Try deleting it: "
            f"resume={folder} of src/train.py writes it again"
        ) from error
