"""Step: CIFAR-10 (a JPEG copy) with ResNet-18: seconds to 93 %, and the best it reaches."""

from pathlib import Path

from tests.gpu.visit import Found, Visit, read_epochs, read_results

GOAL = 0.93
EPOCHS = 20
RECIPE = [
    "model=resnet18", "augment=standard", "augment.erasing=0.25", "loss.label_smoothing=0.1",
    "optimizer=sgd", "optimizer.lr=0.4", "optimizer.weight_decay=5e-4", "scheduler=one_cycle",
    "callbacks.ema.decay=0.99",
]  # fmt: skip


def work(visit: Visit) -> None:
    """Train once, and read when the goal was met."""
    if visit.tiny:
        size = ["data=synthetic", "data.num_images=120", "trainer.max_epochs=2", "model=lenet5"]
    elif visit.cifar is None:
        visit.keep("run", {"skipped": "no CIFAR-10 was carried: make gpu-carry"})
        return
    else:
        size = ["data=cifar10", f"data.root={visit.cifar}", f"trainer.max_epochs={EPOCHS}"]
        size.append("data.batch_size=512")
    process = visit.start("run", "train", *RECIPE, *visit.trainer, *size)
    process.join(max(0, visit.left() - 2))
    folder = visit.run_folder("run")
    results = read_results(folder)
    keys = ("state", "test/acc", "best_val/acc", "train_seconds", "images_per_second", "execution")
    found: Found = {key: results.get(key) for key in keys}
    found["epochs"], spent = [], 0.0
    for row in read_epochs(folder) if folder and (folder / "metrics.csv").is_file() else []:
        spent += float(row["epoch_seconds"])
        found["epochs"].append([round(spent, 2), float(row["val/acc"])])
    found["to_goal"] = next((s for s, accuracy in found["epochs"] if accuracy >= GOAL), None)
    if process.exitcode is None:
        found["error"] = f"stopped at its limit: {visit.said('run')}"
    elif results.get("state") != "finished":
        found["error"] = visit.said("run")
    visit.keep("run", found)
    if "error" not in found and folder:
        visit.keep("eval", evaluated(visit, folder))
        short = ["trainer.max_epochs=3", "data.resident=false"]
        visit.start("sent", "train", *RECIPE, *visit.trainer, *size, *short).join(visit.left() - 1)
        sent = read_results(visit.run_folder("sent")).get("images_per_second")
        visit.keep("images_per_second_not_resident", sent)


def evaluated(visit: Visit, folder: Path) -> Found:
    """Whether eval, in a process of its own, gives the run's own predictions."""
    accelerator = "cpu" if visit.tiny else "gpu"
    words = [f"checkpoint={folder}", f"accelerator={accelerator}"]
    process = visit.start("eval", "eval", *words)
    process.join(max(0, visit.left() - 1))
    other = visit.run_folder("eval")
    if process.exitcode != 0 or other is None:
        return {"error": visit.said("eval")}
    files = [place / "predictions.csv" for place in (folder, other)]
    same = files[0].read_bytes() == files[1].read_bytes()
    return {"predictions_equal": same} | ({} if same else {"error": "eval's predictions differ"})


def lines(found: Found) -> list[str]:
    """One line."""
    row = found.get("run", {"skipped": "nothing found"})
    if "skipped" in row or "error" in row:
        return [str(row.get("skipped") or row["error"])]
    reached = f"after {row['to_goal']} s of training" if row["to_goal"] else "never"
    return [
        f"validation reaches {GOAL:.0%} {reached}; best "
        f"{row['best_val/acc']:.2%}, test {row['test/acc']:.2%}; {row['train_seconds']:.0f} s in "
        f"all, {row['images_per_second']:.0f} images/s,"
        f" {found.get('images_per_second_not_resident')} when each batch is sent to the GPU",
        f"eval of the same checkpoint: {found.get('eval')}",
    ]
