"""TensorBoard: event files inside the run folder, which need no server."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

from strided.evaluation.examples import Example
from strided.loggers.run_logger import RunLogger, StartedRun, flat, summary
from strided.runs.folder import RunFolder
from strided.runs.results import Results


class TensorBoardLogger(RunLogger):
    """Write event files to `<run folder>/tensorboard`: `tensorboard --logdir logs` shows all runs.

    It logs scalars per epoch at the optimizer step, the config as text, the figures of the report,
    and config with test metrics for the HParams page. A resumed run adds another event file.
    """

    title, package = "TensorBoard", "tensorboard"

    def _start(self, run: StartedRun) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._config = {**run.config, "git_commit": run.commit}
        self._step = 0
        self._writer = SummaryWriter(str(run.folder / "tensorboard"))
        self._writer.add_text("config", f"```\n{yaml.safe_dump(self._config, sort_keys=False)}```")

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        self._step = step
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    def _finish(self, folder: Path, results: Results, errors: Sequence[Example]) -> None:
        for figure in sorted(RunFolder(folder).figures.glob("*.png")):
            pixels = np.asarray(Image.open(figure).convert("RGB"))
            self._writer.add_image(figure.stem, pixels, self._step, dataformats="HWC")
        # "." is this run's folder; by default it would be another run beside it
        values = (flat(self._config), summary(results))
        self._writer.add_hparams(*values, run_name=".", global_step=self._step)

    def _close(self, failed: bool) -> None:
        self._writer.close()
