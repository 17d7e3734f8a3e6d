"""Loss and accuracy over an epoch, without waiting for the device."""

from typing import Any

import torch
from torch import Tensor

from strided.system.processes import total

_COUNTED_AT_ONCE = 32  # batches: fewer operations a step


class EpochMeter:
    """Loss and accuracy over the images of an epoch so far.

    They are kept in the checkpoint, unlike the sums of self.log, so that a run stopped inside an
    epoch reports the whole epoch. Sums stay on the device: reading them every step would wait for
    it. Each process keeps its sums, also in the checkpoint: adding in another order would round
    differently.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start an epoch."""
        self.loss_sum: Tensor | float = 0.0  # on the device after the first batch
        self.correct: Tensor | int = 0
        self.count = 0
        self._hits: list[Tensor] = []  # (B,), 0 or 1, of batches that `correct` leaves out

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss, logits (B, K), labels (B,), or (B, K) of mixed images.

        For a mixed image, the correct prediction is the class with the largest share.
        """
        if labels.ndim == 2:
            labels = labels.argmax(1)
        if not isinstance(self.loss_sum, Tensor):
            # Apple's GPUs have no float64
            exact = torch.float32 if loss.device.type == "mps" else torch.float64
            self.loss_sum = loss.new_full((), self.loss_sum, dtype=exact)
        self.loss_sum.add_(loss.detach(), alpha=len(labels))
        self._hits.append(logits.argmax(1).eq_(labels))
        self.count += len(labels)
        if len(self._hits) == _COUNTED_AT_ONCE:
            self._count_hits()

    def _count_hits(self) -> None:
        if self._hits:
            self.correct = self.correct + torch.cat(self._hits).sum()
            self._hits = []

    def compute(self) -> dict[str, float]:
        """Return {"loss", "acc"} over the images of this process so far."""
        self._count_hits()
        return {
            "loss": float(self.loss_sum) / self.count,
            "acc": float(self.correct) / self.count,
        }

    def state_dict(self) -> dict[str, Any]:
        """Plain numbers of this process, for the checkpoint."""
        self._count_hits()
        return {
            "loss_sum": float(self.loss_sum),
            "correct": int(self.correct),
            "count": self.count,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where `state_dict` stopped."""
        self.reset()
        self.loss_sum, self.correct = state["loss_sum"], state["correct"]
        self.count = state["count"]

    def compute_all(self) -> dict[str, float]:
        """Return {"loss", "acc"} over the images of all processes; all must call it together."""
        self._count_hits()
        own = [float(self.loss_sum), float(self.correct), float(self.count)]
        loss_sum, correct, count = total(torch.tensor(own, dtype=torch.float64)).tolist()
        return {"loss": loss_sum / count, "acc": correct / count}
