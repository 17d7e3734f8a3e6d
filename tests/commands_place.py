"""A folder in which every documented command finds what it names: tiny, and made on the spot."""

import csv
import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision
from PIL import Image
from tests.documented import FENCE, PAGES

from strided.cli import main
from strided.data import CIFAR10, CatsDogs, Flowers
from strided.data.sets import xray

DATE = "2026-01-31_12-00-00"  # of README's run folders
MADE = f"logs/train/lenet5-digits/{DATE}"
# what a word in angle brackets stands for
PLACEHOLDERS = {
    "<date_time>": DATE,
    "<name>": "lenet5-digits",
    "<run folder>": MADE,
    "<run folder or .ckpt>": MADE,
}
ONE_BATCH = tuple(f"trainer.limit_{split}_batches=1" for split in ("train", "val", "test"))
QUICK = (*ONE_BATCH, "trainer.max_epochs=1", "data.batch_size=4", "log_dir=logs")
PRETRAINED = ("alexnet", "densenet121", "efficientnet_b0", "googlenet", "resnet50", "vgg16")
FINDINGS = ("covid", "none", "pneumonia")


def write_picture(file: Path, number: int, size: int = 40) -> None:
    """Write noise of the picture's own, with a bright square."""
    pixels = np.random.default_rng(number).integers(0, 120, (size, size, 3), dtype=np.uint8)
    corner = number % (size // 2)
    pixels[corner : corner + size // 2, corner : corner + size // 2, number % 3] += 120
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)


def write_classes(
    folder: Path, names: Sequence[str], count: int, begin: int = 0, size: int = 40
) -> None:
    """Write <name>/<index>.jpg, `count` of each."""
    for place, name in enumerate(names):
        for index in range(count):
            write_picture(folder / name / f"{index}.jpg", begin + place * count + index, size)


def pack(folder: Path) -> None:
    """Put a folder into <folder>.zip beside it."""
    with zipfile.ZipFile(folder.with_name(f"{folder.name}.zip"), "w") as target:
        for file in sorted(folder.rglob("*.*")):
            target.write(file, file.relative_to(folder))


def write_mnist(folder: Path) -> None:
    """Write the four IDX files: 12 and 4 images of each digit."""
    folder.mkdir(parents=True)
    for split, count in (("train", 120), ("t10k", 40)):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = (np.arange(count) % 10).astype(np.uint8)
        for kind, array in (("images-idx3", pixels), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            (folder / f"{split}-{kind}-ubyte").write_bytes(header + array.tobytes())


def write_table(table: Path, path: str, label: str) -> None:
    """Write <table>.csv and <table>.zip: 30 patients with two pictures each."""
    folder = table.with_suffix("")
    with table.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow([path, label, "patient_id"])
        for index in range(60):
            write_picture(folder / f"{index}.png", 700 + index)
            rows.writerow([f"{index}.png", FINDINGS[index // 2 % 3], index // 2])
    pack(folder)


def write_data(root: Path) -> None:
    """Write the named sets that commands ask for, and the X-rays."""
    write_mnist(root / "MNIST" / "raw")
    write_classes(root / "flower_photos", Flowers.class_names, 8)
    for split, count, begin in (("train", 6, 0), ("test", 2, 100)):
        write_classes(root / "cifar10" / split, CIFAR10.class_names, count, begin, size=32)
    for split, begin in (("train", 200), ("validation", 300), ("test", 400)):
        write_classes(root / "cats_dogs" / split, CatsDogs.class_names, 6, begin)
    pack(root / "cats_dogs")
    with xray._TABLE.open(newline="") as stream:
        for number, row in enumerate(csv.DictReader(stream)):
            write_picture(root / "xray3" / row["file"], number, size=12)
    pack(root / "xray3")


def write_pictures(place: Path) -> None:
    """Write photos/ (two loose ones, and a folder for each kind of flower), and single files."""
    write_classes(place / "photos", Flowers.class_names, 5, 500)
    pack(place / "photos")
    write_classes(place / "hospital_b" / "test", ("0", "1", "2"), 5, 700)  # of a run on digits
    for number, name in enumerate(("photos/0.jpg", "photos/1.jpg", "dog.jpg", "photo.jpg")):
        write_picture(place / name, 600 + number)
    for name in ("digit.png", "a.png", "b.png", "xray.png"):
        Image.open(place / "dog.jpg").convert("L").save(place / name)
    write_table(place / "xrays.csv", "path", "label")
    write_table(place / "scans.csv", "file", "class")


def write_weights(name: str, file: Path) -> None:
    """Write weights of the shapes that torchvision publishes; rows overlap, so the file is small.

    Filters are random with He's variance; batch normalisation changes nothing.
    """
    with torch.device("meta"):
        options = {"init_weights": False} if name == "googlenet" else {}
        network = torchvision.models.get_model(name, weights=None, **options)
    state = {}
    for key, tensor in network.state_dict().items():
        if tensor.dim() < 2:
            keeps = key.endswith(("weight", "running_var"))
            state[key] = torch.full(tensor.shape, float(keeps)).to(tensor.dtype)
            continue
        rows, fan_in = len(tensor), tensor[0].numel()
        numbers = torch.randn(rows * 7 + fan_in) * (2 / fan_in) ** 0.5
        state[key] = numbers.as_strided(tensor.shape, (7, *tensor[0].stride()))
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.save(state, file)


def write_all_weights(place: Path, cache: Path) -> None:
    """Put weights where torchvision keeps what it has downloaded, and under names of the reader."""
    for name in PRETRAINED:
        url: str = torchvision.models.get_model_weights(name).DEFAULT.url
        file = cache / "hub" / "checkpoints" / url.rsplit("/", 1)[-1]
        write_weights(name, file)
        shutil.copy(file, place / f"{name}.pth")


def write_files_of_pages(place: Path) -> None:
    """Write what the pages have their reader write: mine/<file>, and its images."""
    for page in PAGES:
        for _, block in FENCE.findall(page.read_text("utf-8")):
            if match := re.search(r"^# (mine/\S+\.(?:py|yaml))", block, re.M):
                file = place / match[1]
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block)
    images = np.random.default_rng(0).integers(0, 256, (40, 24, 24), dtype=np.uint8)
    np.savez(place / "mine" / "shapes.npz", images=images, labels=np.arange(40) % 2)


def trained(words: Sequence[str], kind: str = "train") -> Path:
    """Run train; return the new run's folder, renamed to the pages' date and time."""
    before = set(Path("logs").glob(f"{kind}/*/*"))
    assert main(["train", *words, *QUICK]) == 0
    (folder,) = set(Path("logs").glob(f"{kind}/*/*")) - before
    return folder.rename(folder.with_name(DATE))


def write_runs(run: Path) -> None:
    """Write the run folders, the half-finished sweep and the checkpoint that commands name."""
    for name in ("lenet5-digits", "a", "b"):
        shutil.copytree(run, f"logs/train/{name}/{DATE}")
    trained(["model=mlp"])
    cases = Path(f"logs/predict/lenet5-digits/{DATE}/cases.csv")  # that somebody has labelled
    write_picture(cases.with_name("case.png"), 900)
    cases.write_text("path,label\ncase.png,3\n")
    mine = ("--config-dir", "mine", "data=shapes", "model=tiny", "name=mine")
    trained([*mine, "trust=[tiny,shapes]"])
    sweep = trained(["-m", "model=mlp,lenet5"], "multirun")
    shutil.rmtree(sweep / "1")
    lite = ("model=efficientnet_lite0", "data=flowers", "data.image_size=32", "name=lite")
    shutil.copy(trained(lite) / "checkpoints" / "best.ckpt", "best.ckpt")
