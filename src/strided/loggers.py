"""W&B that cannot stop a run: what fails there is reported once, and training goes on."""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

log = logging.getLogger(__name__)


class WandbLogger(Logger):
    """Log to Weights & Biases, online, or offline with no account (WANDB_MODE=offline).

    The run's id is kept in `<run folder>/wandb/run_id`, so that a resumed run goes on in the same
    W&B run. If W&B cannot be reached (no key, no network, a failing server) the run is kept
    offline instead; if that fails too, only W&B is switched off. `options` go to wandb.init.
    """

    def __init__(
        self,
        project: str = "strided",
        entity: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        offline: bool = False,
        init_timeout: float = 30.0,
        **options: Any,
    ) -> None:
        super().__init__()
        self.project, self.offline, self.init_timeout = project, offline, init_timeout
        self.options = {"entity": entity, "group": group, "job_type": job_type, **options}
        self.folder = Path()
        self._run: Any = None
        self._failed = False

    @property
    def name(self) -> str | None:
        """Lightning's word for the project."""
        return self.project

    @property
    def version(self) -> str | None:
        """Lightning's word for the run's id."""
        return self._run.id if self._run is not None else None

    def start(
        self, folder: Path, name: str, config: dict[str, Any], tags: list[str], commit: str | None
    ) -> None:
        """Open the W&B run of a run folder, with its resolved config and code version."""
        self.folder = folder
        self.options.update(name=name, config={**config, "git_commit": commit}, tags=tags)
        modes = ["offline"] if self.offline else [os.environ.get("WANDB_MODE"), "offline"]
        for mode in dict.fromkeys(modes):
            if self._open(mode):
                return
        self._failed = True

    def _open(self, mode: str | None) -> bool:
        try:
            import wandb

            id_file = self.folder / "wandb" / "run_id"
            id_file.parent.mkdir(parents=True, exist_ok=True)
            known = id_file.read_text() if id_file.exists() else None
            self._run = wandb.init(
                project=self.project,
                dir=str(self.folder),
                id=known,
                resume="allow",
                mode=mode,  # type: ignore[arg-type]  # a string from the environment
                reinit="finish_previous",
                settings=wandb.Settings(init_timeout=self.init_timeout, silent=True),
                **self.options,
            )
            id_file.write_text(self._run.id)
            self._run.define_metric("val/acc", summary="max")
            self._run.define_metric("val/loss", summary="min")
        except Exception as error:  # whatever happens there is no reason to stop training
            cause = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            log.warning("W&B did not start (%s): %s", mode or "online", cause)
            return False
        return True

    def _safely(self, action: Callable[[], Any]) -> None:
        if self._run is None or self._failed:
            return
        try:
            action()
        except Exception as error:
            self._failed = True
            log.warning("W&B failed and is switched off for this run: %s", error)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Log numbers at an optimizer step."""
        self._safely(lambda: self._run.log({**metrics, "trainer/global_step": step}))

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Do nothing: `start` has given the whole config, once and nested."""

    def log_summary(self, values: Mapping[str, Any]) -> None:
        """Write the numbers of results.json into the run's summary."""
        self._safely(lambda: self._run.summary.update(dict(values)))

    def close(self, *, failed: bool) -> None:
        """End the W&B run, so that the next job of a sweep has its own."""
        self._safely(lambda: self._run.finish(exit_code=int(failed)))
