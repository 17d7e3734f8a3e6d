"""Step: what machine this is."""

import os
import platform
import subprocess
from contextlib import suppress

import torch
import torchvision
from tests.gpu.visit import Found, Visit

QUERY = "driver_version,clocks.max.sm,power.limit,utilization.gpu,memory.used"


def work(visit: Visit) -> None:
    """Note versions, GPU and cores."""
    rows: Found = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "cores": len(os.sched_getaffinity(0)),
    }
    if torch.cuda.is_available():
        torch.zeros(1, device="cuda").item()  # it answers
        properties = torch.cuda.get_device_properties(0)
        rows |= {
            "gpu": properties.name,
            "gpus": torch.cuda.device_count(),
            "memory_mb": round(properties.total_memory / 2**20),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
    with suppress(OSError):
        command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
        answers = done.stdout.strip().split(", ")
        rows["nvidia-smi"] = dict(zip(QUERY.split(","), answers, strict=False))
    for name, value in rows.items():
        visit.keep(name, value)
    if not visit.tiny and "gpu" not in rows:
        visit.keep("error", "torch sees no GPU here")


def lines(found: Found) -> list[str]:
    """One line."""
    return [", ".join(f"{name} {value}" for name, value in found.items())]
