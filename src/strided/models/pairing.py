"""Decide the network's input for one (model, data set) pair, before anything is decoded."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from strided.config.networks import label
from strided.config.targets import locate
from strided.data.preprocessing import Preprocessing
from strided.errors import UserError, first_line
from strided.models.building import library
from strided.models.dry_run import Trial
from strided.models.stems import require_small_stem, small_stem
from strided.models.weights import match_weights, pretrained_preprocessing
from strided.models.weights_file import WeightsFile, read_weights

SIZES = (32, 64, 96, 128, 160, 192, 224, 256, 299, 384, 512)  # pixels


@dataclass(frozen=True)
class Plan:
    """The model config with its stem decided, the preprocessing, and lines for the user.

    `net` is the network as it was tried: it has no trained weights, and mostly none at all.
    """

    model: dict[str, Any]
    preprocessing: Preprocessing
    notes: list[str]
    net: nn.Module


def plan(
    model_config: Mapping[str, Any],
    *,
    num_classes: int,
    channels: int,
    native_size: int | None,
    requested: Mapping[str, Any],
) -> Plan:
    """Decide size, stem and preprocessing of the images for this network.

    `requested` holds the user's data.image_size, resize, crop_fraction, interpolation, equalize,
    mean and std (None or absent: decide here) and the data set's `default_image_size`,
    `published_mean` and `published_std`. Without any of these, mean and std stay None: to be
    measured. Raises UserError for weights that do not fit the network, and for a size that it does
    not take; the message names a size that works.
    """
    wanted = {key: value for key, value in requested.items() if value is not None}
    path = model_config.get("weights")
    file = read_weights(Path(path)) if path else None
    belongs = _preprocessing_of_weights(model_config, file)
    trial = Trial(_with_stem_of_weights(model_config, file), num_classes, channels)
    size, reason = _choose_size(trial, native_size, wanted, belongs)
    net = trial.run(size)
    if file:
        match_weights(net, file.state, num_classes, str(path))
    model = trial.resolved(size)
    mean, std, origin = _normalisation(channels, wanted, belongs)
    keys = ("resize", "crop_fraction", "interpolation", "equalize")
    decided = {key: (belongs | wanted)[key] for key in keys if key in belongs | wanted}
    preprocessing = Preprocessing(channels, size, mean=mean, std=std, white=None, **decided)
    notes = [f"input {channels}x{size}x{size} ({reason})", *_model_notes(model, net)]
    if file and not belongs:
        notes.append("model.weights: data.mean, data.std should be those the file was made with")
    return Plan(model, preprocessing, [*notes, f"mean and std: {origin}"], net)


def _preprocessing_of_weights(
    config: Mapping[str, Any], file: WeightsFile | None
) -> dict[str, Any]:
    """The preprocessing that weights were made with; empty without weights or if it is unknown."""
    if file is None:
        return pretrained_preprocessing(config) if config.get("pretrained") else {}
    if file.made_with is None:
        return {}
    return vars(Preprocessing.from_dict(file.made_with["preprocessing"]))


def _with_stem_of_weights(config: Mapping[str, Any], file: WeightsFile | None) -> Mapping[str, Any]:
    """Replace `auto` by the stem of a checkpoint: shapes do not tell a stride of 1 from 2."""
    if not (file and file.made_with and library(config)):
        return config
    given, made = config.get("stem", "auto"), file.made_with["model"].get("stem")
    if made is None or given == made:
        return config
    if given != "auto":
        raise UserError(
            f"model.stem={given} was given, but model.weights={config['weights']} was trained with "
            f"stem {made}. Expected that one. Try model.stem=auto"
        )
    return {**config, "stem": made}


def _choose_size(
    trial: Trial, native_size: int | None, wanted: dict[str, Any], belongs: dict[str, Any]
) -> tuple[int, str]:
    """Take the first size that exists: asked for, the weights', the network's, the data set's."""
    if "image_size" in wanted:
        if not trial.fits(wanted["image_size"]):
            _refuse(trial, wanted["image_size"])
        return wanted["image_size"], "data.image_size"
    if belongs:
        return belongs["image_size"], "the size that the weights were made with"
    design_size = getattr(locate(trial.config["_target_"], "model"), "image_size", None)
    if design_size is not None:
        return design_size, "the only size the network takes"
    usual = wanted.get("default_image_size", native_size or 224)
    if trial.fits(usual):
        images = f"images are {native_size}x{native_size}" if native_size else "images vary"
        return usual, f"the data set's size; {images}" if native_size != usual else images
    size = next((s for s in SIZES if s >= (native_size or usual) and trial.fits(s)), None)
    if size is None:
        trial.run(usual)  # raises, with the network's reason
    assert size is not None
    return size, f"the smallest size {label(trial.config)} takes; {usual}x{usual} is too small"


def _refuse(trial: Trial, size: int) -> None:
    """Raise the fault of this size: the size itself if another one works."""
    try:
        trial.run(size)
    except UserError as error:
        design_size = getattr(locate(trial.config["_target_"], "model"), "image_size", None)
        ladder = [design_size] if design_size else sorted(SIZES, key=lambda s: (s < size, s))
        works = next((s for s in ladder if trial.fits(s)), None)
        if works is None:
            raise
        reason = first_line(error.__cause__ or error)
        raise UserError(
            f"{label(trial.config)} cannot take {size}x{size} images{_stem_phrase(trial, size)}: "
            f"{reason}. The {'smallest' if works > size else 'next'} size that works is {works}. "
            f"Try data.image_size={works}{_small_stem_hint(trial, size)}"
        ) from error


def _stem_phrase(trial: Trial, size: int) -> str:
    stem = trial.resolved(size).get("stem")
    return f" with stem {stem}" if stem else ""


def _small_stem_hint(trial: Trial, size: int) -> str:
    origin = library(trial.config)
    if not (origin and trial.resolved(size)["stem"] == "imagenet"):
        return ""
    if small_stem(origin, trial.config["name"]) is None:
        return ""
    small = replace(trial, config={**trial.config, "stem": "small"})
    return " (or model.stem=small)" if small.fits(size) else ""


def _normalisation(
    channels: int, wanted: dict[str, Any], belongs: dict[str, Any]
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, str]:
    """Mean and std (fractions of white) and where they come from."""
    if "mean" in wanted or "std" in wanted:
        mean, std = wanted.get("mean"), wanted.get("std")
        return mean and tuple(mean), std and tuple(std), "data.mean and data.std"
    if belongs:
        mean, std = belongs["mean"], belongs["std"]
        if len(mean) == channels:
            return mean, std, "from the weights"
        mean, std = ((sum(values) / len(values),) * channels for values in (mean, std))
        return mean, std, "from the weights, averaged over their channels"
    if "published_mean" in wanted and "equalize" not in wanted:
        mean, std = tuple(wanted["published_mean"]), tuple(wanted["published_std"])
        return mean, std, "published with the data set"
    return None, None, "measured on the training images"


def _model_notes(model: dict[str, Any], net: nn.Module) -> list[str]:
    notes = []
    origin = library(model)
    if origin and model["stem"] == "small":
        notes.append(f"stem small: {require_small_stem(origin, model['name']).description}")
    elif origin:
        notes.append("stem imagenet: as published")
    if hasattr(net, "auxiliary_weight"):
        heads = len(net.auxiliary_logits)  # type: ignore[arg-type]
        weight = f"the losses of {heads} heads count {net.auxiliary_weight} in training"
        notes.append(f"auxiliary heads: {weight if heads else 'none, the images are too small'}")
    return notes
