"""The folder of a run: its name, config.yaml and overrides.yaml."""

import json
import logging
import time
from pathlib import Path
from typing import Any

import yaml

from strided.config.yaml_files import CONF_DIR, IS_CHECKOUT
from strided.errors import UserError
from strided.system.durable import write_text

log = logging.getLogger(__name__)


def log_folder(log_dir: str | None) -> Path:
    """Return the folder of all run folders: what was typed, else logs/ of checkout or cwd."""
    if log_dir is not None:
        return Path(log_dir).expanduser()
    return CONF_DIR.parent / "logs" if IS_CHECKOUT else Path("logs")


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


def write_config(folder: Path, config: dict[str, Any], typed: list[str]) -> None:
    """Write overrides.yaml (what was typed) and config.yaml (whole and resolved).

    config.yaml comes last: where it is, a run that was killed can be resumed.
    """
    write_text(folder / "overrides.yaml", yaml.safe_dump(typed, allow_unicode=True))
    write_text(folder / "config.yaml", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def read_config(folder: Path) -> dict[str, Any]:
    """Read a run folder's config.yaml. Raises UserError if there is none or it is damaged."""
    file = folder / "config.yaml"
    if not file.is_file():
        raise UserError(
            f"{folder} is not a run folder: it has no config.yaml; expected one such as "
            "logs/train/lenet5-digits/2026-01-31_12-00-00. Try: ls logs/train/*"
        )
    try:
        config = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}; expected the YAML of a run") from error
    if not isinstance(config, dict):
        raise UserError(f"{file} holds no mapping; expected the YAML of a run")
    return config


def read_results(folder: Path) -> dict[str, Any]:
    """Return results.json of a run folder, empty if the run was killed before writing it."""
    file = folder / "results.json"
    if not file.is_file():
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise UserError(
            f"{file} is damaged: {error}; expected the JSON of a run. Try deleting it: "
            f"resume={folder} of src/train.py writes it again"
        ) from error
