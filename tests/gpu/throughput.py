"""Step: ResNet-50 at 224 px beside a loop of plain PyTorch whose batch lies on the GPU."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from tests.gpu.visit import Found, Visit, freed, one_line, peak_megabytes
from torch.nn import functional as F
from torchvision import models

import strided
from strided.benchmark.pair import prepare_pair
from strided.system.devices import synchronise
from strided.system.signals import Interruption


@dataclass(frozen=True)
class Bare:
    """A way to run the plain loop."""

    autocast: bool = True
    channels_last: bool = True
    compiled: bool = False


BARE = {
    "bf16": Bare(),
    "nchw": Bare(channels_last=False),
    "tf32": Bare(autocast=False),
    "compile": Bare(compiled=True),
}
BF16 = ["trainer.precision=bf16-mixed"]
STRIDED = {  # beside which plain loop, and the words
    "bf16": ("bf16", BF16),
    "augmented": ("bf16", [*BF16, "augment=resized_crop"]),
    "nchw": ("nchw", [*BF16, "channels_last=false"]),
    "tf32": ("tf32", ["trainer.precision=32-true"]),
    "compile": ("compile", [*BF16, "compile=true"]),
}
BATCH = 256


def work(visit: Visit) -> None:
    """Measure each way in turn, the plain loop first; compiling comes last since it is slow."""
    for name, (beside, words) in STRIDED.items():
        if visit.tiny and name != "bf16":
            continue
        for label, measure in (
            (f"bare {beside}", lambda beside=beside: bare(visit, BARE[beside])),
            (f"strided {name}", lambda words=words: strided_rate(visit, words)),
        ):
            if label in visit.found:
                continue
            freed()
            try:
                started = time.perf_counter()
                row = measure() | {"peak_mb": peak_megabytes()}
                visit.keep(label, row | {"seconds": round(time.perf_counter() - started, 1)})
            except Exception as error:
                visit.keep(label, {"error": one_line(error)})


def bare(visit: Visit, how: Bare) -> Found:
    """Images per second of uint8 batch to optimizer step, without strided."""
    device, (side, batch) = visit.device, (32, 8) if visit.tiny else (224, BATCH)
    torch.set_float32_matmul_precision("high")
    layout = torch.channels_last if how.channels_last else torch.contiguous_format
    net = (models.resnet18 if visit.tiny else models.resnet50)().to(device, memory_format=layout)
    run = torch.compile(net) if how.compiled else net
    images = torch.randint(0, 256, (batch, 3, side, side), dtype=torch.uint8, device=device)
    images = images.to(memory_format=layout)
    labels = torch.randint(0, 1000, (batch,), device=device)
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in ([124.0] * 3, [58.0] * 3))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9, fused=True)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=how.autocast):
            loss = F.cross_entropy(run(images.float().sub_(mean).div_(std)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    rate = batch * steps_per_second(step, device, 0.05 if visit.tiny else 2.0)
    return {"images_per_second": round(rate, 1)}


def steps_per_second(step: Callable[[], None], device: torch.device, seconds: float) -> float:
    """Time a step for about `seconds`, after some that warm up."""
    for _ in range(2 if device.type == "cpu" else 8):
        step()
    synchronise(device)
    started, steps = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        for _ in range(4):
            step()
        synchronise(device)
        steps += 4
    return steps / (time.perf_counter() - started)


def strided_rate(visit: Visit, words: list[str], data: tuple[str, ...] = ()) -> Found:
    """Images per second of strided's training and of its inference, as `benchmark` has them."""
    size = [f"data.batch_size={BATCH}", "data.image_size=224", "model=resnet50", "seconds=2"]
    if visit.tiny:
        size = ["data.batch_size=8", "data.image_size=32", "model=resnet18", "seconds=0.05"]
    number = 64 if visit.tiny else 3000
    data = data or ("data=synthetic", f"data.num_images={number}")
    config = strided.compose("benchmark", [*visit.trainer, *data, *size, "optimizer=sgd", *words])
    folder = visit.logs("pairs")
    folder.mkdir(parents=True, exist_ok=True)
    pair = prepare_pair(config, folder, {}, Interruption())
    rates = {part: round(pair.measure(part).rate, 1) for part in ("strided", "inference")}
    return {"images_per_second": rates["strided"], **rates, "execution": pair.execution}


def ratio(found: Found, name: str) -> float | None:
    """Strided's images a second over those of the plain loop."""
    own, other = (found.get(k, {}) for k in (f"strided {name}", f"bare {STRIDED[name][0]}"))
    known = "images_per_second" in own and "images_per_second" in other
    return own["images_per_second"] / other["images_per_second"] if known else None


def lines(found: Found) -> list[str]:
    """A line for each way: the plain loop, strided, their ratio."""
    said = [f"{name}: {row['error'][:150]}" for name, row in found.items() if "error" in row]
    for name, (beside, _) in STRIDED.items():
        if (share := ratio(found, name)) is not None:
            row = found[f"strided {name}"]
            said.append(
                f"{name}: bare {found[f'bare {beside}']['images_per_second']:.0f},"
                f" strided {row['strided']:.0f} ({share:.2f}), inference {row['inference']:.0f}"
                f" images/s; peak {row['peak_mb']} MB"
            )
    return said


def jpeg_rate(visit: Visit, root: Path, words: list[str]) -> Found:
    """The same on a zip of JPEG files."""
    return strided_rate(visit, [*BF16, *words], ("data=image_folder", f"data.root={root}"))
