"""report.html: the numbers and curves of a run in one file that opens without a network."""

import csv
import html
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from strided.misclassified import Misclassified, draw_misclassified
from strided.page import page, picture
from strided.run import write_text


def write_report(
    folder: Path,
    config: dict[str, Any],
    results: dict[str, Any],
    misclassified: Sequence[Misclassified] = (),
) -> None:
    """Write figures/*.png and report.html from metrics.csv, results and misclassified images."""
    (folder / "figures").mkdir(exist_ok=True)
    (folder / "figures" / "misclassified.png").unlink(missing_ok=True)  # of an earlier sitting
    figures = []
    if (folder / "metrics.csv").is_file():
        figures.append(draw_curves(read_metrics(folder / "metrics.csv"), folder / "figures"))
    if "lr_finder" in results:
        figures.append(draw_rates(results["lr_finder"], folder / "figures"))
    if "confusion" in results and len(results["classes"]) <= 30:
        figures.append(draw_confusion(results["confusion"], results["classes"], folder / "figures"))
    if misclassified:
        figures.append(draw_misclassified(misclassified, folder / "figures"))
    write_text(folder / "report.html", render(config, results, figures))


def read_metrics(file: Path) -> dict[str, list[float]]:
    """Return the columns of metrics.csv; a value that is missing is NaN."""
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {key: [float(row[key] or "nan") for row in rows] for key in (rows[0] if rows else ())}


def draw_curves(metrics: dict[str, list[float]], folder: Path) -> Path:
    """Draw loss and accuracy of train and val over epochs."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), ("loss", "acc"), strict=True):
        for split, style in (("train", "--"), ("val", "-")):
            if f"{split}/{name}" in metrics:
                axes.plot(
                    metrics["epoch"], metrics[f"{split}/{name}"], style, marker=".", label=split
                )
        axes.set(xlabel="epoch", ylabel={"loss": "loss", "acc": "accuracy"}[name])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(metrics["epoch"][0] - 0.5, metrics["epoch"][-1] + 0.5)
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(folder / "curves.png", dpi=120)
    return folder / "curves.png"


def draw_rates(found: Mapping[str, Any], folder: Path) -> Path:
    """Draw the loss at each learning rate that was tried, and the one suggested."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.5, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.plot(found["rates"], found["losses"])
    if found["suggestion"] is not None:
        axes.axvline(found["suggestion"], ls="--", label=f"suggested: {found['suggestion']:.2g}")
        axes.legend()
    axes.set(xlabel="learning rate", ylabel="training loss, smoothed", xscale="log")
    axes.grid(alpha=0.3)
    figure.savefig(folder / "learning_rates.png", dpi=120)
    return folder / "learning_rates.png"


def draw_confusion(confusion: list[list[int]], classes: list[str], folder: Path) -> Path:
    """Draw the confusion matrix: rows true, columns predicted, colours by share of the row."""
    from matplotlib.figure import Figure

    size = max(3.2, 0.55 * len(classes) + 1.5)
    figure = Figure(figsize=(size, size), layout="constrained")
    axes = figure.subplots()
    shares = [[n / max(1, sum(row)) for n in row] for row in confusion]
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(classes))
    # a class is called as its folder: with a $, or bytes that are no text
    shown = [c.encode("utf-8", "surrogateescape").decode("utf-8", "replace") for c in classes]
    axes.set_xticks(ticks, shown, parse_math=False)
    axes.set_yticks(ticks, shown, parse_math=False)
    if max(map(len, classes)) > 2:
        axes.tick_params("x", rotation=60)
    axes.set(xlabel="predicted", ylabel="true")
    for y, row in enumerate(confusion):
        for x, count in enumerate(row):
            colour = "white" if shares[y][x] > 0.5 else "black"
            axes.text(x, y, str(count), ha="center", va="center", color=colour, fontsize=8)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # in a script it has no font for
        figure.savefig(folder / "confusion.png", dpi=120)
    return folder / "confusion.png"


def render(config: dict[str, Any], results: dict[str, Any], figures: list[Path]) -> str:
    """Return the page."""
    command = html.escape(" ".join(["python src/train.py", *results["command"]]))
    pictures = "".join(map(picture, figures))
    facts = {
        k: v for k, v in results.items() if "/" not in k and k not in ("confusion", "lr_finder")
    }
    body = f"""<p class="headline">{headline(results)}</p>
<p><code>{command}</code></p>
{pictures}
<h2>Metrics</h2><div class="scroll">{metric_tables(results)}</div>
<h2>Facts</h2><pre>{html.escape(yaml.safe_dump(facts, sort_keys=False, allow_unicode=True))}</pre>
<details><summary>Config</summary>
<pre>{html.escape(yaml.safe_dump(config, sort_keys=False, allow_unicode=True))}</pre></details>
"""
    return page(str(config["name"]), body)


def headline(results: dict[str, Any]) -> str:
    """Return test accuracy with its interval, or why there is none, and the training time."""
    seconds = f"training took {results['train_seconds']:.1f} s"
    if "test/acc" not in results:
        return f"Nothing was tested; {seconds}."
    low, high = results["test/acc_ci95"]
    return (
        f"Test accuracy {results['test/acc']:.2%} (95 % interval {low:.2%} to {high:.2%}); "
        f"{seconds}."
    )


def metric_tables(results: dict[str, Any]) -> str:
    """Return the overall test metrics, and a row per class, as HTML tables."""
    overall = "".join(
        _row(key[5:], [value])
        for key, value in results.items()
        if key.startswith("test/") and key.count("/") == 1 and "ci95" not in key
    )
    columns, rows = class_table(results)
    heads = "".join(f"<th>{name}</th>" for name in columns)
    classes = "".join(_row(label, values) for label, *values in rows)
    return f"<table>{overall}</table><table><tr>{heads}</tr>{classes}</table>"


def class_table(results: Mapping[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Return the columns class, precision, ... of the test metrics, and a row per class."""
    each = [key.split("/", 2)[1:] for key in results if key.startswith("test/")]
    names = list(dict.fromkeys(key[0] for key in each if len(key) == 2))
    labels = results["classes"] if names else []
    rows = [[label, *(results.get(f"test/{n}/{label}") for n in names)] for label in labels]
    return ["class", *names], rows


def _row(label: str, values: list[float | None]) -> str:
    cells = "".join(
        f'<td class="number">{"-" if value is None else f"{value:.4f}"}</td>' for value in values
    )
    return f"<tr><td>{html.escape(label)}</td>{cells}</tr>"
