"""compare.html of finished runs: who is ahead, whether that is shown, and on which images."""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from strided.compare.charts import accuracies, against_costs, curves, forest, priced_runs
from strided.compare.disagreements import MOST
from strided.compare.finished_run import FinishedRun
from strided.compare.paired_runs import SIGNIFICANT, Pair, conclusion, pair_html
from strided.data.reading.files import as_text
from strided.evaluation.intervals import RESAMPLES
from strided.pages.figure import Figure
from strided.pages.page import bullets, heading, page, photo, table, tile, tiles
from strided.pages.png import write_png
from strided.report.contact_sheet import Captioned

SHOWN = ("loss", "nll", "ece", "f1", "best_val/acc", "train_seconds", "parameters", "macs")
_NOTE = f"""<p class="note">Differences are paired: both runs on the same images. McNemar's test is
exact; an interval of accuracy excludes 0 exactly where it shows a difference. Intervals of the
likelihood are of {RESAMPLES:,} bootstrap samples of the images. None knows of another seed: a
difference between two trained networks is not yet one between their methods.</p>"""


def render(
    runs: Sequence[FinishedRun], pairs: Sequence[Pair], shown: Sequence[Captioned], folder: Path
) -> str:
    """Return the page; its curves are also written into `folder` as pictures."""
    over_epochs = curves(runs)
    for name, figure in over_epochs.items():
        write_png(figure, folder / f"{name}.png")
    measured = [accuracies(runs), *against_costs(priced_runs(runs), "accuracy")]
    figures = [figure for figure in (*measured, *over_epochs.values()) if figure]
    parts = [tiles(_first(runs, pairs)), _in_grid(figures), heading("Metrics"), _table(runs)]
    parts += [heading("Pairs"), _pairs(pairs, runs, shown), _NOTE, heading("Folders")]
    parts.append(bullets(f"{as_text(run.label)}: {run.folder}" for run in runs))
    return page("Runs compared", "\n".join(parts), ".number + td { white-space: nowrap; }")


def _first(runs: Sequence[FinishedRun], pairs: Sequence[Pair]) -> list[str]:
    """The most accurate run, and its lead over the next, as tiles."""
    known = [(run, row) for run in runs if (row := run.row())["acc"] is not None]
    ranked = sorted(known, key=lambda entry: -entry[1]["acc"])
    if not ranked:
        return []
    (best, row), others = ranked[0], ranked[1:]
    low, high = row["acc_low"], row["acc_high"]
    about = [as_text(best.label), f"{row['images']:,} images"]
    about += [f"95 % interval {low:.1%} to {high:.1%}"] if low is not None else []
    found = [tile("Most accurate", f"{row['acc']:.1%}", "; ".join(about), "good")]
    for other, _ in others[:1]:
        both = {best.label, other.label}
        pair = next(p for p in pairs if {p.first.label, p.second.label} == both)
        found.append(_lead(pair, best, other))
    return found


def _lead(pair: Pair, best: FinishedRun, other: FinishedRun) -> str:
    name = f"Lead over {as_text(other.label)}"
    if pair.reason:
        return tile(name, "not known", as_text(pair.reason), "warn")
    sign = 1 if pair.first is best else -1
    points = f"{100 * sign * pair.found['acc_difference']:.1f} points"
    if pair.found["p_holm"] < SIGNIFICANT:
        return tile(name, points, "A difference is shown, by a paired test.", "good")
    return tile(name, points, "No difference is shown, by a paired test.", "warn")


def _in_grid(figures: Sequence[Figure]) -> str:
    return f'<div class="figures">{"".join(figure.html() for figure in figures)}</div>'


def _table(runs: Sequence[FinishedRun]) -> str:
    rows = []
    for run in runs:
        row = run.row()
        low, high = row["acc_low"], row["acc_high"]
        interval = "" if low is None else f"{low:.4f} to {high:.4f}"
        first = [as_text(run.label), row["acc"], interval, as_text(run.split)]
        rows.append([*first, *(_shown(row, name) for name in SHOWN)])
    heads = ["run", "acc", "95 % interval", "split", *SHOWN]
    return table(heads, rows, "Metrics of each run")


def _shown(row: Mapping[str, Any], name: str) -> Any:
    value = row[name]
    return f"{value:.1f}" if name == "train_seconds" and value is not None else value


def _pairs(pairs: Sequence[Pair], runs: Sequence[FinishedRun], shown: Sequence[Captioned]) -> str:
    paired = [pair for pair in pairs if not pair.reason]
    figure = forest(pairs, runs)
    parts = [_in_grid([figure])] if figure else []
    if len(paired) > 1:
        parts.append(
            f'<p class="note">{len(paired)} pairs are tested: Holm\'s correction keeps the chance '
            "of a false difference among them below 5 %, and the intervals are widened with it.</p>"
        )
    for pair in pairs:
        names = f"{pair.first.label} (first), {pair.second.label} (second)"
        parts.append(f"<h3>{html.escape(as_text(names))}</h3>")
        parts.append(f"<p>{html.escape(as_text(conclusion(pair)))}</p>{pair_html(pair)}")
        if paired and pair is paired[0]:
            parts.append(_disagreements(pair, shown))
    return "\n".join(parts)


def _disagreements(pair: Pair, shown: Sequence[Captioned]) -> str:
    places = pair.disagreements()
    if not places:
        return "<p>They predict the same class for every image.</p>"
    paths = pair.predictions[0].paths
    listed = bullets(as_text(paths[at]) for at in places[:MOST])
    if shown:
        photos = "".join(photo(one.picture, ", ".join(one.lines)) for one in shown)
        listed = f'<div class="gallery">{photos}</div>'
    return (
        f"<p>{len(places)} images are predicted differently (disagreements.csv has all); the "
        f"{min(MOST, len(places))} that both are surest of:</p>{listed}"
    )
