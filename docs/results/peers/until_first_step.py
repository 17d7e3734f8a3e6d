"""Run a script until its first training step, and print what that took:

    BEGAN=$(date +%s.%N) python until_first_step.py <script> <words of the script>

The step begins when a layer in training mode gets a tensor with gradients switched on, and not on
the meta device. Nothing is imported that the script does not import: strided starts in another way
where torch is there already. Packages in HIDDEN are as if not installed.
"""

import json
import multiprocessing
import os
import resource
import runpy
import sys
import time
from pathlib import Path
from typing import Any

PROCESS = os.getpid()


class AfterTorch:
    """Is asked for each module that is imported; watches all layers once torch has them."""

    watches = False

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        layers: Any = sys.modules.get("torch.nn.modules.module")
        if not self.watches and hasattr(layers, "register_module_forward_pre_hook"):
            layers.register_module_forward_pre_hook(leave_in_training)
            self.watches = True


def leave_in_training(layer: Any, given: tuple[Any, ...]) -> None:
    """End the process if this is a training step of the script itself, and not of its workers."""
    torch: Any = sys.modules["torch"]
    first = given[0] if given else None
    if os.getpid() != PROCESS or not layer.training or not torch.is_grad_enabled():
        return
    if not isinstance(first, torch.Tensor) or first.device.type == "meta":
        return
    seconds = time.time() - float(os.environ["BEGAN"])
    workers = multiprocessing.active_children()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(one.ru_utime + one.ru_stime for one in used) + sum(map(cpu_of, workers))
    print(
        "\n" + json.dumps({"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2)}), flush=True
    )
    for worker in workers:
        worker.kill()
    os._exit(0)


def cpu_of(worker: multiprocessing.process.BaseProcess) -> float:
    """The seconds of processor of a process that runs: proc(5), fields 14 and 15."""
    fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.argv = sys.argv[1:]
    sys.path[0] = str(Path(sys.argv[0]).resolve().parent)
    sys.modules.update(dict.fromkeys(os.environ.get("HIDDEN", "").split()))  # type: ignore[arg-type]
    sys.meta_path.insert(0, AfterTorch())  # type: ignore[arg-type]
    runpy.run_path(sys.argv[0], run_name="__main__")
