"""Weights & Biases, online or offline."""

import logging
import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from strided.errors import UserError, first_line
from strided.evaluation.examples import Example
from strided.evaluation.metrics import class_table
from strided.loggers.run_logger import FinishedSweep, RunLogger, StartedRun
from strided.runs.folder import RunFolder
from strided.runs.results import Measured, Results, measured

log = logging.getLogger(__name__)

LONGEST = 128  # characters of a name or group, a limit of W&B's server
MOST_CLASSES = 100  # of a confusion matrix: a W&B chart has at most 10,000 cells


class WandbLogger(RunLogger):
    """Log to Weights & Biases, online, or offline without an account (WANDB_MODE=offline).

    Each job of a sweep is a W&B run, in one group. The run's id is kept in
    `<run folder>/wandb/run_id`, so that a resumed run continues the same W&B run. If W&B cannot be
    reached (no key, no network, a failing server), the run is kept offline instead; if that fails
    too, only W&B is switched off.

    Args:
        project: The project of the run.
        entity: The user or team that the project belongs to; null: your default one.
        group: The group of the run; null: the sweep that a job belongs to, none for a single run.
        job_type: What the run does, such as train.
        notes: A text on the run's page.
        offline: Keep the run in its folder, without an account; `wandb sync` sends it later.
        watch: What else is logged: gradients, a histogram for each parameter and epoch, of its last
            step; null: nothing.
        log_model: If true, upload best.ckpt.
        init_timeout: Seconds to wait for W&B at the start.
        settings: Of W&B's own, such as {base_url: <the server>}.
        **options: Arguments of wandb.init.
    """

    title, package = "W&B", "wandb"

    def __init__(
        self,
        project: str = "strided",
        entity: str | None = None,
        group: str | None = None,
        job_type: str | None = "train",
        notes: str | None = None,
        offline: bool = False,
        watch: Literal["gradients"] | None = None,
        log_model: bool = False,
        init_timeout: float = 30.0,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        self.project, self.group, self.offline = project, group, offline
        self.watch, self.log_model, self.init_timeout = watch, log_model, init_timeout
        self.settings = settings or {}
        self.options = {"entity": entity, "job_type": job_type, "notes": notes, **options}
        self._run: Any = None

    @property
    def version(self) -> str | None:
        """Lightning's name for the run's id."""
        return self._run.id if self._run is not None else None

    def _start(self, run: StartedRun) -> None:
        self._gradients: dict[str, torch.Tensor] = {}
        # for files to upload, which an offline run would else leave in the user's home
        self._owns_data_dir = "WANDB_DATA_DIR" not in os.environ
        if self._owns_data_dir:
            os.environ["WANDB_DATA_DIR"] = str((run.folder / "wandb").absolute())
        mode = "offline" if self.offline else os.environ.get("WANDB_MODE")
        try:
            self._open(run, mode)
        except Exception as error:
            if mode == "offline":
                raise
            log.warning("W&B did not start (%s): %s", mode or "online", first_line(error))
            self._open(run, "offline")

    def _open(self, run: StartedRun, mode: str | None) -> None:
        import wandb

        for own in ("wandb", ".wandb"):  # W&B reads its address there, if it is the current folder
            if (settings := run.folder / own / "settings").exists():
                raise UserError(
                    f"{settings} may name another server; expected none in a run folder. Try "
                    "without it, and logger.wandb.settings.base_url=<the server>"
                )
        id_file = run.folder / "wandb" / "run_id"
        id_file.parent.mkdir(parents=True, exist_ok=True)
        group = self.group or run.sweep
        # offline, W&B waits only for this machine, which may be busy
        patience = 90.0 if mode == "offline" else self.init_timeout
        self._run = wandb.init(
            project=self.project,
            name=run.name[-LONGEST:],
            group=group and group[-LONGEST:],
            config={**run.config, "git_commit": run.commit},
            tags=run.config["tags"],
            dir=str(run.folder),
            id=_run_id_in(id_file),
            resume="allow",
            mode=mode,  # type: ignore[arg-type]  # a string from the environment
            reinit="finish_previous",
            settings=wandb.Settings(**{"init_timeout": patience, "silent": True, **self.settings}),
            **self.options,
        )
        id_file.write_text(self._run.id)
        self._run.define_metric("*", step_metric="trainer/global_step")
        self._run.define_metric("val/acc", summary="max", step_metric="trainer/global_step")
        self._run.define_metric("val/loss", summary="min", step_metric="trainer/global_step")
        if self.watch:
            self._keep_gradients(run.network)

    def _log(self, metrics: Mapping[str, float], step: int) -> None:
        histograms = {}
        if "epoch" in metrics:
            histograms = {f"gradients/{n}": _histogram(g) for n, g in self._gradients.items()}
        self._run.log({**metrics, **histograms, "trainer/global_step": step})

    def _keep_gradients(self, network: nn.Module) -> None:
        """Keep the gradients of the last step: Lightning clears them before it validates.

        wandb.watch would log within the backward pass: a failing W&B would stop the training. It
        would also log each step, of which W&B keeps only the last before a row.
        """

        def keep(parameter: torch.Tensor, name: str) -> None:
            if parameter.grad is not None:
                self._gradients[name] = parameter.grad

        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(partial(keep, name=name))

    def _finish(self, folder: Path, results: Results, errors: Sequence[Example]) -> None:
        import wandb

        files = RunFolder(folder)
        left_out = ("state", "confusion", "val_confusion")
        self._run.summary.update({k: value for k, value in results.items() if k not in left_out})
        # inject=False: W&B would add its style sheet to the page
        self._run.log({"report": wandb.Html(str(files.report), inject=False)})
        figures = sorted(files.figures.glob("*.png"))
        self._run.log({f"figures/{file.stem}": wandb.Image(str(file)) for file in figures})
        if found := measured(results):
            self._log_measured(found, results, errors)
        if self.log_model and files.best.is_file():
            self._run.log_artifact(str(files.best), f"model-{self._run.id}", "model", ["best"])

    def _log_measured(self, found: Measured, results: Results, errors: Sequence[Example]) -> None:
        import wandb

        split = found.split
        columns, rows = class_table(results, split, found.confusion)
        self._run.log({f"{split}/classes": _table(columns, rows)})
        if len(results["classes"]) <= MOST_CLASSES:
            chart = _confusion(found.confusion, results["classes"], split)
            self._run.log({f"{split}/confusion": chart})
        shown = [
            [wandb.Image(m.picture), m.label, m.predicted, m.probability, m.path] for m in errors
        ]
        columns = ["picture", "true", "predicted", "probability", "path"]
        self._run.log({f"{split}/misclassified": _table(columns, shown)})

    def log_sweep(self, sweep: FinishedSweep) -> None:
        """Log the table, chart and page of a sweep as a run of its own, in the group of its jobs.

        A resumed sweep continues it. No failure stops a sweep.
        """
        started = StartedRun(sweep.folder, sweep.config, None, nn.Identity())
        self.group, self.watch = self.group or started.name, None
        self.options["job_type"] = "sweep"
        self.start(started)
        self._safely(lambda: self._log_sweep(sweep))
        self.close(failed=False)

    def _log_sweep(self, sweep: FinishedSweep) -> None:
        import wandb

        self._run.summary.update(sweep.summary)
        means = _table(["values", sweep.metric], [list(bar) for bar in sweep.means])
        self._run.log(
            {
                "jobs": _table(sweep.head, [list(row) for row in sweep.rows]),
                "chart": wandb.plot.bar(means, "values", sweep.metric, sweep.metric),
                "report": wandb.Html(str(sweep.page), inject=False),
            }
        )

    def _close(self, failed: bool) -> None:
        self._run.finish(exit_code=int(failed))

    def close(self, *, failed: bool) -> None:
        super().close(failed=failed)
        if self.__dict__.pop("_owns_data_dir", False):
            os.environ.pop("WANDB_DATA_DIR", None)


def _run_id_in(file: Path) -> str | None:
    """Return the id that a run folder keeps; None without one, or for text that is none."""
    text = file.read_text(encoding="utf-8", errors="replace").strip() if file.is_file() else ""
    return text if re.fullmatch(r"[\w-]{1,64}", text, re.ASCII) else None


def _histogram(gradient: torch.Tensor) -> Any:
    """64 bins over the finite values; no bins without finite values."""
    import wandb

    values = gradient[gradient.isfinite()].float().cpu()
    counts, edges = torch.histogram(values, 64) if len(values) else (torch.zeros(1), torch.ones(2))
    return wandb.Histogram(np_histogram=(counts.numpy(), edges.numpy()))


def _table(columns: Sequence[str], rows: list[list[Any]]) -> Any:
    import wandb

    return wandb.Table(list(columns), rows, allow_mixed_types=True)


def _confusion(confusion: list[list[int]], classes: list[str], split: str) -> Any:
    """Draw W&B's chart from counts; wandb.plot.confusion_matrix would count the images again."""
    import wandb

    cells = [
        [true, predicted, count]
        for true, row in zip(classes, confusion, strict=True)
        for predicted, count in zip(classes, row, strict=True)
    ]
    fields = ["Actual", "Predicted", "nPredictions"]
    return wandb.plot_table(
        vega_spec_name="wandb/confusion_matrix/v1",
        data_table=_table(fields, cells),
        fields={name: name for name in fields},
        string_fields={"title": f"confusion of the {split} images"},
    )
