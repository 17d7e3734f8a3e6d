"""Classifier: a trained network with its preprocessing and class names; eval and predict use it."""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor, nn

from strided.config.from_python import described, folder_from, names_from, path_from
from strided.config.keys import InferencePrecision, Views
from strided.config.targets import trusting
from strided.data import ImageDataModule
from strided.data.loader import BatchLoader
from strided.data.reading.decoding import ImageLike, no_picture, read_picture
from strided.decision.calibration import Calibration, require_finite
from strided.decision.decision import Decided, Decision
from strided.decision.gate import Gate, Gated
from strided.errors import UserError, one_line
from strided.evaluation.precision import evaluating_in, inference_precision
from strided.evaluation.views import refuse_mirrors, tell_other, views_of
from strided.system.devices import choose_device, fix_cublas_workspace, float32_products, sent
from strided.training.loading import find_checkpoint, load_task
from strided.training.task import ClassificationTask


@dataclass(frozen=True)
class Prediction:
    """The most probable class, and the probability of each class by name (they sum to 1).

    prediction_set has the classes that fit, if the run has fitted such sets: see docs/decisions.md.
    refused says why the gate refuses an image, which then has no class and no probabilities.
    """

    label: str
    probabilities: dict[str, float]
    prediction_set: tuple[str, ...] | None = None
    refused: str = ""


def decide(decision: Decision | None, logits: Tensor, gated: Gated | None = None) -> Decided:
    """Decide of finite logits (N, K); without a decision they give plain probabilities."""
    if decision is None:
        return Decision(Calibration()).of_probabilities(logits.softmax(1).double().numpy())
    return decision(logits.numpy(), gated)


def cpu_batch(side: int) -> int:
    """Images of `side` pixels in each forward pass on a CPU: 2 to 64, and 4 of 224 pixels.

    Few, as a single picture is padded to as many; but enough pixels for the weights to be read
    seldom.
    """
    return 1 << min(6, max(1, round(math.log2(4 * (224 / side) ** 2))))


class Classifier:
    """Calls a trained network on images: PIL, uint8 arrays (H, W[, C]) or paths.

    `precision` None: that of the training on a GPU, float32 on a CPU.
    """

    reads_pixels = True  # `logits` and `outputs` take these, and nothing computed from them

    def __init__(
        self,
        task: ClassificationTask,
        device: str = "auto",
        precision: InferencePrecision | None = None,
    ) -> None:
        self.device = choose_device(device)
        if self.device.type == "cuda":
            fix_cublas_workspace()
        self.precision = inference_precision(precision, task.precision, self.device)
        self.task = task.to(self.device).eval()
        self.classes = task.classes
        self.preprocessing = task.preprocessing
        self.decision = task.decision  # None: probabilities are those of the network
        self.criterion = task.criterion
        self.views = task.views  # those that its decision was fitted on
        self.checkpoint: Path | None = None  # the file that it was loaded from

    @classmethod
    def load(
        cls,
        run_or_checkpoint: str | os.PathLike[str],
        *,
        device: str = "auto",
        precision: InferencePrecision | None = None,
        trust: Sequence[str] = (),
        config_dir: str | os.PathLike[str] | None = None,
    ) -> Self:
        """Load a run folder's best.ckpt, or a .ckpt file. Raises UserError."""
        given = path_from(run_or_checkpoint, "run_or_checkpoint", "logs/train/<name>/<date_time>")
        with trusting(names_from(trust), folder_from(config_dir)):
            checkpoint = find_checkpoint(given)
            classifier = cls(load_task(checkpoint), device, precision)
        classifier.checkpoint = checkpoint
        return classifier

    def use_views(self, views: Views | None) -> None:
        """Average the answers of other views than the run did; None: of the same.

        Raises UserError where a mirror image is of another class.
        """
        if views is not None and views != self.views:
            refuse_mirrors(views, self.task.hparams["data"])
            if self.decision is not None:
                tell_other(views, self.views)
            self.views = views

    def __repr__(self) -> str:
        names = ", ".join(map(one_line, self.classes[:5])) + (", ..." * (len(self.classes) > 5))
        pixels = self.preprocessing
        given = f"{pixels.channels} x {pixels.image_size} x {pixels.image_size}"
        source = f", from {one_line(str(self.checkpoint))}" if self.checkpoint else ""
        return (
            f"<Classifier {type(self.task.model).__name__}: {len(self.classes)} classes ({names}), "
            f"input {given}, on {self.device}{source}>"
        )

    def __call__(
        self, images: ImageLike | Iterable[ImageLike], batch_size: int = 64
    ) -> Prediction | list[Prediction]:
        """Classify one image, giving a Prediction, or several, giving a list of them.

        Raises ImageError, a UserError, for an unreadable image, and UserError for one of which
        the network makes no number.
        """
        if isinstance(images, ImageLike):
            return self._predictions([images])[0]
        if isinstance(images, Mapping | bytes | Tensor) or not isinstance(images, Iterable):
            raise no_picture(images)
        if not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(
                f"batch_size was {described(batch_size)}; expected a whole number from 1 on. "
                "Try batch_size=64"
            )
        several = list(images)
        starts = range(0, len(several), batch_size)
        return [p for at in starts for p in self._predictions(several[at : at + batch_size])]

    def _predictions(self, images: Sequence[ImageLike]) -> list[Prediction]:
        pixels = np.stack([self.preprocessing.pixels(read_picture(image)) for image in images])
        logits, decided = self.answers(torch.from_numpy(pixels))
        require_finite(logits.numpy())
        found = []
        for place, row in enumerate(decided.probabilities.tolist()):
            if why := decided.refusal(place):
                found.append(Prediction("", {}, refused=why))
                continue
            named = dict(zip(self.classes, row, strict=True))
            held = decided.said(place, self.classes)["prediction_set"]
            best = max(named, key=named.__getitem__)
            found.append(Prediction(best, named, None if held is None else tuple(held)))
        return found

    def loader(
        self, data: ImageDataModule, split: str, indices: np.ndarray | None = None
    ) -> BatchLoader:
        """Serve a split of some data in order, or their images at `indices`, to `logits`."""
        return data.loader(split, indices, device=self.device)

    def logits(self, pixels: Tensor) -> Tensor:
        """Return float32 logits (B, K) on the CPU for preprocessed uint8 pixels (B, C, S, S)."""
        return self.outputs(pixels).cpu()

    @torch.inference_mode()
    def outputs(self, pixels: Tensor) -> Tensor:
        """`logits` on the device, without waiting for them. The pixels are on the CPU.

        On a CPU an image has the same logits to the bit, whatever else is in its batch.
        """
        with self.as_in_training(), evaluating_in(self.precision, self.device):
            if self.device.type != "cpu":
                return self._forward(pixels)
            # oneDNN and BLAS choose kernels by the size of the batch, and each rounds differently
            size = cpu_batch(pixels.shape[-1])
            return torch.cat([self._forward_of(part, size) for part in pixels.split(size)])

    def _forward_of(self, pixels: Tensor, size: int) -> Tensor:
        """`_forward` of at most `size` images, the last one repeated to make as many."""
        if missing := size - len(pixels):
            pixels = torch.cat([pixels, pixels[-1:].expand(missing, -1, -1, -1)])
        return self._forward(pixels)[: size - missing]

    def _forward(self, pixels: Tensor) -> Tensor:
        on_device, normalise = sent(pixels, self.device), self.preprocessing.normalise
        answers = [
            share * self.task(normalise(view, self.task.memory_format)).float()
            for share, view in views_of(on_device, self.views)
        ]
        return answers[0] if len(answers) == 1 else torch.stack(answers).sum(0)

    @property
    def gate(self) -> Gate | None:
        """What refuses images, if the run has fitted it."""
        return self.decision.gate if self.decision else None

    def outputs_and_features(self, pixels: Tensor, layer: str) -> tuple[Tensor, Tensor]:
        """`outputs`, and with them what the linear `layer` was given for each image (B, F)."""
        with _followed_by_inputs_of(self.task, layer):
            both = self.outputs(pixels)
        return both[:, : len(self.classes)], both[:, len(self.classes) :]

    def answers(self, pixels: Tensor) -> tuple[Tensor, Decided]:
        """Return logits (B, K) on the CPU, and what is decided of these preprocessed pixels.

        Of logits that are not finite something is decided, too, which is not to be used.
        """
        gate, gated = self.gate, None
        if gate is None:
            logits = self.logits(pixels)
        else:
            outputs, features = self.outputs_and_features(pixels, gate.layer)
            logits = outputs.cpu()
            gated = gate(features.cpu().numpy(), pixels.numpy())
        usable = logits.isfinite().all(1, keepdim=True)
        return logits, decide(self.decision, logits.where(usable, 0.0), gated)

    def decided(self, logits: Tensor) -> Decided:
        """Decide of logits (N, K) on the CPU; they are finite."""
        return decide(self.decision, logits)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the probabilities (N, K) of logits: calibrated, if the checkpoint says how."""
        return torch.from_numpy(self.decided(logits).probabilities)

    def as_in_training(self) -> AbstractContextManager[None]:
        """Multiply as exactly as training did; for the network itself, without `logits`."""
        return float32_products(self.task.matmul_precision, self.device)


@contextmanager
def _followed_by_inputs_of(task: ClassificationTask, layer: str) -> Iterator[None]:
    """Inside the block, the task's logits (B, K) are followed by the layer's inputs (B, F)."""
    given: list[Tensor] = []

    def join(module: nn.Module, images: Any, logits: Tensor) -> Tensor:
        return torch.cat([logits.float(), given.pop().float()], 1)

    handles = [
        task.model.get_submodule(layer).register_forward_pre_hook(
            lambda module, inputs: given.append(inputs[0])
        ),
        task.register_forward_hook(join),
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
