"""The folder of a run: its name, its log, and results.json, whatever way the run ends."""

import json
import logging
import os
import platform
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from strided.config.yaml_files import CONF_DIR, IS_CHECKOUT
from strided.errors import UserError, describe_error
from strided.system.durable import write_json, write_text
from strided.system.machine import alone_in
from strided.system.processes import from_first, is_first
from strided.system.signals import Interrupted
from strided.version import __version__

log = logging.getLogger(__name__)

PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "timm", "numpy")


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


@contextmanager
def recorded(folder: Path, command: list[str]) -> Iterator[dict[str, Any]]:
    """Log into run.log, and write results.json at the end, also when the run fails or is stopped.

    Yields the results so far (those of an earlier sitting, if there was one), to be added to.
    """
    if is_first():
        with alone_in(folder / "run.log"):
            yield from _recorded(folder, command)
    else:
        yield from _followed(folder)


def _followed(folder: Path) -> Iterator[dict[str, Any]]:
    """A process beside the first one: it writes nothing but why it failed."""
    with _logging_to([logging.NullHandler()]):
        try:
            yield from_first(None)
        except Exception as error:
            _log_to_file_only(folder, error)
            raise


def _recorded(folder: Path, command: list[str]) -> Iterator[dict[str, Any]]:
    results = read_results(folder) or {"command": command}
    for key in list(results):  # of an earlier sitting: measured anew, or no longer true
        if key in ("error", "tested", "confusion") or key.startswith("test/"):
            del results[key]
    results["state"] = "running"  # what a killed run leaves
    write_json(folder / "results.json", results)
    handlers: list[logging.Handler] = [
        logging.StreamHandler(sys.stdout),
        logging.FileHandler(folder / "run.log", encoding="utf-8", errors="surrogateescape"),
    ]
    with _logging_to(handlers):
        try:
            results.update(git=git_state(), versions=versions(), hardware=hardware())
            from_first(results)
            yield results
            results["state"] = "finished"
        except BaseException as error:
            stopped = isinstance(error, Interrupted | KeyboardInterrupt)
            results["state"] = "interrupted" if stopped else "failed"
            if not stopped:
                results["error"] = describe_error(error)
            _log_to_file_only(folder, error)
            raise
        finally:
            write_json(folder / "results.json", results)


def _log_to_file_only(folder: Path, error: BaseException) -> None:
    import traceback

    with (folder / "run.log").open("a", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write("".join(traceback.format_exception(error)))
        for name, reason in getattr(error, "files", ()):
            stream.write(f"{name}: {reason}\n")


@contextmanager
def _logging_to(handlers: Sequence[logging.Handler]) -> Iterator[None]:
    """Send strided's and Lightning's messages, and warnings, to these handlers."""
    import lightning.pytorch  # noqa: F401  # now, since it sets the level of its logger

    plain = logging.Formatter("%(message)s")
    for handler in handlers:
        handler.setFormatter(plain)
    ours = [logging.getLogger(name) for name in ("strided", "py.warnings")]
    format_before = warnings.formatwarning
    logging.captureWarnings(True)
    warnings.formatwarning = lambda message, *_: f"warning: {message}"  # without file and line
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)  # its tips and device list
    for logger in ours:
        logger.setLevel(logging.INFO)
        logger.propagate = False
        logger.handlers = list(handlers)
    try:
        with warnings.catch_warnings():
            # Lightning's own use of torch, which its users cannot change
            warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
            # what is logged has been summed over the processes already
            warnings.filterwarnings("ignore", message="It is recommended to use `self.log")
            # metrics go to the loggers once an epoch, whatever log_every_n_steps is
            warnings.filterwarnings("ignore", message="The number of training batches")
            # frozen layers are so on purpose
            warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
            yield
    finally:
        for logger in ours:
            logger.handlers = []
            logger.propagate = True
        logging.captureWarnings(False)
        warnings.formatwarning = format_before
        for handler in handlers:
            handler.close()


def git_state() -> dict[str, Any]:
    """Return the commit of the code and whether it was changed since; nulls outside a checkout."""

    def git(*words: str) -> str | None:
        command = ["git", "-C", str(CONF_DIR.parent), *words]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD") if IS_CHECKOUT else None
    return {"commit": commit, "dirty": bool(git("status", "--porcelain")) if commit else None}


def versions() -> dict[str, str]:
    """Return the versions of Python, strided and what its numbers depend on."""
    found = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "strided": __version__, **found}


def hardware() -> dict[str, Any]:
    """Return the processor, its cores, threads used by torch, and the accelerator, if any."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "accelerator": gpu,
    }


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
