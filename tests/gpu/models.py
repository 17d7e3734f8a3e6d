"""Step: every network trains, validates and is tested for a batch in bf16-mixed, and switches."""

import time
import traceback

import torch
from tests.gpu.visit import Found, Visit, freed, one_line, peak_megabytes, read_results
from torchvision import models

import strided
from strided.config.yaml_files import CONF_DIR

SWITCHES = {
    "compile": ["model=resnet18", "compile=true"],
    "fp16 clip": ["trainer.precision=16-mixed", "trainer.gradient_clip_val=1.0"],
    "bf16-true": ["trainer.precision=bf16-true"],
    "float32": ["trainer.precision=32-true"],
    "strong, mixup, EMA": ["augment=strong", "augment.mixup=0.2", "callbacks.ema.decay=0.99"],
    "randaugment": ["augment=randaugment"],
    "frozen": ["transfer=two_stage", "model.weights=WEIGHTS"],
}
DETERMINISTIC = ("alexnet", "vgg16", "resnet18", "densenet121", "googlenet", "inception_v3")


def cases(tiny: bool) -> dict[str, list[str]]:
    """The words of each case by its name."""
    files = sorted(file.stem for file in (CONF_DIR / "model").glob("*.yaml"))
    rows = {n: [f"model={n}"] for n in files if n not in ("timm", "torchvision")}
    if tiny:
        chosen = {"strong, mixup, EMA": ["model=lenet5", *SWITCHES["strong, mixup, EMA"]]}
        return {"lenet5": rows["lenet5"], "googlenet": rows["googlenet"]} | chosen
    rows["timm convnext_atto"] = ["model=timm", "model.name=convnext_atto"]
    rows["vit_b_16"] = ["model=torchvision", "model.name=vit_b_16", "data.image_size=224"]
    switches = {name: ["model=resnet18", *words] for name, words in SWITCHES.items()}
    deterministic = "trainer.deterministic=true"
    rows |= {f"{n} deterministic": [f"model={n}", deterministic] for n in DETERMINISTIC}
    return rows | switches


def work(visit: Visit) -> None:
    """Share the cases among processes, and gather what they kept."""
    names = list(cases(visit.tiny))
    torch.save(models.resnet18().state_dict(), visit.scratch / "resnet18.pth")
    slow = [name for name in names if name == "compile"]
    parts = {"others": [name for name in names if name not in slow], "slow": slow}
    started = [visit.fork(part, run_cases, visit, part, names) for part, names in parts.items()]
    for process in started:
        process.join(max(0, visit.left() - 2))
    for part in parts:
        for name, row in read_results(visit.scratch / part).items():
            visit.keep(name, row)
    for name in names:
        if name not in visit.found:
            visit.keep(name, {"error": "not reached"})


def run_cases(visit: Visit, part: str, names: list[str]) -> None:
    """Train each for a batch; keep state, loss, seconds and memory, or the error."""
    torch.set_num_threads(2)  # several processes share the cores
    inner = Visit("results", visit.tiny, visit.scratch / part, None, visit.ends)
    inner.scratch.mkdir()
    for name in names:
        typed = [*visit.trainer, "data=synthetic", "data.batch_size=16", "debug=fast_dev_run"]
        given = str(visit.scratch / "resnet18.pth")
        words = [word.replace("WEIGHTS", given) for word in cases(visit.tiny)[name]]
        started = time.monotonic()
        freed()
        try:
            result = strided.train([*typed, *words, f"log_dir={visit.logs('runs')}-{part}"])
            row: Found = {"loss": result.get("test/loss")}
            if not isinstance(row["loss"], float):
                row["error"] = f"no test loss, state {result.get('state')}"
        except Exception as error:
            row = {"error": one_line(error), "where": traceback.format_exc()[-800:]}
        row |= {"seconds": round(time.monotonic() - started, 1), "peak_mb": peak_megabytes()}
        inner.keep(name, row)


def lines(found: Found) -> list[str]:
    """How many are good, and why the others are not."""
    bad = {name: row["error"] for name, row in found.items() if "error" in row}
    said = [f"{len(found) - len(bad)} of {len(found)} train, validate and are tested"]
    return said + [f"  {name}: {error[:150]}" for name, error in list(bad.items())[:8]]
