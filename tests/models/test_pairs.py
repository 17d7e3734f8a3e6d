"""Every model of the group trains on every kind of data, with the input docs/models.md tells."""

import re
from functools import cache

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from strided.config.compose import plain
from strided.config.yaml_files import CONF_DIR
from strided.models import Plan, plan
from strided.training.task import ClassificationTask

NAMES = sorted({f.stem for f in (CONF_DIR / "model").glob("*.yaml")} - {"timm", "torchvision"})
LIGHT = ("lenet5", "lenet5_original", "mlp", "mobilenet_v3_large", "resnet_cifar", "resnet18")
DATA = {  # channels, size of the images (None: they vary), as data=digits, cifar10, image_folder
    "digits": (1, 8),
    "cifar10": (3, 32),
    "image_folder": (3, None),
}
TABLE = (CONF_DIR.parent / "docs" / "models.md").read_text(encoding="utf-8")
PAIRS = [
    pytest.param(name, data, marks=[] if name in LIGHT else pytest.mark.slow)
    for name in NAMES
    for data in DATA
]


def planned(name: str, data: str) -> Plan:
    channels, size = DATA[data]
    config = plain(OmegaConf.load(CONF_DIR / "model" / f"{name}.yaml"))  # type: ignore[arg-type]
    wishes = {"default_image_size": size or 224, "mean": [0.5] * channels, "std": [0.25] * channels}
    return plan(config, num_classes=10, channels=channels, native_size=size, requested=wishes)


@cache
def photograph() -> Image.Image:
    from sklearn.datasets import load_sample_image

    return Image.fromarray(load_sample_image("flower.jpg"))


def cell(name: str, column: str) -> str:
    """A cell of the table in docs/models.md."""
    header, *rows = [
        [part.strip() for part in line.strip("|").split("|")]
        for line in TABLE.splitlines()
        if line.startswith("|")
    ]
    row = next(row for row in rows if row[0] == f"`{name}`")
    return row[header.index(column)]


@pytest.mark.parametrize(("name", "data"), PAIRS)
def test_a_training_step_of_each_pair_with_the_documented_input(name: str, data: str) -> None:
    decided = planned(name, data)
    task = ClassificationTask(
        model=decided.model,
        classes=list("abcdefghij"),
        preprocessing=decided.preprocessing.asdict(),
        loss={"_target_": "torch.nn.CrossEntropyLoss"},
        optimizer={"_target_": "torch.optim.SGD", "lr": 0.01},
        scheduler={},
        data={},
    )
    size, stem = decided.preprocessing.image_size, decided.model.get("stem", "")
    assert cell(name, f"`{data}`") == f"{size} {stem}".strip()
    if data == "cifar10":
        count = sum(p.numel() for p in task.parameters())
        assert cell(name, "parameters") == f"{count:,}"
    side = DATA[data][1] or 300
    crops = [photograph().crop((x, 100, x + side, 100 + side)) for x in (100, 250)]
    pixels = np.stack([decided.preprocessing.pixels(crop) for crop in crops])
    images = decided.preprocessing.normalise(torch.from_numpy(pixels))
    labels = torch.tensor([3, 7])
    loss = task.criterion(task(images), labels)
    for auxiliary in getattr(task.model, "auxiliary_logits", ()):
        loss = loss + task.criterion(auxiliary, labels)
    loss.backward()
    torch.optim.SGD(task.parameters(), lr=0.01).step()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.parameters())


def test_the_table_has_a_row_for_each_model_of_the_group() -> None:
    assert sorted(re.findall(r"^\| `(\w+)`", TABLE, re.MULTILINE)) == NAMES
