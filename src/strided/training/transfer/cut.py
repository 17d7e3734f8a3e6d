"""A network cut at its first trained unit, and the check that the cut changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from strided.training.task import ClassificationTask
from strided.training.transfer.parts import Parts


class CutError(Exception):
    """A network cannot be cut there; the message says why."""


class _Reached(Exception):  # noqa: N818 - it carries a value and is no error
    """Carries a unit's input up and out of the network."""

    def __init__(self, features: Tensor) -> None:
        super().__init__()
        self.features = features


class Cut:
    """A network in two: `features` of images, and `network`, which turns them into logits."""

    def __init__(self, net: nn.Module, parts: Parts) -> None:
        self.net, self.parts = net, parts
        self.entry = net.get_submodule(parts.entry)
        self.network = net  # within `passing`; or the head alone

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """The input of the first trained unit for normalised images (B, C, S, S)."""
        modes = {module: module.training for module in self.net.modules()}
        self.net.eval()  # no dropout on the way
        hook = self.entry.register_forward_pre_hook(_reach)
        try:
            self.net.forward(images)  # not torch.compile's version of it
        except _Reached as reached:
            return reached.features
        finally:
            hook.remove()
            for module, mode in modes.items():
                module.training = mode
        raise CutError(f"{self.parts.entry} is not reached")

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Let frozen units return their input inside the block: the network then takes features."""
        for module in self.parts.frozen:
            module.forward = _hand_on
        try:
            yield
        finally:
            for module in self.parts.frozen:
                del module.forward

    @contextmanager
    def taking_features(self, task: ClassificationTask) -> Iterator[None]:
        """Let the network's task take features instead of images inside the block."""
        with self.passing() if self.network is task.model else nullcontext():
            task.features_to_logits = [self.network]
            try:
                yield
            finally:
                task.features_to_logits = []

    def check(self, images: Tensor) -> tuple[int, ...]:
        """The shape of an image's features, if both parts together give the network's output.

        They are compared as in training, with the same dropout. Raises CutError if neither the
        network with skipped frozen units nor the head alone gives the same.
        """
        features = self.features(images)
        whole = self._try(self.net, images)
        with self.passing():
            passed = self._same(whole, features)
        weighted = [unit for unit in self.parts.trained if any(True for _ in unit.parameters())]
        if not passed and weighted == [self.entry]:
            self.network = self.entry
            passed = self._same(whole, features)
        if not passed:
            raise CutError(f"something between the blocks before {self.parts.entry} would be lost")
        return tuple(features.shape[1:])

    def _same(self, whole: Tensor, features: Tensor) -> bool:
        try:
            rest = self._try(self.network, features)
        except Exception:  # any layer between the blocks may refuse features
            return False
        return rest.shape == whole.shape and torch.allclose(rest, whole, rtol=1e-4, atol=1e-5)

    @torch.no_grad()
    def _try(self, network: nn.Module, given: Tensor) -> Tensor:
        buffers = {name: buffer.clone() for name, buffer in self.net.named_buffers()}
        devices = [given.device] if given.is_cuda else []
        with torch.random.fork_rng(devices):
            torch.manual_seed(0)
            try:
                logits: Tensor = network.forward(given)
            finally:  # batch normalisation has counted the sample
                for name, buffer in self.net.named_buffers():
                    buffer.copy_(buffers[name])
        return logits


def _reach(module: nn.Module, given: tuple[Any, ...]) -> None:
    if len(given) != 1 or not isinstance(given[0], Tensor):
        raise CutError(f"{type(module).__name__} takes more than one input")
    raise _Reached(given[0])


def _hand_on(given: Any, *_: Any, **__: Any) -> Any:
    return given
