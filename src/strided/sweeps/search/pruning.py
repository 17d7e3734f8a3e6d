"""Pruning: end a trial of a search early if it is worse than others were at that epoch."""

import logging
from pathlib import Path
from typing import Any

import lightning.pytorch as pl

from strided.sweeps.search.study import NAME, open_storage, trial_id

log = logging.getLogger(__name__)


class Pruning(pl.Callback):
    """Report `monitor` to the study after each epoch, and stop if its pruner says so.

    `journal` is relative to the trial's folder. The study records that the trial was pruned, so
    that all processes of the trial know it, also after a resume.
    """

    def __init__(
        self, trial: int, monitor: str, pruner: Any, journal: str = "../study.journal"
    ) -> None:
        self.trial, self.monitor, self.pruner, self.journal = trial, monitor, pruner, journal

    def on_train_epoch_end(self, trainer: pl.Trainer, task: Any) -> None:
        """Stop before Lightning's checkpoint callbacks run: the checkpoint records the stop."""
        stop = trainer.is_global_zero and self._report(trainer, task.measured)
        trainer.should_stop |= bool(trainer.strategy.broadcast(stop))

    def _report(self, trainer: pl.Trainer, measured: dict[str, float]) -> bool:
        """Report the epoch; return whether the pruner ends the trial here."""
        import optuna

        if self.monitor not in measured:  # an epoch without validation
            return False
        storage = open_storage(Path(trainer.default_root_dir) / self.journal)
        trial = trial_id(storage, self.trial)
        storage.set_trial_intermediate_value(trial, trainer.current_epoch, measured[self.monitor])
        is_last = trainer.max_epochs == trainer.current_epoch + 1
        study = optuna.load_study(study_name=NAME, storage=storage)
        frozen = storage.get_trial(trial)
        # reported already, if the trial was killed before the epoch was saved
        pruned = "pruned" in frozen.user_attrs or (not is_last and self.pruner.prune(study, frozen))
        if pruned:
            log.info("pruned: other trials were better after epoch %d", trainer.current_epoch)
            storage.set_trial_user_attr(trial, "pruned", True)
        return pruned
