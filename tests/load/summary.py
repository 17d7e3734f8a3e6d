"""What the measurements of a network under load come to."""

from typing import Any

from tests.load.clients import Answered

Cell = dict[str, Any]


def summary(bound: Cell, cells: dict[str, dict[int, list[Cell]]]) -> Cell:
    """The figures of a kind of pictures: of the bound, and by server and number of clients."""
    most = bound["images"] / bound["cpu_s"]
    steps = {f"{k}_ms": round(1000 * bound[k] / bound["images"], 2) for k in bound if k != "images"}
    told: Cell = {"bound": {"images_per_cpu_s": round(most, 1), **steps}}
    for name, columns in cells.items():
        told[name] = {str(number): _row(rows, most) for number, rows in columns.items()}
    last = list(told["strided"])[-1]
    ours, naive = (told[name][last]["images_per_cpu_s"] for name in ("strided", "naive"))
    told["times_naive_per_cpu_s"] = round(ours / naive, 2)
    told["kept"] = all(
        set(row["codes"]) == {200} and not row["lost"] for row in told["strided"].values()
    )
    return told


def _row(rows: list[Cell], most: float) -> Cell:
    total = Answered()
    for row in rows:
        total.seconds += row["found"].seconds
        total.codes += row["found"].codes
        total.lost += row["found"].lost
    wall, cpu, client = (sum(r[k] for r in rows) for k in ("wall_s", "cpu_s", "client_cpu_s"))
    images = len(total.seconds)
    return {
        "images": images,
        "images_per_s": round(images / wall, 1),
        "images_per_cpu_s": round(images / cpu, 1),
        "of_the_bound": round(images / cpu / most, 3),
        "rounds_per_cpu_s": [round(len(r["found"].seconds) / r["cpu_s"], 1) for r in rows],
        "client_cpu_s_per_s": round(client / wall, 2),
        **total.percentiles(),
        "codes": dict(total.codes),
        "lost": total.lost,
    }


def table(cell: Cell) -> list[str]:
    """The rows of a table in Markdown."""
    bound = cell["bound"]
    lines = [
        "| server, clients | images/s | per CPU second | of the bound | p50, p95, p99 (ms) |",
        "|---|---|---|---|---|",
    ]
    for name in ("strided", "naive"):
        for number, row in cell[name].items():
            times = ", ".join(f"{row[f'p{at}_ms']:.0f}" for at in (50, 95, 99))
            lines.append(
                f"| {name}, {number} | {row['images_per_s']} | {row['images_per_cpu_s']} "
                f"| {row['of_the_bound']:.2f} | {times} |"
            )
    steps = ", ".join(f"{step} {bound[f'{step}_ms']} ms" for step in ("decode", "resize", "run"))
    return [
        *lines,
        "",
        f"bound: {bound['images_per_cpu_s']} images per CPU second ({steps}); "
        f"{cell['times_naive_per_cpu_s']} times the plain endpoint per CPU second",
    ]
