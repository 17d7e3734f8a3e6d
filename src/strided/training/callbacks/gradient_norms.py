"""gradients.csv: the norm of each layer's gradient, at the first step and in each epoch."""

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch

from strided.errors import UserError
from strided.runs.folder import RunFolder
from strided.runs.gradients_csv import read_gradients, write_gradients


class GradientNorms(pl.Callback):
    """Write the norm of each weight's gradient, of matrices and filters, into gradients.csv.

    There is a row per epoch and layer, in the order of the network: the root mean square over the
    first `steps` optimizer steps of the epoch. With 1 step, epoch 0 shows the initial weights.
    Gradients are as the optimizer gets them, before clipping.

    Args:
        steps: How many optimizer steps are measured, from the first of each epoch on.
    """

    def __init__(self, steps: int) -> None:
        if steps < 1:
            raise UserError(
                f"callbacks.gradient_norms.steps={steps}; expected 1 or more. Try "
                "callbacks.gradient_norms.steps=1, or null to switch it off"
            )
        self.steps = steps
        self._epoch = 0
        self._squares: list[torch.Tensor] = []  # of this epoch: (L,) for each step

    def on_train_start(self, trainer: pl.Trainer, task: Any) -> None:
        """Drop rows of epochs that will be trained again."""
        inside = self._epoch == trainer.current_epoch  # its first steps are in the checkpoint
        if trainer.is_global_zero and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            kept = trainer.current_epoch + (inside and len(self._squares) == self.steps)
            rows = read_gradients(_file(trainer))
            write_gradients(_file(trainer), [row for row in rows if row["epoch"] < kept])

    def on_train_epoch_start(self, trainer: pl.Trainer, task: Any) -> None:
        """Reset the steps; Lightning does not call this when it continues inside an epoch."""
        self._epoch, self._squares = trainer.current_epoch, []

    def on_before_optimizer_step(self, trainer: pl.Trainer, task: Any, optimizer: Any) -> None:
        """Measure at the first steps of the epoch; write at the last of them."""
        if len(self._squares) == self.steps or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        weights = dict(task.model.named_parameters())
        names = [name for name, weight in weights.items() if weight.ndim > 1]
        gradients = [weights[name].grad for name in names]
        zero = torch.zeros((), device=task.device)
        squares = [zero if g is None else g.detach().float().square().sum() for g in gradients]
        self._squares.append(torch.stack(squares))
        if len(self._squares) < self.steps or not trainer.is_global_zero:
            return
        squares = [one.to(task.device) for one in self._squares]
        norms = torch.stack(squares).mean(0).sqrt().tolist()
        rows = read_gradients(_file(trainer))
        rows += [
            {"epoch": trainer.current_epoch, "layer": name, "index": index, "norm": norm}
            for index, (name, norm) in enumerate(zip(names, norms, strict=True))
        ]
        write_gradients(_file(trainer), rows)

    def state_dict(self) -> dict[str, Any]:
        """Measurements so far in the checkpoint's epoch."""
        return {"epoch": self._epoch, "squares": [one.cpu() for one in self._squares]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue that epoch."""
        self._epoch, self._squares = state_dict["epoch"], list(state_dict["squares"])


def _file(trainer: pl.Trainer) -> Path:
    return RunFolder(Path(trainer.default_root_dir)).gradients
