"""Step: a run stopped by SIGTERM inside an epoch and resumed, against one that never stopped."""

import os
import signal
import time
from multiprocessing.context import ForkProcess
from pathlib import Path

import torch
from tests.gpu.visit import Found, Visit, read_epochs

MODES = {"deterministic": ["trainer.deterministic=true"], "default": []}
TIMING = ("epoch_seconds", "images_per_second")


def work(visit: Visit) -> None:
    """Train whole and stopped runs of both modes at once, then resume the stopped ones."""
    size = ["model=resnet_cifar", "data.num_images=8000", "trainer.max_epochs=5"]
    if visit.tiny:
        size = ["model=lenet5", "data.num_images=3000", "trainer.max_epochs=6"]
    words = ["train", "data=synthetic", "augment=standard", *size]
    words += ["callbacks.ema.decay=0.99", "scheduler=cosine", *visit.trainer]
    modes = {"default": MODES["default"]} if visit.tiny else MODES
    whole = {m: visit.start(f"whole-{m}", *words, *modes[m]) for m in modes}
    stopped = {m: visit.start(f"stopped-{m}", *words, *modes[m]) for m in modes}
    waiting = dict(stopped)
    while waiting and visit.left() > 0:
        for mode in [m for m in waiting if seen(visit, m, waiting[m])]:
            stop(waiting.pop(mode))
        time.sleep(0.02)
    resumed = {}
    for mode, process in stopped.items():
        process.join(max(0, visit.left()))
        folder = visit.run_folder(f"stopped-{mode}")
        resumed[mode] = visit.start(f"resumed-{mode}", "train", f"resume={folder}")
    for mode in modes:
        whole[mode].join(max(0, visit.left()))
        resumed[mode].join(max(0, visit.left()))
        codes = [process.exitcode for process in (whole[mode], stopped[mode], resumed[mode])]
        found = {"exit_codes": codes, **compared(visit, mode)}
        if codes != [0, 143, 0]:
            found.setdefault("error", "one was not stopped inside an epoch, or did not end")
        visit.keep(mode, found)


def seen(visit: Visit, mode: str, process: ForkProcess) -> bool:
    """Whether the first epoch was reported, or the process ended."""
    told = "epoch 1/" in visit.output(f"stopped-{mode}")
    return told or process.exitcode is not None


def stop(process: ForkProcess) -> None:
    """Send SIGTERM a moment into the next epoch."""
    time.sleep(0.1)
    if process.exitcode is None and process.pid is not None:
        os.kill(process.pid, signal.SIGTERM)


def compared(visit: Visit, mode: str) -> Found:
    """Compare weights, metrics and predictions."""
    whole, other = visit.run_folder(f"whole-{mode}"), visit.run_folder(f"stopped-{mode}")
    if whole is None or other is None or not (whole / "predictions.csv").is_file():
        return {"error": f"{visit.said(f'whole-{mode}')}; {visit.said(f'stopped-{mode}')}"}
    if not (other / "predictions.csv").is_file():
        return {"error": visit.said(f"resumed-{mode}")}
    one, two = weights(whole), weights(other)
    apart = max(float((one[k].double() - two[k].double()).abs().max()) for k in one)
    found: Found = {
        "largest_weight_difference": apart,
        "metrics_equal": untimed(whole) == untimed(other),
        "predictions_equal": predictions(whole) == predictions(other),
    }
    found["bit_equal"] = not apart and found["metrics_equal"] and found["predictions_equal"]
    if (mode == "deterministic" or visit.tiny) and not found["bit_equal"]:
        found["error"] = "the resumed run is not the one that never stopped"
    return found


def weights(folder: Path) -> dict[str, torch.Tensor]:
    """The weights that a run ended with."""
    file = folder / "checkpoints" / "last.ckpt"
    kept = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    return {name: tensor for name, tensor in kept.items() if tensor.numel()}


def untimed(folder: Path) -> list[dict[str, str]]:
    """metrics.csv without its timing."""
    return [{k: v for k, v in row.items() if k not in TIMING} for row in read_epochs(folder)]


def predictions(folder: Path) -> bytes:
    """predictions.csv."""
    return (folder / "predictions.csv").read_bytes()


def lines(found: Found) -> list[str]:
    """Bit-equal or not, by mode."""
    said = []
    for mode, row in found.items():
        exact = "bit-equal" if row.get("bit_equal") else f"not equal: {row}"
        said.append(f"{mode}: {exact}; exit codes whole, stopped, resumed {row['exit_codes']}")
    return said
