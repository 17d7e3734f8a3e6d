"""Step: where the host waits for the GPU in each training step, by source line."""

import logging
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tests.gpu.visit import Found, Visit, one_line

import strided

STEPS, BATCH = 30, 32
CASES = {
    "plain": [],
    "standard": ["augment=standard"],
    "strong, mixup": ["augment=strong", "augment.mixup=0.2"],
    "randaugment": ["augment=randaugment"],
    "resized_crop": ["augment=resized_crop"],
    "EMA": ["callbacks.ema.decay=0.99"],
    "clip": ["trainer.gradient_clip_val=1.0"],
    "SGD, one_cycle": ["optimizer=sgd", "scheduler=one_cycle"],
}
LIBRARIES = ("/lightning/", "/torch/optim", "/torchvision/", "/torchmetrics/")


def work(visit: Visit) -> None:
    """Train an epoch of STEPS steps for each case, and count torch's warnings of waiting."""
    images = STEPS * BATCH * 10 // 7  # 70 % of them are for training
    words = [*visit.trainer, "data=synthetic", f"data.num_images={images}"]
    words += [f"data.batch_size={BATCH}", "trainer.max_epochs=1", f"log_dir={visit.logs('runs')}"]
    words.append("model=lenet5" if visit.tiny else "model=resnet_cifar")
    words += ["trainer.limit_val_batches=1", "trainer.limit_test_batches=1"]
    for name in list(CASES)[:2] if visit.tiny else CASES:
        try:
            with counted() as places:
                strided.train([*words, *CASES[name]])
        except Exception as error:
            visit.keep(name, {"error": one_line(error)})
            continue
        row = {"per_step": places.total() / STEPS, "where": dict(places.most_common(12))}
        visit.keep(name, row | ({"error": "the host waits in the steps"} if places else {}))


@contextmanager
def counted() -> Iterator[Counter[str]]:
    """Count the places where the host waits; torch warns at each such call."""
    places: Counter[str] = Counter()

    def note(record: logging.LogRecord) -> bool:
        waits = "synchroniz" in record.getMessage()
        frames = traceback.extract_stack()
        if waits and in_step(frames):
            places[place(frames)] += 1
        return not waits

    logger = logging.getLogger("py.warnings")  # where strided sends warnings during a run
    logger.addFilter(note)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield places
        finally:
            if torch.cuda.is_available():
                torch.cuda.set_sync_debug_mode("default")
            logger.removeFilter(note)


def in_step(frames: traceback.StackSummary) -> bool:
    """Whether a training step is at work, and saves nothing; validation comes after its step."""
    called = [(Path(frame.filename).name, frame.name) for frame in frames]
    saves = any(name == "save_checkpoint" for _, name in called)
    return ("training_epoch_loop.py", "advance") in called and not saves


def place(frames: traceback.StackSummary) -> str:
    """Name the innermost line of strided, and that of a library which it calls there."""
    named: list[str] = []
    for frame in reversed(frames):
        own = "/strided/" in frame.filename
        if own or (not named and any(part in frame.filename for part in LIBRARIES)):
            file = "/".join(Path(frame.filename).parts[-2:])
            named.append(f"{file}:{frame.lineno} {frame.name}")
        if own:
            break
    return " > ".join(reversed(named))


def lines(found: Found) -> list[str]:
    """Waits a step of each case, and the worst places."""
    said = []
    for name, row in found.items():
        if "where" not in row:
            said.append(f"{name}: {row['error']}")
            continue
        worst = "; ".join(f"{place} x{count}" for place, count in list(row["where"].items())[:4])
        said.append(f"{name}: {row['per_step']:.1f} waits a step  {worst}")
    return said
