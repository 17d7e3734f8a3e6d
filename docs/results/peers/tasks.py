"""The tasks of measure.py, and how each tool is told to do them."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TRAIN = Path(__file__).parents[3] / "src" / "train.py"
WORKERS, RATE, DECAY = 2, 0.01, 5e-4


@dataclass(frozen=True)
class Row:
    """A task that several tools do; `images` are those of a class in training."""

    data_set: str
    classes: int
    images: int
    network: str
    size: int
    batch: int
    precision: str = "32-true"  # Lightning's name
    epochs: int = 2
    frozen: bool = False


def resnet18(size: int, images: int, precision: str) -> Row:
    """ResNet-18 with the stem of its paper: of timm, torchvision and strided alike."""
    return Row("cifar10", 10, images, "resnet18", size, 128, precision)


ROWS = {
    # as many multiply-adds as with a small stem on 32 px: 0.6 against 0.56 billion
    "resnet18_128px_float32": resnet18(128, 192, "32-true"),
    "resnet18_128px_bf16": resnet18(128, 384, "bf16-mixed"),
    "resnet18_32px_float32": resnet18(32, 1280, "32-true"),
    "resnet18_32px_bf16": resnet18(32, 1280, "bf16-mixed"),
    "frozen_lite0": Row("flowers", 5, 250, "efficientnet_lite0", 224, 32, epochs=10, frozen=True),
}


def strided(row: Row, images: Path, out: Path, cache: Path) -> list[str]:
    """The command of a run of strided."""
    if row.frozen:
        shutil.rmtree(cache, ignore_errors=True)
        special = ["transfer=frozen", "transfer.from_scratch=true", "augment=none"]
    else:
        special = ["model.stem=imagenet", "augment=resized_crop", "augment.crop_scale=0.08"]
    words = [f"model={row.network}", "data=image_folder", f"data.root={images}"]
    words += [f"data.image_size={row.size}", f"data.batch_size={row.batch}", *special]
    words += ["optimizer=sgd", f"optimizer.lr={RATE}", f"optimizer.weight_decay={DECAY}"]
    words += ["trainer=cpu", f"trainer.max_epochs={row.epochs}"]
    words += [f"trainer.precision={row.precision}"]
    words += [f"data.cache_dir={cache}", f"log_dir={out}"]
    return [sys.executable, str(TRAIN), *words]


def timm(row: Row, images: Path, out: Path, script: Path) -> list[str]:
    """The command of timm's train.py; `sgd` is Nesterov's there."""
    # options of newer versions; older ones have the code, and take what a --config says
    config = ["device: cpu"] + ["layer_decay_no_opt_scale: 0.5"] * row.frozen
    (out / "config.yaml").write_text("\n".join(config) + "\n")
    name = {"efficientnet_lite0": "tf_efficientnet_lite0"}.get(row.network, row.network)
    words = ["--config", f"{out}/config.yaml", "--data-dir", str(images), "--val-split", "val"]
    words += ["--model", name, "--num-classes", str(row.classes), "--img-size", str(row.size)]
    words += ["--batch-size", str(row.batch), "--workers", str(WORKERS), "--channels-last"]
    words += ["--opt", "sgd", "--lr", str(RATE), "--weight-decay", str(DECAY), "--smoothing", "0"]
    words += ["--epochs", str(row.epochs), "--warmup-epochs", "0", "--log-interval", "1"]
    words += ["--output", str(out)]
    if row.frozen:
        words += ["--layer-decay", "0.1", "--no-aug"]
    else:
        words += ["--color-jitter", "0", "--train-interpolation", "bilinear"]
    if row.precision != "32-true":
        words += ["--amp", "--amp-dtype", "bfloat16"]
    return [sys.executable, str(script), *words]


def torchvision(row: Row, images: Path, out: Path, script: Path) -> list[str] | None:
    """The command of torchvision's train.py, or None for what it does not do."""
    if row.frozen or row.precision != "32-true":
        return None
    words = ["--data-path", str(images), "--model", row.network, "--device", "cpu"]
    words += ["--train-crop-size", str(row.size), "--val-crop-size", str(row.size)]
    words += ["--val-resize-size", str(row.size), "--batch-size", str(row.batch)]
    words += ["--workers", str(WORKERS), "--opt", "sgd_nesterov", "--lr", str(RATE)]
    words += ["--weight-decay", str(DECAY), "--epochs", str(row.epochs), "--print-freq", "1"]
    words += ["--output-dir", str(out)]
    return [sys.executable, str(script), *words]


COMMANDS: dict[str, Callable[[Row, Path, Path, Path], list[str] | None]] = {
    "strided": strided,
    "timm": timm,
    "torchvision": torchvision,
}
