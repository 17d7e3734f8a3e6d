"""Put the service under load, beside a plain endpoint and beside the bound, on this machine.

    make load                                # a minute, after the networks are made
    make load ARGS="--seconds=60 --models=lite0,densenet121 --out=docs/results/serving/load.json"

Rounds of our server, the plain endpoint and the bound alternate. Per second of CPU counts what
a server and all its children take; the clients' own time is told apart. A burst of ten times the
queue, switches of the version and SIGTERM follow. Ends with exit code 1 if a promise was broken.
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.load import events
from tests.load.bundles import ROOT, Subject, pictures, prepare
from tests.load.clients import ask, form, load
from tests.load.processes import Server, naive_server, strided_server
from tests.load.summary import Cell, summary, table

CLIENTS = (1, 8, 32)
ROUNDS = 3
SERVERS = {"strided": events.ROUTE, "naive": "/predict"}
ONCE = ("hostile",)  # of the first network alone


def typed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3, help="of 32 clients; a third of fewer")
    parser.add_argument("--models", default="lite0", help="lite0, densenet121")
    parser.add_argument("--pictures", default="grey", help="grey, colour")
    parser.add_argument(
        "--only", default="speed,burst,switches,ended,hostile", help="parts of the check"
    )
    parser.add_argument("--folder", type=Path, default=ROOT / "logs" / "load")
    parser.add_argument("--out", type=Path, default=None, help="the result, as JSON")
    return parser.parse_args()


def main() -> int:
    """Measure each network; print and write what was found."""
    options = typed()
    result: dict[str, Any] = {"machine": machine(), "models": {}}
    names, wanted = options.models.split(","), options.only.split(",")
    for name in names:
        subject = prepare(name, options.folder)
        result["models"][name] = found = {}
        for part in [part for part in PARTS if part in wanted]:
            if part in ONCE and name != names[0]:
                continue
            found[part] = PARTS[part](subject, options)
            show(name, part, found[part])
            if options.out:
                options.out.parent.mkdir(parents=True, exist_ok=True)
                options.out.write_text(json.dumps(result, indent=1) + "\n")
    broken = [
        f"{name}: {part}"
        for name, found in result["models"].items()
        for part, said in found.items()
        if not said["kept"]
    ]
    print(f"broken: {', '.join(broken)}" if broken else "all promises kept")
    return int(bool(broken))


def show(name: str, part: str, said: Cell) -> None:
    """Print what a part has found: of speed, tables as documents have them."""
    if part != "speed":
        print(f"{name}, {part}: {json.dumps(said)}", flush=True)
        return
    for kind, cell in said["pictures"].items():
        print("\n".join(["", f"{name}, {kind}", "", *table(cell), ""]), flush=True)


def machine() -> dict[str, Any]:
    """What the figures are of."""
    git = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    names = [row for row in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in row]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "cpu": names[0].partition(":")[2].strip() if names else "",
        "cores": len(os.sched_getaffinity(0)),
        "load_before": os.getloadavg()[0],
        "python": sys.version.split()[0],
    }


def speed(subject: Subject, options: argparse.Namespace) -> Cell:
    """Images a second and per second of CPU of both servers, and the bound, by kind of picture."""
    folder = options.folder
    with (
        strided_server(subject.bundle, folder) as ours,
        naive_server(subject.run, folder) as naive,
    ):
        servers = {"strided": ours, "naive": naive}
        kinds = options.pictures.split(",")
        found = {kind: _kind(kind, subject, servers, options) for kind in kinds}
    return {"pictures": found, "kept": all(cell["kept"] for cell in found.values())}


def _kind(
    kind: str, subject: Subject, servers: dict[str, Server], options: argparse.Namespace
) -> Cell:
    shown = pictures(kind)
    place = options.folder / f"pictures-{kind}"
    place.mkdir(exist_ok=True)
    for index, picture in enumerate(shown):
        (place / f"{index}.jpg").write_bytes(picture)
    differ = _differ(servers, shown[0])
    bounds: list[Cell] = []
    cells: dict[str, dict[int, list[Cell]]] = {s: {n: [] for n in CLIENTS} for s in SERVERS}
    for turn in range(ROUNDS):
        bounds.append(_bound(subject.bundle, place, options.seconds / 3 / ROUNDS))
        for name in list(SERVERS)[:: 1 if turn % 2 == 0 else -1]:
            messages = [form(picture, SERVERS[name]) for picture in shown]
            for number in CLIENTS:
                seconds = options.seconds / ROUNDS / (1 if number == max(CLIENTS) else 3)
                cells[name][number].append(cell(servers[name], messages, number, seconds))
    bound = {key: sum(each[key] for each in bounds) for key in bounds[0]}
    return summary(bound, cells) | {
        "bytes": sum(map(len, shown)) // len(shown),
        "largest_difference_of_a_probability": differ,
    }


def _differ(servers: dict[str, Server], picture: bytes) -> float:
    """How far the servers' answers to one picture are apart; both get warm by it."""
    told = {}
    for name, route in SERVERS.items():
        asyncio.run(load(servers[name].port, [form(picture, route)], 4, 2))
        code, body = asyncio.run(ask(servers[name].port, form(picture, route)))
        assert code == 200, body
        told[name] = (body["results"][0] if "results" in body else body)["probabilities"]
    return max(abs(told["strided"][key] - told["naive"][key]) for key in told["naive"])


def _bound(bundle: Path, place: Path, seconds: float) -> Cell:
    words = ["-m", "tests.load.bound", str(bundle), str(place), str(seconds)]
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    found: Cell = json.loads(done.stdout)
    return found


def cell(server: Server, messages: list[bytes], clients: int, seconds: float) -> Cell:
    """What clients met within `seconds`, and what it took of CPU: the server's and their own."""
    cpu, own, begun = server.cpu_s(), time.process_time(), time.perf_counter()
    found = asyncio.run(load(server.port, messages, clients, seconds))
    return {
        "found": found,
        "wall_s": time.perf_counter() - begun,
        "cpu_s": server.cpu_s() - cpu,
        "client_cpu_s": time.process_time() - own,
    }


def _messages(options: argparse.Namespace) -> list[bytes]:
    kind = options.pictures.partition(",")[0]
    return [form(picture, events.ROUTE) for picture in pictures(kind)]


PARTS: dict[str, Callable[[Subject, argparse.Namespace], Cell]] = {
    "speed": speed,
    "burst": lambda subject, options: events.burst(
        subject.bundle, options.folder, _messages(options)
    ),
    "switches": lambda subject, options: events.switches(
        subject.bundle, options.folder, pictures("grey", 1)[0], max(6.0, options.seconds / 2)
    ),
    "hostile": lambda subject, options: events.hostile(subject.bundle, options.folder),
    "ended": lambda subject, options: events.ended(
        subject.bundle, options.folder, _messages(options), max(4.0, options.seconds / 6)
    ),
}

if __name__ == "__main__":
    sys.exit(main())
