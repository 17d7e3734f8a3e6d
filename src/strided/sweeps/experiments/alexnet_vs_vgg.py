"""AlexNet against VGG: their shapes on ImageNet, and their results on the same images."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strided.compare.facts import facts_of
from strided.config.compose import compose
from strided.config.networks import model_words
from strided.config.primary import Primary, beginning_with
from strided.pages.page import bullets, heading, table
from strided.sweeps.grouped import Job

COLUMNS = (
    "network",
    "depth",
    "filters",
    "receptive field",
    "parameters",
    "GMACs",
    "activations, MB",
    "top-5 error",
)
SHOWN = ("alexnet", "vgg16", "vgg19")  # as published: 1,000 classes, 224 pixels


def section(folder: Path, jobs: Sequence[Job]) -> str:
    """The facts of the published networks; the trained ones may have smaller input."""
    facts = {name: published_facts(name) for name in SHOWN}
    return "\n".join(
        [
            heading("As published, on ImageNet"),
            table(COLUMNS, [_row(name, known) for name, known in facts.items()]),
            bullets(reading(facts["alexnet"], facts["vgg16"])),
        ]
    )


def published_facts(name: str) -> dict[str, Any]:
    """The facts of a network with ImageNet's classes."""
    with beginning_with(Primary()):  # what was typed is for train
        node = compose("compare", model_words(name))["model"]
    return facts_of(node, num_classes=1000, channels=3, image_size=None)


def _row(name: str, facts: dict[str, Any]) -> list[str | int]:
    return [
        name,
        facts["depth"],
        facts["filter_sizes"],
        f"{facts['receptive_field']} px",
        facts["parameters"],
        f"{facts['macs'] / 1e9:.2f}",
        f"{facts['activation_bytes'] / 1e6:.1f}",
        f"{1 - facts['top5']:.1%}",
    ]


def reading(alexnet: dict[str, Any], vgg: dict[str, Any]) -> list[str]:
    """Say in sentences what the table shows."""
    return [
        f"AlexNet looks at once at 11x11 pixels, {alexnet['depth']} layers deep; VGG-16 only ever "
        f"at 3x3, {vgg['depth']} layers deep. Three 3x3 layers in a row see 7x7 pixels with 27 C² "
        "weights where one 7x7 layer has 49 C², and with three non-linearities in place of one "
        "(Simonyan and Zisserman 2015, arXiv:1409.1556, section 2.3).",
        f"The price is arithmetic: {vgg['macs'] / alexnet['macs']:.0f} times the multiply-adds, "
        f"{vgg['activation_bytes'] / alexnet['activation_bytes']:.0f} times the activations to "
        f"keep, and {vgg['parameters'] / alexnet['parameters']:.1f} times the parameters, most of "
        "which are in the first fully connected layer of either.",
        "Top-5 errors are torchvision's, of one crop of one network; the papers' "
        "15.3 % and 7.3 % are of ensembles, on the test images of ILSVRC.",
    ]
