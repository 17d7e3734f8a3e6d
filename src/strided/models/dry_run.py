"""Find out if a network takes images of a size, by one pass that computes shapes only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from strided.config.networks import label
from strided.errors import UserError, first_line
from strided.models.building import build_model, library
from strided.models.stems import choose_stem


@dataclass(frozen=True)
class Trial:
    """A model config with the two numbers that the data set fixes; the image size varies."""

    config: Mapping[str, Any]
    num_classes: int
    channels: int
    _tried: dict[int, nn.Module] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def resolved(self, image_size: int) -> dict[str, Any]:
        """The config with the stem that `auto` means at this size."""
        config = dict(self.config)
        if origin := library(config):
            has_weights = bool(config.get("pretrained") or config.get("weights"))
            stem = config.get("stem", "auto")
            config["stem"] = choose_stem(origin, config["name"], stem, image_size, has_weights)
        return config

    def run(self, image_size: int) -> nn.Module:
        """Return the network after a training-mode pass of two images; UserError if the pass fails.

        It runs on the meta device: nothing is allocated or computed, and the random state stays.
        A second call for a size gives the network of the first.
        """
        if image_size not in self._tried:
            self._tried[image_size] = self._try(image_size)
        return self._tried[image_size]

    def _try(self, image_size: int) -> nn.Module:
        try:
            return self._run(image_size, "meta")
        except UserError as error:
            # A network that looks at values (`.item()`, `.numpy()`) needs real ones.
            if "meta" not in str(error):
                raise
        with torch.random.fork_rng(devices=[]):
            return self._run(image_size, "cpu")

    def fits(self, image_size: int) -> bool:
        """Whether the network takes images of this size."""
        try:
            self.run(image_size)
        except UserError:
            return False
        return True

    def _run(self, image_size: int, device: str) -> nn.Module:
        config = self.resolved(image_size)
        shape = (self.channels, image_size, image_size)
        with torch.device(device), torch.no_grad():
            net = build_model(
                config,
                num_classes=self.num_classes,
                in_channels=self.channels,
                image_size=image_size,
            ).train()
            try:
                output = net(torch.zeros(2, *shape))
            except Exception as error:  # any layer, also a user's, may refuse the shape
                raise UserError(_refusal(config, shape, error)) from error
        self._check_logits(output)
        return net

    def _check_logits(self, output: object) -> None:
        expected = (2, self.num_classes)
        if not isinstance(output, Tensor) or tuple(output.shape) != expected:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise UserError(
                f"model {label(self.config)} gave {got} for 2 images. Expected a Tensor of logits "
                f"of shape {expected}, in training mode too. Try num_classes outputs in its last "
                "layer"
            )


def _refusal(config: Mapping[str, Any], shape: tuple[int, ...], error: Exception) -> str:
    return (
        f"{label(config)} cannot take {'x'.join(map(str, shape))} images: {first_line(error)}. "
        "Expected a size that its layers can shrink. Try another data.image_size"
    )
