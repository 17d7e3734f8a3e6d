"""What a run's numbers depend on: commit, versions and hardware."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from strided.config.yaml_files import CONF_DIR, IS_CHECKOUT
from strided.runs.results import Git, Gpu, Hardware
from strided.version import __version__

SERVED_BY = ("onnxruntime", "numpy", "pillow", "fastapi", "uvicorn")  # what a service depends on
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


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python, strided and the packages its numbers depend on."""
    found = {name: version(name) for name in packages}
    return {"python": platform.python_version(), "strided": __version__, **found}


def processor() -> Hardware:
    """Return the processor and its cores."""
    return {"cpu": _cpu_name(), "cores": os.cpu_count()}


def hardware() -> Hardware:
    """Return the processor, its cores, threads used by torch, and the accelerator, if any."""
    import torch

    found = torch.cuda.is_available()
    return {
        **processor(),
        "torch_threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if found else None,
        "gpu": _gpu() if found else None,
    }


def _gpu() -> Gpu:
    import torch

    properties = torch.cuda.get_device_properties(torch.cuda.current_device())
    cudnn = None
    with suppress(RuntimeError):  # it does not fit this GPU or torch, which may not matter
        cudnn = torch.backends.cudnn.version()
    return {
        "count": torch.cuda.device_count(),
        "memory_bytes": properties.total_memory,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "driver": gpu_driver(),
        "cuda": torch.version.cuda,
        "cudnn": cudnn,
    }


def gpu_driver() -> str | None:
    """Return the version of NVIDIA's driver, as 580.95.05; None if nothing tells it."""
    with suppress(OSError):  # not in every container
        if version := driver_in(Path("/proc/driver/nvidia/version").read_text()):
            return version
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return next(iter(done.stdout.split()), None)
    return None


def driver_in(told: str) -> str | None:
    """Return the version in what the kernel tells of NVIDIA's driver, the open one or the other."""
    found = re.search(r"NVRM version:.*?\s(\d+(?:\.\d+)+)\s", told)
    return found[1] if found else None


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
