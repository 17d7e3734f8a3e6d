"""What a run's numbers depend on: commit, versions and hardware."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from strided.config.yaml_files import CONF_DIR, IS_CHECKOUT
from strided.runs.results import Git, Hardware
from strided.version import __version__

PACKAGES = ("torch", "torchvision", "lightning", "hydra-core", "torchmetrics", "timm", "numpy")


def git_state() -> Git:
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
    """Return the versions of Python, strided and the packages its numbers depend on."""
    found = {name: version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "strided": __version__, **found}


def hardware() -> Hardware:
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
