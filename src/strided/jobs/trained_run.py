"""A run as `strided.train` returns it: its results.json, where it lies, and how it looks."""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from strided.config.keys import InferencePrecision
from strided.errors import one_line
from strided.evaluation.classifier import Classifier
from strided.report.headline import headline
from strided.runs.folder import RunFolder
from strided.runs.results import Results

_CURVES = ("loss", "accuracy")  # figures of the report


class TrainedRun(dict[str, Any]):
    """The content of results.json (see `strided.runs.results.Results`) of the run in `folder`."""

    def __init__(
        self,
        results: Results,
        folder: Path,
        trust: Sequence[str] = (),
        config_dir: Path | None = None,
    ) -> None:
        super().__init__(results)
        self.folder = folder
        self._results, self._trust, self._config_dir = results, trust, config_dir

    @property
    def report(self) -> Path | None:
        """report.html, which opens in a browser; None if the run wrote none (fast_dev_run)."""
        file = RunFolder(self.folder).report
        return file if file.is_file() else None

    def classifier(
        self, *, device: str = "auto", precision: InferencePrecision | None = None
    ) -> Classifier:
        """Load best.ckpt of the run, as `strided.load(run.folder)` does. Raises UserError."""
        return Classifier.load(
            self.folder,
            device=device,
            precision=precision,
            trust=self._trust,
            config_dir=self._config_dir,
        )

    def __repr__(self) -> str:
        return f"<TrainedRun {one_line(str(self.folder))}: {headline(self._results)}>"

    def _repr_html_(self) -> str:
        """Headline, curves and where the report is; a notebook shows it."""
        figures = RunFolder(self.folder).figures
        drawn = [figures / f"{name}.png" for name in _CURVES]
        pictures = "".join(_picture(file) for file in drawn if file.is_file())
        name = self.folder.parent.name
        where = f"report: {self.report}" if self.report else f"folder: {self.folder}"
        return (
            f"<div><p><b>{_escaped(name)}</b>: {_escaped(headline(self._results))}</p>"
            f"<div>{pictures}</div><p><code>{_escaped(where)}</code></p></div>"
        )


def _picture(file: Path) -> str:
    content = base64.b64encode(file.read_bytes()).decode()
    size = 'style="width: 24rem; max-width: 100%"'
    return f'<img alt="{file.stem} of each epoch" {size} src="data:image/png;base64,{content}">'


def _escaped(text: str) -> str:
    return html.escape(one_line(text))
