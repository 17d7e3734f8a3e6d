"""The compare verb: facts of networks against published values, runs against each other."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from strided.cli import main
from strided.compare.facts import activation_bytes, facts_of
from strided.compare.finished_run import FinishedRun
from strided.compare.receptive_field import trace
from strided.config.compose import compose
from strided.config.networks import model_words
from strided.models.torchvision_models import published

# depth as the papers count it, pixels of the last convolution's receptive field, aux parameters
KNOWN = {
    "alexnet": (8, 163, 0),
    "vgg16": (16, 196, 0),
    "vgg19": (19, 252, 0),
    "googlenet": (22, 379, 6_379_984),
    "inception_v3": (48, 1311, 3_326_696),
    "resnet18": (18, 435, 0),
    "resnet50": (50, 427, 0),
    "resnet152": (152, 1451, 0),
    "densenet121": (121, 2071, 0),
    "efficientnet_b0": (82, 851, 0),
}


def node_of(name: str) -> dict[str, Any]:
    node: dict[str, Any] = compose("compare", model_words(name))["model"]
    return node


@pytest.mark.parametrize("name", KNOWN)
def test_facts_are_those_that_are_published(name: str) -> None:
    depth, field, auxiliary = KNOWN[name]
    facts, known = facts_of(node_of(name), 1000, 3, None), published(name)
    whole = facts["parameters"] + (auxiliary if name == "inception_v3" else 0)
    assert whole == known["parameters"] and facts["aux_parameters"] == auxiliary
    assert facts["macs"] / 1e9 == pytest.approx(known["gmacs"], rel=0.01)
    assert (facts["depth"], facts["receptive_field"]) == (depth, field)
    assert facts["sees_all"] is (name == "efficientnet_b0")
    assert facts["image_size"] == (299 if name == "inception_v3" else 224)
    assert 4 * (facts["parameters"] + auxiliary) <= facts["checkpoint_bytes"]
    assert facts["top1"] == known["top1"] and name.split("_")[0] in facts["source"].lower()


def test_filters_are_listed_the_largest_first() -> None:
    assert facts_of(node_of("alexnet"), 1000, 3, None)["filter_sizes"] == "11x11 5x5 3x3"


def test_a_network_that_is_not_the_published_one_has_no_accuracy() -> None:
    for changed in ((10, 3, None), (1000, 1, None), (1000, 3, 64)):
        assert facts_of(node_of("alexnet"), *changed)["top1"] is None


class Branches(nn.Module):
    """A pooled path, a dilated one and a shortcut that takes every second pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.dilated = nn.Conv2d(4, 4, 3, stride=2, padding=2, dilation=2)
        self.pooled = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(4, 4, (1, 5), padding=(0, 2)))
        self.last = nn.Conv2d(12, 2, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        maps = self.stem(images)
        both = torch.cat([self.dilated(maps), self.pooled(maps), maps[:, :, ::2, ::2]], 1)
        return self.last(both)


@pytest.mark.parametrize(("net", "size"), [(Branches(), 48), (None, 64)])
def test_a_receptive_field_is_where_the_gradient_is_not_zero(net: Any, size: int) -> None:
    torch.manual_seed(0)
    if net is None:  # a ResNet for small images, which has in-place additions and padding
        from strided.models import CifarResNet

        net = CifarResNet(10, 1, depth=8).stages[:2]
        net = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), *net)
    for module in net.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 0.1)  # nothing cancels, no ReLU closes
            module.bias = None
    images = torch.ones(1, 1, size, size, requires_grad=True)
    output = net.eval()(images)
    output[0, :, output.shape[2] // 2, output.shape[3] // 2].sum().backward()
    assert images.grad is not None
    rows, columns = images.grad[0, 0].nonzero().unbind(1)
    seen = max(int(axis.max() - axis.min()) + 1 for axis in (rows, columns))
    assert trace(net, torch.ones(1, 1, size, size)).largest.size == seen


def test_a_pooling_sees_further_than_the_convolution_before_it() -> None:
    net = torch.nn.Sequential(nn.Conv2d(3, 1, 3), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1))
    images = torch.zeros(1, 3, 16, 16)
    tracer = trace(net, images)
    assert tracer.largest.size == 3 + 1 + 2 * 2 and tracer.depth == 2
    from torchvision.models import vgg16

    with torch.device("meta"):
        features, images = vgg16().features, torch.zeros(1, 3, 224, 224)
    with torch.inference_mode():
        tracer = trace(features, images)
    assert max(sight.size for _, sight in tracer.known.values()) == 212


def test_a_convolution_over_mixed_tokens_sees_all() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)

        def forward(self, images: Tensor) -> Tensor:
            maps = self.first(images)
            tokens = maps.flatten(2) @ maps.flatten(2).transpose(1, 2)  # every place, with every
            return self.last(tokens.reshape(1, 4, 2, 2))

    largest = trace(Mixed(), torch.zeros(1, 3, 8, 8)).largest
    assert largest.sees_all and largest.windows is None


def test_activations_are_the_outputs_of_layers_but_for_those_that_do_nothing() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True), nn.Dropout(), nn.Flatten())
    assert activation_bytes(net.eval(), torch.zeros(1, 1, 5, 5)) == 4 * (18 + 18 + 18)


def test_a_table_has_a_row_for_every_network_and_why_one_failed(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["models=[lenet5,mlp,resnet10t,squeezenet1_1]", "image_size=40", "repeats=2"]
    assert main(["compare", *words, "seconds=0.01", f"log_dir={log_dir}"]) == 1
    captured = capsys.readouterr()
    assert "1 of 4 models have no facts" in captured.err and "Traceback" not in captured.err
    (folder,) = log_dir.glob("compare/models/*")
    with (folder / "compare.csv").open(newline="") as stream:
        lenet, mlp, resnet, squeezenet = csv.DictReader(stream)
    assert list(mlp)[:5] == ["model", "parameters", "aux_parameters", "macs", "depth"]
    assert "40x40" in lenet["error"] and lenet["macs"] == "" and mlp["depth"] == "3"
    assert mlp["receptive_field"] == "" and resnet["depth"] == "12" and squeezenet["depth"] == "18"
    for row in (mlp, resnet, squeezenet):
        assert float(row["latency_ms_min"]) <= float(row["latency_ms"])
        assert float(row["images_per_second"]) > 0
    page = (folder / "compare.html").read_text()
    assert "Speed here" in page and "http" not in page.replace("http-equiv", "")
    results = json.loads((folder / "results.json").read_text())
    assert results["models"][1]["strengths"] and results["threads"] >= 1


def test_unmeasured_networks_need_no_time(log_dir: Path) -> None:
    words = ["models=[vgg19]", "measure=false", "name=big", f"log_dir={log_dir}"]
    assert main(["compare", *words]) == 0
    (folder,) = log_dir.glob("compare/big/*")
    (row,) = csv.DictReader((folder / "compare.csv").read_text().splitlines())
    assert row["parameters"] == "143667240" and row["latency_ms"] == ""
    assert "Speed here" not in (folder / "compare.html").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "neither was given"),
        (["models=[resnet18]", "model.name=vgg16"], "model.name was typed beside models="),
        (["models=[mlp]", "runs=[a,b]"], "both were given"),
        (["models=[lenet]"], "Did you mean lenet5"),
        (["models=[mlp]", "repeats=0"], "repeats=0; expected 1 or more"),
        (["-m", "models=[mlp]"], "Try models=[a,b]"),
        (["runs=[a]"], "two or more different runs"),
        (["runs=[no where,b]"], "no where is not a run folder"),
    ],
)
def test_mistakes_are_named(
    words: list[str], message: str, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *words, f"log_dir={log_dir}"]) == 1
    assert message in capsys.readouterr().err


def compared(log_dir: Path, *runs: Path) -> tuple[Path, dict[str, Any]]:
    """Compare runs; return the folder and its results.json."""
    words = [f"runs=[{','.join(map(str, runs))}]", f"log_dir={log_dir / 'compared'}"]
    assert main(["compare", *words]) == 0
    (folder,) = (log_dir / "compared").glob("compare/runs/*")
    return folder, json.loads((folder / "results.json").read_text())


def pair_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "disagreements.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_runs_on_the_same_images_are_paired(
    trained_run: Path, log_dir: Path, run_train: Any
) -> None:
    other = run_train("model=mlp")
    folder, results = compared(log_dir, trained_run, other)
    (pair,) = results["pairs"]
    rows = {row["run"]: row for row in results["runs"]}
    difference = rows["lenet5-digits"]["acc"] - rows["mlp-digits"]["acc"]
    assert pair["acc_difference"] == pytest.approx(difference)
    nll = rows["lenet5-digits"]["nll"] - rows["mlp-digits"]["nll"]
    assert pair["nll_difference"] == pytest.approx(nll, abs=1e-4)
    assert pair["only_first_right"] - pair["only_second_right"] == round(difference * 359)
    assert pair["acc_difference_low"] <= difference <= pair["acc_difference_high"]
    assert pair["p_holm"] == pair["p"] and len(pair["classes"]) == 10
    named = {str(file.relative_to(folder)) for file in folder.rglob("*.*")}
    assert named >= {
        "pairs.csv",
        "figures/accuracy.png",
        "figures/loss.png",
        "figures/disagreements.png",
    }
    page = (folder / "compare.html").read_text()
    assert pair["reading"] in page.replace("&#x27;", "'")
    assert page.count("data:image/png") == min(16, len(pair_rows(folder)))


def test_jobs_of_a_sweep_are_told_apart_by_what_was_typed(log_dir: Path) -> None:
    words = ["-m", "name=grid", "model=mlp_small", "data=digits", "optimizer.lr=1e-3,1e-2"]
    words += ["trainer=cpu", "trainer.max_epochs=1", f"log_dir={log_dir}"]
    assert main(["train", *words]) == 0
    runs = [log_dir / next(log_dir.glob("multirun/grid/*")) / number for number in "01"]
    _, results = compared(log_dir, *runs)
    assert [row["run"] for row in results["runs"]] == ["optimizer.lr=0.001", "optimizer.lr=0.01"]


def test_equal_predictions_claim_nothing(
    trained_run: Path, copied_run: Path, log_dir: Path
) -> None:
    _, results = compared(log_dir, trained_run, copied_run)
    (pair,) = results["pairs"]
    # none of 359 images differs: as many as 1 % of all images might
    assert pair["p"] == 1 and pair["acc_difference"] == 0
    assert pair["acc_difference_high"] == -pair["acc_difference_low"] == pytest.approx(0.0106, 0.01)
    assert pair["reading"].startswith("No difference in accuracy is shown")


def test_no_interval_contradicts_its_test_alone_or_among_three(
    trained_run: Path, tmp_path: Path, log_dir: Path
) -> None:
    runs = [trained_run, tmp_path / "a", tmp_path / "b"]
    for run, number in zip(runs[1:], (6, 2), strict=True):
        shutil.copytree(trained_run, run)
        _make_wrong(run / "predictions.csv", number)
    for some in (runs[:2], runs):
        _, results = compared(log_dir / str(len(some)), *some)
        for pair in results["pairs"]:
            low, high = pair["acc_difference_low"], pair["acc_difference_high"]
            apart = low > 0 or high < 0
            assert apart == (pair["p_holm"] < 0.05) == ("more accurate" in pair["reading"])
            assert pair["acc_difference_level"] >= 0.95
            assert f" % interval {100 * low:+.2f} to {100 * high:+.2f}; " in pair["reading"]
    pair = results["pairs"][0]  # a difference alone, and none among three pairs
    assert pair["p"] == 2 / 2**6 and pair["p_holm"] == pytest.approx(6 / 2**6)
    assert pair["acc_difference_level"] == pytest.approx(1 - 0.05 / 3)


def _make_wrong(file: Path, number: int) -> None:
    """Change the predicted class of images that were predicted right."""
    with file.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    right = [row for row in rows if row["label"] == row["predicted"]]
    for row in right[:number]:
        row["predicted"] = "0" if row["label"] != "0" else "1"
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_other_images_are_not_paired_and_the_rest_is_shown(
    trained_run: Path, copied_run: Path, log_dir: Path
) -> None:
    lines = (copied_run / "predictions.csv").read_text().splitlines(keepends=True)
    (copied_run / "predictions.csv").write_text("".join(lines[:-9]))
    folder, results = compared(log_dir, trained_run, copied_run)
    assert (
        "different images (359 and 350 images, 350 of them shared)" in results["pairs"][0]["reason"]
    )
    assert len(results["runs"]) == 2 and (folder / "compare.csv").is_file()
    assert not (folder / "pairs.csv").exists()


def test_other_splits_are_not_the_same_images(
    trained_run: Path, copied_run: Path, log_dir: Path
) -> None:
    config = yaml.safe_load((copied_run / "config.yaml").read_text())
    (copied_run / "config.yaml").write_text(yaml.safe_dump({**config, "split": "<b>val</b>"}))
    folder, results = compared(log_dir, trained_run, copied_run)
    assert results["pairs"][0]["reason"] == "one measured test, the other <b>val</b>"
    assert "<b>val" not in (folder / "compare.html").read_text()


def test_predictions_of_no_image_are_not_paired(
    trained_run: Path, copied_run: Path, log_dir: Path
) -> None:
    head = (copied_run / "predictions.csv").read_text().splitlines(keepends=True)[0]
    (copied_run / "predictions.csv").write_text(head)
    _, results = compared(log_dir, trained_run, copied_run)
    assert "359 and 0 images" in results["pairs"][0]["reason"]


def test_a_run_that_has_tested_nothing_is_told_as_that_alone(
    trained_run: Path, copied_run: Path, log_dir: Path
) -> None:
    results = json.loads((copied_run / "results.json").read_text())
    untested = {k: v for k, v in results.items() if not k.startswith("test/") and k != "overlap"}
    (copied_run / "results.json").write_text(json.dumps(untested))
    (copied_run / "predictions.csv").unlink()
    folder, _ = compared(log_dir, trained_run, copied_run)
    said = (folder / "run.log").read_text()
    assert "nothing tested" in said and "cannot be checked" not in said


def test_paths_are_listed_where_the_pictures_are_gone(
    copied_run: Path, log_dir: Path, run_train: Any
) -> None:
    other = run_train("model=mlp")
    shutil.rmtree(copied_run / "checkpoints")
    folder, results = compared(log_dir, copied_run, other)
    assert results["pairs"][0]["p"] <= 1 and not (folder / "figures/disagreements.png").exists()
    (first, *_) = csv.DictReader((folder / "disagreements.csv").read_text().splitlines())
    assert f"<li>{first['path']}</li>" in (folder / "compare.html").read_text()


def test_the_images_of_a_run_are_those_that_were_measured(copied_run: Path) -> None:
    file = copied_run / "results.json"
    results = json.loads(file.read_text())
    assert FinishedRun.read(copied_run).row()["images"] == results["splits"]["test"] == 359
    file.write_text(json.dumps({**results, "tested": 337}))  # a gate refused the others
    assert FinishedRun.read(copied_run).row()["images"] == 337


def test_a_run_that_is_not_finished_is_refused(copied_run: Path, trained_run: Path) -> None:
    results = json.loads((copied_run / "results.json").read_text())
    (copied_run / "results.json").write_text(json.dumps({**results, "state": "interrupted"}))
    with pytest.raises(Exception, match="interrupted; expected finished runs"):
        FinishedRun.read(copied_run)
