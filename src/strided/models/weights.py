"""Start a network from weights: match names and shapes, and report what did not match."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from strided.errors import UserError
from strided.models import timm_models, torchvision_models
from strided.models.building import library
from strided.models.heads import Head
from strided.models.stems import first_convolution
from strided.models.weights_file import State, read_weights

_NEW_OUTPUT_STD = 0.01


@dataclass(frozen=True)
class WeightsReport:
    """What happened to the tensors of a state dict; names are the network's, without prefix."""

    source: str
    matched: int  # tensors copied, including adapted ones
    adapted: list[str]  # stems summed or spread over another number of channels
    head: list[str]  # not loaded: the weights are for other classes
    unexpected: list[str]  # in the file only

    def describe(self) -> str:
        """One line for the user."""
        parts = [f"{self.matched} tensors loaded from {self.source}"]
        if self.adapted:
            parts.append(f"filters adapted to the channels: {_abbreviated(self.adapted)}")
        if self.head:
            parts.append(f"new head: {_abbreviated(self.head)}")
        if self.unexpected:
            parts.append(f"not in this network, ignored: {_abbreviated(self.unexpected)}")
        return "; ".join(parts)


def initialise(
    model: nn.Module,
    config: Mapping[str, Any],
    num_classes: int,
    image_size: int | None = None,
) -> list[str]:
    """Apply `weights`, else `pretrained`, else leave as built; returns lines for the user.

    With `image_size` (pixels), timm's weights are resampled if they depend on it (position
    embeddings). Without it, they fit images of the size they were trained on.
    """
    if config.get("weights"):
        return [load_weights(model, config["weights"], num_classes).describe()]
    if config.get("pretrained"):
        state = pretrained_state(config, image_size)
        source = f"the pretrained weights of {config['name']}"
        return [load_weights(model, state, num_classes, source).describe()]
    return []


def pretrained_state(config: Mapping[str, Any], image_size: int | None = None) -> State:
    """Pretrained weights of a model config, from the cache or downloaded; UserError if neither."""
    if _library(config) is torchvision_models:
        return torchvision_models.pretrained_state(config["name"])
    return timm_models.pretrained_state(config["name"], image_size)


def pretrained_preprocessing(config: Mapping[str, Any]) -> dict[str, Any]:
    """The preprocessing that belongs to a model config's pretrained weights; downloads nothing."""
    library = _library(config)
    preprocessing: dict[str, Any] = library.pretrained_preprocessing(config["name"])
    return preprocessing


def load_weights(
    model: nn.Module, weights: str | Path | State, num_classes: int, source: str = "a state dict"
) -> WeightsReport:
    """Copy a file's (or state dict's) tensors into the model.

    A prefix common to the file's names is stripped. A first convolution of 3 channels is summed
    for 1; one of 1 is spread evenly over 3. Output layers made for other classes begin near zero.
    Raises UserError if anything else of the network is missing or has another shape, if a number is
    not finite, or if the file does not hold plain tensors.
    """
    if isinstance(weights, str | Path):
        source, weights = str(weights), read_weights(Path(weights)).state
    matching, report = match_weights(model, weights, num_classes, source)
    model.load_state_dict(matching, strict=False)
    _require_finite(model, matching, source)
    _begin_near_zero(model, report.head)
    return report


def _require_finite(model: nn.Module, loaded: Collection[str], source: str) -> None:
    """Raise UserError for weights that are no numbers: the loss would be none, at any rate."""
    for name, tensor in model.state_dict().items():
        if name in loaded and not tensor.isfinite().all():
            raise UserError(
                f"{source}: {name} holds values that are not finite (NaN or infinity); expected "
                "trained weights. Try another copy of the file, or weights from before the "
                "training failed"
            )


def _begin_near_zero(model: nn.Module, names: Collection[str]) -> None:
    """Draw new output layers from a narrow normal distribution; a Head's own start is as narrow.

    timm draws an EfficientNet's as widely as suits 1,000 classes of a network that learns them all
    at once. On trained features and few classes, its logits begin at 4 and more, and training first
    has to undo them. Not exactly zero: SqueezeNet's ReLU after it would pass no gradient, and a cut
    network could not be compared with the whole one. The deviation is of Krizhevsky et al. 2012,
    section 5.
    """
    of_heads = {id(inner) for m in model.modules() if isinstance(m, Head) for inner in m}
    for layer, module in model.named_modules():
        if f"{layer}.weight" not in names or id(module) in of_heads:
            continue
        for part, parameter in module.named_parameters(recurse=False):
            nn.init.normal_(parameter, std=_NEW_OUTPUT_STD if part == "weight" else 0.0)


def match_weights(
    model: nn.Module, weights: State, num_classes: int, source: str
) -> tuple[State, WeightsReport]:
    """The tensors that `load_weights` would copy, by the model's names; the model does not change.

    Only names and shapes of the model matter: it may be on the meta device.
    """
    own = model.state_dict()
    prefix = _common_prefix(weights, own)
    state = {k.removeprefix(prefix): t for k, t in weights.items() if k.startswith(prefix)}
    state = torchvision_models.current_names(state) if not state.keys() >= own.keys() else state
    adapted = _adapt_stem(model, state, own)
    head = _new_head(model, state, own, num_classes)
    wrong = [
        name
        for name, tensor in own.items()
        if name not in head
        and not name.endswith("num_batches_tracked")  # absent from files before torch 0.4.1
        and (name not in state or state[name].shape != tensor.shape)
    ]
    matching = [n for n in own if n in state and n not in head and n not in wrong]
    if wrong:
        raise UserError(_mismatch(source, wrong, len(matching), state, own))
    unexpected = [key for key in state if key not in own]
    report = WeightsReport(source, len(matching), adapted, head, unexpected)
    return {name: state[name] for name in matching}, report


def _library(config: Mapping[str, Any]) -> Any:
    origin = library(config)
    if origin is None:
        raise UserError(
            f"{config['_target_']} has no published weights. Expected a network of torchvision or "
            "timm. Try model.pretrained=false, and model.weights=<file> to train from a file"
        )
    return {"torchvision": torchvision_models, "timm": timm_models}[origin]


def _common_prefix(keys: Collection[str], own: Collection[str]) -> str:
    """The part before the network's names in most names of the file (`model.`, `module.`, ...)."""
    votes = Counter(
        key[:start] for key in keys for start in _name_starts(key) if key[start:] in own
    )
    return max(votes, key=lambda prefix: (votes[prefix], -len(prefix)), default="")


def _name_starts(key: str) -> Iterator[int]:
    yield 0
    yield from (i + 1 for i, letter in enumerate(key) if letter == ".")


def _adapt_stem(model: nn.Module, state: State, own: State) -> list[str]:
    """Fit the first convolution's filters to 1 or 3 channels in `state`.

    Summed filters respond to grey as they did to the same grey in three channels.
    """
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return []
    name = f"{first_convolution(model)[0]}.weight"
    if name not in state or state[name].dim() != 4:
        return []
    filters, channels = state[name], own[name].shape[1]
    if (filters.shape[1], channels) == (3, 1):
        state[name] = filters.sum(dim=1, keepdim=True)
    elif (filters.shape[1], channels) == (1, 3):
        state[name] = filters.expand(-1, 3, -1, -1) / 3
    else:
        return []
    return [name]


def _new_head(model: nn.Module, state: State, own: State, num_classes: int) -> list[str]:
    """Tensors of output layers that the file lacks or has for another number of classes.

    They include every tensor of a Head that the file lacks.
    """
    head: list[str] = []
    of_heads = {id(child) for m in model.modules() if isinstance(m, Head) for child in m}
    for layer, module in model.named_modules():
        if id(module) in of_heads:
            names = [name for name in own if name.startswith(f"{layer}.")]
            if any(n not in state or state[n].shape != own[n].shape for n in names):
                head += names
            continue
        outputs = getattr(module, "out_features", getattr(module, "out_channels", None))
        names = [n for n in (f"{layer}.weight", f"{layer}.bias") if n in own]
        if outputs == num_classes and any(_for_other_classes(state, own, n) for n in names):
            head += names
    return head


def _for_other_classes(state: State, own: State, name: str) -> bool:
    if name not in state:
        return True
    found, expected = state[name].shape, own[name].shape
    return found != expected and found[1:] == expected[1:]


def _mismatch(source: str, wrong: list[str], matched: int, state: State, own: State) -> str:
    examples = [
        f"{name} is {_shape(state[name])} in the file and {_shape(own[name])} here"
        if name in state
        else f"{name} is not in the file"
        for name in wrong[:3]
    ]
    return (
        f"{source} does not fit this network: {matched} of its {len(own)} tensors matched, "
        f"{len(wrong)} did not ({'; '.join(examples)}). Expected weights of the same "
        "architecture. Try the model.name they were made with, or its other stem: "
        "model.stem=imagenet (weights made on ImageNet) or model.stem=small"
    )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


def _abbreviated(names: list[str]) -> str:
    more = f" and {len(names) - 4} more" if len(names) > 4 else ""
    return ", ".join(names[:4]) + more
