"""The path of each file of a sweep or a search; the folders of its jobs are numbered."""

from dataclasses import dataclass
from pathlib import Path

from strided.runs.folder import FIGURES


@dataclass(frozen=True)
class SweepFolder:
    """The folder of a sweep, which has a sweep.yaml, or of a search, which has a search.yaml."""

    path: Path

    @property
    def sweep(self) -> Path:
        """The typed words of a sweep, and its jobs."""
        return self.path / "sweep.yaml"

    @property
    def search(self) -> Path:
        """The plan of a search."""
        return self.path / "search.yaml"

    @property
    def best_trial(self) -> Path:
        """The best trial of a search and its test."""
        return self.path / "best.json"

    @property
    def summary(self) -> Path:
        """A row per job."""
        return self.path / "summary.csv"

    @property
    def summary_of_repeats(self) -> Path:
        """A row for all jobs that differ in their seeds only."""
        return self.path / "summary_seeds.csv"

    @property
    def pool(self) -> Path:
        """The figures of folds put together, of a sweep that has all of them."""
        return self.path / "pool.csv"

    @property
    def label_suspects(self) -> Path:
        """The errors of all these folds, the surest first."""
        return self.path / "label_suspects.csv"

    @property
    def card(self) -> Path:
        """The model card of all these folds."""
        return self.path / "card.md"

    @property
    def page(self) -> Path:
        """The page that shows the tables."""
        return self.path / "summary.html"

    @property
    def figures(self) -> Path:
        """The folder of the page's pictures."""
        return self.path / FIGURES
