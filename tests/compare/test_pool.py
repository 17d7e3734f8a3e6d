"""Folds put together: figures of out-of-fold predictions, and runs that are no such folds."""

import csv
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn import metrics as sk

from strided.cli import main
from strided.evaluation.intervals import wilson_interval
from strided.runs.predictions_csv import Predictions

CLASSES = ("calm", "dark", "loud")


def write_table(folder: Path) -> Path:
    """72 images of 24 patients, of which only women have the class `loud`."""
    lines = ["path,label,group,sex,age"]
    generator = np.random.default_rng(0)
    for index in range(72):
        patient, kind = index // 3, CLASSES[index // 3 % 3]
        grey = generator.integers(0, 130, (8, 8), dtype=np.uint8) + 40 * CLASSES.index(kind)
        Image.fromarray(grey.astype(np.uint8)).save(folder / f"{index}.png")
        sex = "f" if kind == "loud" or patient % 2 else "m"
        lines.append(f"{index}.png,{kind},patient {patient},{sex},{20 + 2 * patient}")
    file = folder / "scans.csv"
    file.write_text("\n".join(lines))
    return file


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, blank_figures: None) -> Path:
    """A sweep over three folds of two partitions. Read it, do not change it."""
    folder = tmp_path_factory.mktemp("pool")
    words = ["model=mlp_small", "data=csv", f"data.csv={write_table(folder)}", "data.image_size=8"]
    words += ["data.num_folds=3", "data.subgroup_columns=[sex,age]", "data.val_fraction=0.3"]
    words += ["trainer=cpu", "trainer.max_epochs=1", "name=folds", f"log_dir={folder}"]
    assert main(["train", "-m", *words, "data.split_seed=0,1", "data.fold=range(3)"]) == 0
    (found,) = folder.glob("multirun/folds/*")
    return found


@pytest.fixture
def jobs(sweep: Path, tmp_path: Path) -> Path:
    """A copy of the sweep's runs, to be changed at will."""
    return Path(shutil.copytree(sweep, tmp_path / "jobs"))


def pooled(log_dir: Path, *pool: Path, words: tuple[str, ...] = ()) -> tuple[Path, dict[str, Any]]:
    runs = f"pool=[{','.join(map(str, pool))}]"
    assert main(["compare", runs, *words, f"log_dir={log_dir / 'pooled'}"]) == 0
    (folder,) = (log_dir / "pooled").glob("compare/pool/*")
    return folder, json.loads((folder / "results.json").read_text())


def refused(capsys: pytest.CaptureFixture[str], log_dir: Path, *pool: Path) -> str:
    capsys.readouterr()
    assert main(["compare", f"pool=[{','.join(map(str, pool))}]", f"log_dir={log_dir}"]) == 1
    error = capsys.readouterr().err
    assert "; expected" in error and "Try " in error and "Traceback" not in error
    return error


def change(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    results = json.loads((run / "results.json").read_text())
    change(results)
    (run / "results.json").write_text(json.dumps(results))


def change_config(run: Path, old: str, new: str) -> None:
    file = run / "config.yaml"
    assert old in file.read_text()
    file.write_text(file.read_text().replace(old, new))


def test_pooled_figures_are_those_of_all_predictions(sweep: Path, log_dir: Path) -> None:
    runs = [sweep / job for job in "012"]
    folder, results = pooled(log_dir, *runs, words=("prevalence={loud: 0.02}",))
    (found,) = results["pools"]
    each = [Predictions.read(run / "predictions.csv") for run in runs]
    labels = np.concatenate([own.labels for own in each])
    predicted = np.concatenate([own.predicted for own in each])
    probabilities = np.concatenate([own.probabilities for own in each])
    assert (found["images"], found["groups"], found["num_folds"]) == (72, 24, 3)
    figures = found["metrics"]
    expected = {
        "acc": sk.accuracy_score(labels, predicted),
        "balanced_acc": sk.balanced_accuracy_score(labels, predicted),
    }
    for k, name in enumerate(CLASSES):
        expected[f"auprc/{name}"] = sk.average_precision_score(labels == name, probabilities[:, k])
        expected[f"auroc/{name}"] = sk.roc_auc_score(labels == name, probabilities[:, k])
        expected[f"npv/{name}"] = sk.precision_score(labels != name, predicted != name)
    for name, value in expected.items():
        assert figures[name]["value"] == pytest.approx(value, abs=1e-6), name
        assert figures[name]["low"] <= value <= figures[name]["high"], name
    sensitivity, specificity = (figures[f"{m}/loud"]["value"] for m in ("recall", "specificity"))
    ppv = 0.02 * sensitivity / (0.02 * sensitivity + 0.98 * (1 - specificity))
    assert figures["ppv_at_prevalence/loud"]["value"] == pytest.approx(ppv)
    assert not {"ppv_at_prevalence/calm", "ppv_at_prevalence"} & figures.keys()
    assert figures["ece"]["low"] is None
    assert figures["ece_floor"]["value"] < figures["ece_floor_p95"]["value"]
    held = np.concatenate([own.sets for own in each if own.sets is not None])
    covered = held[np.arange(72), [each[0].classes.index(label) for label in labels]]
    of_sets = figures["set_coverage"]
    assert of_sets["value"] == pytest.approx(covered.mean())
    assert of_sets["low"] <= of_sets["value"] <= of_sets["high"]
    assert figures["set_size"]["value"] == pytest.approx(held.sum(1).mean())
    assert found["confusion"] == sk.confusion_matrix(labels, predicted).tolist()
    with (folder / "pool.csv").open(newline="") as stream:
        rows = {(row["metric"], row["class"]): row for row in csv.DictReader(stream)}
    assert float(rows["auprc", "loud"]["value"]) == figures["auprc/loud"]["value"]
    page = (folder / "pool.html").read_text()
    assert "72 images of 24 groups" in page and "prevalence of 0.02 (loud)" in page


def test_a_pool_has_a_card_with_its_figures(sweep: Path, log_dir: Path) -> None:
    folder, results = pooled(log_dir, *(sweep / job for job in "012"))
    card, (found,) = (folder / "card.md").read_text(), results["pools"]
    acc, recall = (found["metrics"][name] for name in ("acc", "recall/loud"))
    assert f"| accuracy | {acc['value']:.1%} | {acc['low']:.1%} to {acc['high']:.1%} |" in card
    assert f"{recall['value']:.1%} ({100 * recall['low']:.1f}-{100 * recall['high']:.1f})" in card
    assert "| runs put together | 3, each tested" in card and "| images | test 72 |" in card
    assert "| groups (patients) measured | 24 |" in card and "| sex: m |" in card
    assert "This is one fold" not in card
    whole = (sweep / "card.md").read_text()  # of both partitions
    assert whole.count("# Model card: folds, all folds, data.split_seed=") == 2
    assert f"| {found['partition_hash']} |" in whole


def test_policies_and_gates_of_folds_are_added_up(jobs: Path, log_dir: Path) -> None:
    for job, wrong in zip("012", (1, 0, 2), strict=True):
        alone = {"route": "auto", "images": 10, "wrong": wrong}
        rest = {"route": "review", "images": 14, "wrong": 5}
        policy = {"max_risk": 0.1, "urgent": ["loud"], "workload": [alone, rest]}
        measured = {"images": 24, "refused": 1}
        gate = {"method": "knn", "false_alarms": 0.05, "measured": measured}
        more = {"triage": {**policy, "threshold": 0.9}, "gate": gate, "operating_point": 0.95}
        change(jobs / job, partial(dict.update, **more))
    folder, _ = pooled(log_dir, *(jobs / job for job in "012"))
    card = (folder / "card.md").read_text()
    assert "| 30 | 41.7% (31.0% to 53.2%) | 10.0% (3.5% to 25.6%) |" in card
    assert (
        "that each run has chosen to let at most 10.0%" in card and "Urgent are the class" in card
    )
    assert "3 of the measured ones, 4.2%" in card and "at a sensitivity of 95.0%" in card


def test_subgroups_are_shown_with_their_size_and_absent_classes_are_null(
    sweep: Path, log_dir: Path
) -> None:
    folder, results = pooled(log_dir, *(sweep / job for job in "012"))
    rows = {(r["column"], r["value"]): r for r in results["pools"][0]["subgroups"]}
    assert set(rows) == {
        ("sex", "f"),
        ("sex", "m"),
        *(("age", band) for band in ("20 to 39", "40 to 59", "60 to 79")),
    }
    men, women = rows["sex", "m"], rows["sex", "f"]
    assert men["images"] + women["images"] == 72 and men["groups"] + women["groups"] == 24
    assert men["recall/loud"] is None and men["recall/loud_low"] is None
    assert women["recall/loud"] is not None and men["balanced_acc"] is not None
    assert rows["age", "60 to 79"]["images"] == 12 and rows["age", "60 to 79"]["small"]
    assert not women["small"]
    page = (folder / "pool.html").read_text()
    assert "60 to 79 *" in page and "fewer than 20 images" in page
    with (folder / "subgroups.csv").open(newline="") as stream:
        assert [row["value"] for row in csv.DictReader(stream)] == [value for _, value in rows]


def test_a_sweep_is_pooled_for_each_partition_and_its_page_shows_it(
    sweep: Path, log_dir: Path
) -> None:
    _, results = pooled(log_dir, sweep)
    pools = {pool["pool"]: pool for pool in results["pools"]}
    assert set(pools) == {"data.split_seed=0", "data.split_seed=1"}
    assert len({pool["partition_hash"] for pool in pools.values()}) == 2
    with (sweep / "pool.csv").open(newline="") as stream:
        accuracies = {
            r["pool"]: float(r["value"]) for r in csv.DictReader(stream) if r["metric"] == "acc"
        }
    assert accuracies == {name: pool["metrics"]["acc"]["value"] for name, pool in pools.items()}
    page = (sweep / "summary.html").read_text()
    assert "All folds put together" in page and "pool=[" in page
    with (sweep / "label_suspects.csv").open(newline="") as stream:
        errors = list(csv.DictReader(stream))
    surest = [float(row["probability"]) for row in errors]
    assert surest == sorted(surest, reverse=True)
    for name, accuracy in accuracies.items():
        own = [row for row in errors if row["pool"] == name]
        assert len(own) == round(72 * (1 - accuracy))
        assert all(row["label"] != row["predicted"] for row in own)


def test_a_sweep_ends_with_its_pools_and_the_command_for_more(
    jobs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (jobs / "pool.csv").unlink()
    assert main(["train", f"resume={jobs}"]) == 0
    *_, first, second, _, then = capsys.readouterr().out.splitlines()
    assert first.startswith("all folds together: data.split_seed=0: accuracy 0.")
    assert "data.split_seed=1" in second and "72 images of 24 groups" in second
    assert f"pool=[{jobs}]" in then and (jobs / "pool.csv").is_file()


def test_runs_that_are_no_folds_of_one_partition_are_refused(
    jobs: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [jobs / job for job in "012345"]
    message = refused(capsys, log_dir, *runs[:2])
    assert "fold 0, 1 of 0 to 2" in message and "not 2;" in message and "data.fold=2" in message
    assert "are of different partitions" in refused(capsys, log_dir, *runs[:2], runs[5])
    assert "two or more different runs" in refused(capsys, log_dir, *runs[:3], runs[2])
    again = Path(shutil.copytree(runs[1], jobs / "again"))
    assert "fold 1 twice" in refused(capsys, log_dir, *runs[:3], again)
    change(again, lambda results: results.update(fold=2))
    overlapping = refused(capsys, log_dir, *runs[:2], again)
    assert "have tested the same images" in overlapping and "24 in all" in overlapping
    change(again, lambda results: results.update(fold=9))
    assert "fold 9 of 3" in refused(capsys, log_dir, *runs[:3], again)
    change(again, lambda results: results.update(fold=1, data_fingerprint="others"))
    assert "has other images" in refused(capsys, log_dir, runs[0], again, runs[2])
    change(again, lambda results: results.update(state="interrupted"))
    assert "is interrupted" in refused(capsys, log_dir, runs[0], again, runs[2])
    change_config(runs[1], "trainer:\n", "trainer:\n  limit_test_batches: 1\n")
    predictions = runs[1] / "predictions.csv"
    predictions.write_text("".join(predictions.read_text().splitlines(keepends=True)[:9]))
    message = refused(capsys, log_dir, *runs[:3])
    assert "tested 8 of its 24 test images (trainer.limit_test_batches=1)" in message
    predictions.unlink()
    assert "has tested no image" in refused(capsys, log_dir, *runs[:3])


def as_an_older_run(run: Path) -> None:
    """Take away what runs before folds and groups did not write."""

    def without(results: dict[str, Any]) -> None:
        for key in ("fold", "num_folds", "partition_hash"):
            del results[key]

    change(run, without)
    with (run / "predictions.csv").open(newline="") as stream:
        rows = [row[:7] for row in csv.reader(stream)]
    with (run / "predictions.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)


def refuse_first(run: Path) -> None:
    """Let the gate of an older run refuse its first image."""
    with (run / "predictions.csv").open(newline="") as stream:
        head, first, *rows = csv.reader(stream)
    with (run / "predictions.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([head, first[:2] + [""] * (len(first) - 2), *rows])
    measured = {"images": 24, "refused": 1, "share": 1 / 24, "share_ci95": [0.0, 0.2]}
    gate = {"method": "knn", "false_alarms": 0.05, "measured": measured}
    change(run, lambda results: results.update(gate=gate))


def test_older_runs_are_pooled_by_their_images_and_intervals_are_over_images(
    jobs: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [jobs / job for job in "012"]
    for run in runs:
        as_an_older_run(run)
    folder, results = pooled(log_dir, *runs)
    (found,) = results["pools"]
    assert found["images"] == 72 and found["groups"] is None and not found["subgroups"]
    acc = found["metrics"]["acc"]
    assert [acc["low"], acc["high"]] == wilson_interval(acc["value"], 72)
    assert "No groups (patients) are known" in (folder / "pool.html").read_text()
    change(runs[1], lambda results: results.update(skipped=1))
    refuse_first(runs[0])
    folder, results = pooled(log_dir / "gated", *runs)  # each image counts, answered or not
    assert results["pools"][0]["images"] == 71
    assert "| images unreadable | 1 |" in (folder / "card.md").read_text()
    assert "tested 49 of the 72 images" in refused(capsys, log_dir, *runs[:2])
    change_config(runs[1], "max_epochs: 1", "max_epochs: 2")
    assert "differ in trainer.max_epochs; expected" in refused(capsys, log_dir, *runs)
    assert "has no fold, and other runs have" in refused(capsys, log_dir, *runs[:2], jobs / "5")


def test_what_eval_measured_of_each_fold_is_pooled_too(sweep: Path, log_dir: Path) -> None:
    for job in "012":
        assert main(["eval", f"checkpoint={sweep / job}", f"log_dir={log_dir}"]) == 0
    _, results = pooled(log_dir, *log_dir.glob("eval/*/*"))
    _, trained = pooled(log_dir / "trained", *(sweep / job for job in "012"))
    assert results["pools"][0]["metrics"] == trained["pools"][0]["metrics"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs=[a,b]"], "both were given"),
        (["prevalence=1.5"], "prevalence=1.5; expected the share of a class"),
        (
            ["prevalence={load: 0.1}"],
            "has load, which is no class; expected some of calm, dark",
        ),
        (["num_classes=3"], "pool= compares what runs have measured"),
    ],
)
def test_mistakes_are_named(
    sweep: Path,
    log_dir: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert main(["compare", f"pool=[{sweep}]", *words, f"log_dir={log_dir}"]) == 1
    assert message in capsys.readouterr().err


def test_a_prevalence_without_a_pool_is_refused(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["models=[mlp]", "prevalence=0.1", f"log_dir={log_dir}"]
    assert main(["compare", *words]) == 1
    assert "only pool= has predictive values" in capsys.readouterr().err
