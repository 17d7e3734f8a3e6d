"""A documented command made small: one batch, one epoch, two jobs, small pictures."""

import re
from collections.abc import Iterator, Sequence

import yaml
from tests.commands_place import ONE_BATCH

from strided.config.overrides import typed_value
from strided.config.yaml_files import CONF_DIR
from strided.decision.calibration import OF_CLASSES

SMALLER = {
    "train": (
        *ONE_BATCH,
        *("trainer.max_epochs=1", "data.batch_size=4", "search.num_trials=2", "log_dir=logs"),
    ),
    "eval": ("log_dir=logs",),
    "predict": ("log_dir=logs",),
    "explain": ("max_images=1", "log_dir=logs"),
    "export": ("log_dir=logs",),
    "compare": ("repeats=1", "seconds=0.01", "batch_size=1", "log_dir=logs"),
    "benchmark": (
        *("repeats=1", "seconds=0.01", "data.batch_size=4", "data.train_fraction=0.2"),
        "log_dir=logs",
    ),
}
# training at 96 instead of 224 pixels, still with the ImageNet stem
PHOTOGRAPHS = re.compile(
    r"^(data=(flowers|image_folder|csv)|experiment=\w*(flowers|dogs|scratch|pretrained|xray))"
)
IMAGENET = re.compile(r"^(model=(?!lenet|mlp)|experiment=)")
TWO_STAGES = re.compile(
    r"^(transfer=two_stage|experiment=(\w*(flowers|dogs|pretrained)|xray_(?!robust)))"
)
SOLVED = {"optimizer=lbfgs", "experiment=xray", "experiment=xray_robust"}  # the head takes no steps
# their checkpoints have gigabytes, or they take long: a batch of each split, and nothing is kept
LARGE = re.compile("alexnet|densenet|googlenet|resnet(18|50)|scratch|vgg")
WITHIN_FAST_DEV_RUN = [word.partition("=")[0] for word in ONE_BATCH]
MANY = re.compile(r"(models=\[\w+),.*,(\w+)\]")  # where speed is measured: the first and the last


def smaller(verb: str, words: Sequence[str]) -> list[str]:
    """The words for one batch, one epoch, two jobs, two trials, one picture, short timings.

    Keys that reduce take the place of what was typed for them; the others stay as they are.
    """
    if typed_value(words, "resume"):
        return [word.replace("max_epochs=30", "max_epochs=3") for word in words]
    added = dict(word.split("=", 1) for word in SMALLER[verb])
    if any(word.startswith("runs=") or word in ("measure=false", "layer=?") for word in words):
        added = {"log_dir": "logs"}
    if not any(word.startswith("search=") for word in words):
        added.pop("search.num_trials", None)
    if any(map(PHOTOGRAPHS.search, words)) and any(map(IMAGENET.search, words)):
        added["data.image_size"] = "96"
    if typed_value(words, "evaluation.gate"):
        added["evaluation.false_alarms"] = "0.4"  # which the few images can show
    if typed_value(words, "calibration") in OF_CLASSES:
        del added["trainer.limit_val_batches"]  # ten images of each class
    if SOLVED & {*words}:
        del added["trainer.max_epochs"]  # there is one
    if {"experiment=xray", "experiment=xray_robust"} & {*words}:
        added["data.train_fraction"] = "0.1"
    if any(map(TWO_STAGES.search, words)) and "transfer=frozen" not in words:
        added |= {"trainer.max_epochs": "2", "transfer.stages.frozen.epochs": "1"}
    if verb == "train" and LARGE.search(" ".join(words)):
        added = {key: value for key, value in added.items() if key not in WITHIN_FAST_DEV_RUN}
        added["debug"] = "fast_dev_run"
    kept = [word for word in words if word.partition("=")[0] not in added]
    if "-m" in words:
        kept = list(two_jobs(kept))
    if verb in ("benchmark", "compare") and "measure=false" not in words:
        kept = [MANY.sub(r"\1,\2]", word) for word in kept]
    return [*kept, *of_sweep(words), *(f"{key}={value}" for key, value in added.items())]


def two_jobs(words: Sequence[str]) -> Iterator[str]:
    """Of the first key with several values the first two, of the others the first."""
    left = 2
    for word in words:
        key, _, values = word.partition("=")
        if match := re.fullmatch(r"range\((\d+),\d+\)", values):
            values = f"{match[1]},{int(match[1]) + 1}"
        if "," in values and values[0] not in "[{":
            yield f"{key}={','.join(values.split(',')[:left])}"
            left = 1
        else:
            yield word


def of_sweep(words: Sequence[str]) -> Iterator[str]:
    """For an experiment that is a sweep: two of its lines, and one value of each other key.

    With -m what was typed has two values already.
    """
    name = typed_value(words, "experiment")
    file = CONF_DIR / "experiment" / f"{name}.yaml"
    recipe = yaml.safe_load(file.read_text()) if file.is_file() else {}
    sweep = recipe.get("sweep") or {"over": {}}
    for key, values in sweep["over"].items():
        if not any(word.startswith(f"{key}=") for word in words):
            texts = [str(value).lower() for value in values]
            one = texts[-1:] if key == "data.train_fraction" else texts[:1]
            two = key == sweep.get("lines") and "-m" not in words
            yield f"{key}={','.join(texts[:2] if two else one)}"
