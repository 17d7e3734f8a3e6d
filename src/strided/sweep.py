"""What a sweep leaves in its folder: summary.csv and summary.html, a row per job."""

import csv
import html
import io
from pathlib import Path
from typing import Any

from strided.run import read_results, write_text

COLUMNS = ("test/acc", "test/loss", "best_val/acc", "best_epoch", "train_seconds", "error")


def summarise(folder: Path) -> int:
    """Write the summary of a sweep's folder; return how many jobs did not finish."""
    jobs = sorted((entry for entry in folder.iterdir() if entry.name.isdigit()), key=_number)
    rows = [_row(job) for job in jobs]
    overrides = list(dict.fromkeys(key for row in rows for key in row["overrides"]))
    head = ["job", *overrides, "state", *COLUMNS]
    body = [
        [row["job"], *(row["overrides"].get(key, "") for key in overrides), row["state"]]
        + [row["results"].get(column, "") for column in COLUMNS]
        for row in rows
    ]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([head, *body])
    write_text(folder / "summary.csv", text.getvalue())
    write_text(folder / "summary.html", _page(folder, head, body))
    return sum(row["state"] != "finished" for row in rows)


def _number(job: Path) -> int:
    return int(job.name)


def _row(job: Path) -> dict[str, Any]:
    results = read_results(job)
    typed = [word.partition("=") for word in results.get("command", ())]
    return {
        "job": job.name,
        "overrides": {key: value for key, _, value in typed},
        "state": results.get("state", "killed"),
        "results": results,
    }


def _page(folder: Path, head: list[str], body: list[list[Any]]) -> str:
    def cells(values: list[Any], tag: str) -> str:
        shown = (f"{v:.4f}" if isinstance(v, float) else str(v) for v in values)
        return "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in shown)

    rows = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in body)
    title = html.escape(f"{folder.parent.name} {folder.name}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>'
        ":root{color-scheme:light dark}body{font:16px system-ui,sans-serif;margin:2rem}"
        "td,th{padding:.2rem .8rem;text-align:left}</style></head>"
        f"<body><h1>{title}</h1><table><tr>{cells(head, 'th')}</tr>{rows}</table></body></html>\n"
    )
