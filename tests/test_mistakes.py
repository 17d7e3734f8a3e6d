"""A user's mistake: exit code 1, at most 15 lines, what was given, and what to type instead."""

import os
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tests.conftest import contents

from strided.cli import main
from strided.config.yaml_files import CONF_DIR
from strided.runs.folder import read_results

SRC = CONF_DIR.parent / "src"


def write_torchscript(file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch advises against making more
        torch.jit.trace(torch.nn.Linear(3, 2), torch.zeros(1, 3)).save(file)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, trained_run: Path) -> Path:
    """A folder of things to stumble over."""
    root = tmp_path_factory.mktemp("place")
    (root / "empty").mkdir()
    (root / "note.txt").write_text("no image, no checkpoint, no folder")
    shutil.copy(root / "note.txt", root / "note.png")
    images(root / "one_class", "cat")
    images(root / "other_classes", "cat", "dog")
    images(root / "digits_unsplit", *map(str, range(10)))
    for split in ("train", "val"):
        shutil.copytree(root / "digits_unsplit", root / "digits_without_test" / split)
    broken_images(images(root / "broken", "cat", "dog"))
    (root / "corrupt.zip").write_bytes(zipped(root / "other_classes").read_bytes()[:-40])
    (root / "corrupt.pth").write_bytes(b"PK\x03\x04 and nothing more")
    torch.save(torch.nn.Linear(3, 2).state_dict(), root / "linear.pth")
    write_torchscript(root / "script.pth")
    shutil.copytree(trained_run, root / "run")
    shutil.copytree(trained_run, root / "run_without_checkpoint")
    shutil.rmtree(root / "run_without_checkpoint" / "checkpoints")
    attacked = torch.load(root / "run/checkpoints/best.ckpt", weights_only=True)
    attacked["hyper_parameters"]["model"] = {"_target_": "os.system", "command": "true"}
    torch.save(attacked, root / "attack.ckpt")
    own = root / "own_conf" / "experiment"
    own.mkdir(parents=True)
    (own / "flat.yaml").write_text("seed: 3\n")
    (own / "misspelt.yaml").write_text("# @package _global_\nsead: 3\n")
    return root


def images(root: Path, *classes: str) -> Path:
    for label, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for index in range(8):
            image = Image.new("RGB", (9, 9), (label * 20, index * 30, 100))
            image.save(root / name / f"{index}.png")
    return root


def broken_images(root: Path) -> None:
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "cat" / "text.jpg").write_text("this is no JPEG")
    noise = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(noise).save(root / "dog" / "cut.png")
    os.truncate(root / "dog" / "cut.png", 1000)


def zipped(root: Path) -> Path:
    archive = root.with_suffix(".zip")
    with zipfile.ZipFile(archive, "w") as target:
        for file in sorted(root.rglob("*.png")):
            target.write(file, file.relative_to(root))
    return archive


FOLDER = "train data=image_folder data.root={place}/"

# What is typed -> words that the message must have. {place} is the folder above.
MISTAKES = {
    # names
    "tran": ["tran", "train, eval, predict"],
    "train --fast": ["--fast", "key=value"],
    "train fast": ["fast", "expected key=value"],
    "train model=lenet": ["model=lenet", "Did you mean lenet5?", "alexnet"],
    "train debug=fast": ["debug=fast", "fast_dev_run"],
    "train modle=mlp": ["modle", "Did you mean model?"],
    "train seeed=1": ["seeed", "Did you mean seed?"],
    "train trainer.max_epoch=3": ["trainer.max_epoch", "Did you mean max_epochs?"],
    "train optimizer.learning_rate=1": ["optimizer.learning_rate", "torch.optim.Adam", "lr"],
    "train optimizer.momentum=0.9": ["optimizer.momentum", "torch.optim.Adam"],
    "train data.batch_sizes=3": ["data.batch_sizes", "Did you mean batch_size?"],
    "train callbacks.early_stoping.patience=3": ["early_stoping", "early_stopping"],
    "train callbacks.early_stopping.patients=3": ["patients", "Did you mean patience?"],
    "train model.num_classes=5": ["model.num_classes", "filled in from the data"],
    "train scheduler=one_cycle scheduler.total_steps=5": ["total_steps", "filled in from"],
    "train hydra.run.dir=x": ["hydra.run.dir", "log_dir="],
    "train model=mlp,lenet5": ["model=mlp,lenet5", " -m"],
    "serve -m bundle=a,b": ["-m", "expected one service", "port=8001"],
    "train optimizer.lr=0.1,0.01": ["optimizer.lr=0.1,0.01", " -m"],
    "train model._target_=os.system": ["os.system", "not allowed", "trust=[os]"],
    "train --config-dir {place}/nowhere": ["nowhere", "not a folder"],
    "train --config-dir {place}/own_conf experiment=flat": ["flat", "# @package _global_"],
    "train --config-dir {place}/own_conf experiment=misspelt": ["sead", "Did you mean seed?"],
    # values
    "train trainer.max_epochs=many": ["trainer.max_epochs", "many", "a whole number"],
    "train trainer.max_epochs=-5": ["max_epochs", "-5"],
    "train trainer.gradient_clip_val=big": ["gradient_clip_val", "big", "a number"],
    "train optimizer.lr=fast": ["optimizer.lr", "fast", "a number"],
    "train optimizer.lr=-1": ["optimizer", "-1"],
    "train model=mlp model.hidden=[1,2": ["model.hidden=[1,2", "cannot be read", "[a,b]"],
    "train model=mlp model.dropout=1.5": ["dropout", "1.5"],
    "train model.pooling=median": ["model.pooling", "median", "average, max"],
    "train data.val_fraction=2": ["data.val_fraction=2", "Try data.val_fraction=0.1"],
    "train data.val_fraction=0.6 data.test_fraction=0.6": ["0.6", "Try data.val_fraction=0.1"],
    "train data.batch_size=0": ["data.batch_size=0", "Try data.batch_size=1"],
    "train data.image_size=-3": ["data.image_size=-3", "Try data.image_size="],
    "train data.mean=[0.5]": ["data.mean", "Try adding data.std"],
    "train seed=-1": ["seed=-1", "Try seed=0"],
    "train seed=abc": ["seed", "abc", "whole number"],
    "train compile=maybe --cfg job": ["compile", "maybe", "true or false"],
    "train loss.label_smoothing=2": ["label_smoothing", "2"],
    "train loss.weight=[1,2]": ["loss.weight", "Did you mean class_weights?"],
    "train loss.class_weights=high": ["loss.class_weights=high", "a number, ...} or auto or null"],
    "train data=synthetic loss.class_weights={stripe_0:2,stripes:1}": ["stripe_0", "no class"],
    "train loss.class_weights={3:-2}": ["loss.class_weights.3=-2", "Try loss.class_weights.3=1"],
    "train loss=focal loss.gamma=-1": ["loss.gamma=-1", "Try loss.gamma=2"],
    "train loss.class_weights=auto data.sampler=class_balanced": [
        "loss.class_weights=auto", "twice", "Try loss.class_weights=null, or data.sampler=null",
    ],
    "train loss._target_=torch.nn.MultiMarginLoss ~loss.label_smoothing augment=mixup": [
        "MultiMarginLoss", "(2, 10)", "augment.mixup=0 augment.cutmix=0",
    ],
    "train augment.mixup=-1": ["augment.mixup=-1", "Try augment.mixup=0"],
    "train augment=randaugment augment.rand_augment_magnitude=31": ["magnitude=31", "<= 30"],
    "train optimizer.layer_decay=fast": ["optimizer.layer_decay=fast", "a number or null"],
    "train optimizer.layer_decay=1.5": ["optimizer.layer_decay=1.5", "layer_decay=0.75"],
    "train optimizer.layer_decy=0.5": ["layer_decy", "Did you mean layer_decay?"],
    "train scheduler=step scheduler.step_size=0": ["step_size=0", "1 or more"],
    "train scheduler=cosine scheduler.final_fraction=-1": ["fraction=-1", "Try scheduler."],
    "train scheduler=one_cycle scheduler.max_lr=0": ["max_lr=0", "above 0"],
    "train callbacks.ema.decay=0.9 trainer.precision=bf16-true": ["=bf16-true", "bf16-mixed"],
    "train scheduler=multistep": ["scheduler.milestones has no value", "Try scheduler.milestones="],
    "train callbacks.ema.decay=1": ["callbacks.ema.decay=1;", "Try callbacks.ema.decay=0.999"],
    "train augment.crop_padding=-1": ["augment.crop_padding=-1", "Try augment.crop_padding=0"],
    "train callbacks.checkpoint.every_n_train_steps=0": ["every_n_train_steps=0", "null"],
    "train callbacks.checkpoint.monitor=val/acuracy": ["val/acuracy", "Did you mean val/acc?"],
    "train callbacks.checkpoint.monitor=val/loss": ["worst", "Try callbacks.checkpoint.mode=min"],
    "train callbacks.early_stopping.patience=2 callbacks.early_stopping.monitor=val/f1": [
        "callbacks.early_stopping.monitor=val/f1", "not measured", "val/acc",
    ],
    "train scheduler=plateau scheduler.monitor=loss": ["scheduler.monitor=loss", "val/loss"],
    "train scheduler=plateau scheduler.mode=max": ["scheduler.mode=max", "Try scheduler.mode=min"],
    "train ~seed": ["~seed", "Try seed=<value>"],
    "train logger=null": ["logger=null", "no such option", "tensorboard, wandb"],
    "train callbacks=null": ["callbacks=null", "no such option", "default"],
    "train model=null": ["model=null", "no such option", "lenet5"],
    "train scheduler=cosine trainer.max_epochs=-1 trainer.max_time=00:00:00:01": [
        "trainer.max_epochs=-1", "expected a number of epochs", "Try trainer.max_epochs=10",
    ],
    "train trainer.limit_val_batches=0": ["trainer.limit_val_batches=0", "Try"],
    "train trainer.num_nodes=2": ["trainer.num_nodes=2", "Try torchrun --nnodes=2"],
    "train trainer=ddp_cpu trainer.strategy=fsdp": ["strategy=fsdp", "Try trainer.strategy=ddp"],
    "train trainer.accelerator=gpu": ["trainer", "accelerator", "cpu"],
    "train log_dir={place}/note.txt": ["note.txt", "Try log_dir="],
    "train model=mlp optimizer.lr=1e30": ["loss became", "optimizer.lr", "1e+30"],
    # data
    FOLDER + "nowhere": ["nowhere", "does not exist", "data.root="],
    FOLDER + "empty": ["empty", "one per class"],
    FOLDER + "one_class": ["one_class", "two or more", "cat"],
    FOLDER + "broken": ["cat/empty.png", "cat/text.jpg", "dog/cut.png", "data.on_error=skip"],
    FOLDER + "corrupt.zip": ["corrupt.zip", "no readable zip"],
    "train data=cifar10 data.root={place}/empty": ["cifar10", "cifar-10-batches-py", "data.root="],
    # pairs of model and data
    "train model=alexnet model.stem=imagenet data.image_size=32": ["32x32", "data.image_size=6"],
    "train data.image_size=64": ["LeNet5", "64", "data.image_size=32"],
    "train model=torchvision": ["model.name", "Try model.name="],
    "train model=torchvision model.name=resnet19": ["resnet19", "Try model.name=resnet18"],
    "train model=timm model.name=convnext_ato": ["convnext_ato", "convnext_atto"],
    # weights
    "train model.pretrained=true": ["pretrained", "LeNet5", "model.weights="],
    "train model=resnet18 model.pretrained=true": ["resnet18", "model.weights="],
    "train model.weights={place}/none.pth": ["none.pth", "does not exist"],
    "train model.weights={place}/corrupt.pth": ["corrupt.pth", "cannot be read"],
    "train model.weights={place}/linear.pth": ["linear.pth", "does not fit", "same architecture"],
    "train model=resnet_cifar model.depth=18": ["model.depth=18", "14 and 20", "model.depth=20"],
    "train model.weights={place}/script.pth": ["script.pth", "TorchScript", "state_dict()"],
    "train model=resnet18 model.stem=imagenet data.image_size=32 data.batch_size=1": [
        "shrink to 1x1", "data.batch_size=1", "Try data.batch_size=2",
    ],
    "train experiment=lenet5_mnist optimizer=lbfgs": [
        "optimizer.lr is not", "an experiment or optimizer=lbfgs sets it", "Try ~optimizer.lr",
    ],
    "train name=${x}": ["name refers to what does not exist", "'x'", "Try name=<value>"],
    FOLDER + "~nobody/pictures": ["~nobody/pictures does not exist"],
    # resume
    "train resume=no/where": ["no/where does not exist (in", str(Path.cwd())],
    "train resume={place}/empty": ["empty", "not a run folder"],
    "train resume={place}/run seed=3": ["seed=3", "cannot be changed on resume"],
    "train resume={place}/run trainer.max_epoch=3": ["trainer.max_epoch", "max_epochs"],
    # checkpoints
    "eval": ["checkpoint", "Try checkpoint="],
    "eval checkpoint={place}/none.ckpt": ["none.ckpt", "does not exist", "run folder"],
    "eval checkpoint={place}/note.txt": ["note.txt", "no checkpoint", "best.ckpt"],
    "eval checkpoint={place}/linear.pth": ["linear.pth", "weights only", "model.weights="],
    "eval checkpoint={place}/attack.ckpt": ["os.system", "not allowed"],
    "eval checkpoint={place}/run_without_checkpoint": ["best.ckpt", "resume="],
    "eval checkpoint={place}/run split=train": ["split=train", "Try split=test"],
    "eval checkpoint={place}/run data.batch_size=0": ["data.batch_size=0", "data.batch_size=1"],
    "eval checkpoint={place}/run model=mlp": ["model", "no key"],
    "eval checkpoint={place}/run data=image_folder data.root={place}/other_classes": [
        "other_classes", "does not know cat, dog", "Try giving them the checkpoint's names",
    ],
    "eval checkpoint={place}/run data=image_folder data.root={place}/digits_without_test": [
        "split=test", "train, val", "Try split=val",
    ],
    # input
    "predict checkpoint={place}/run": ["input", "Try input="],
    "predict input={place}/broken": ["checkpoint", "Try checkpoint="],
    "predict checkpoint={place}/run model=resnet18 input=x": ["exclude", "Try without model="],
    "predict model=resnet18 input=x": ["resnet18", "random weights", "Try model.pretrained=true"],
    "predict model.pretrained=true input=x": ["without model=", "Try model=efficientnet_lite0"],
    "predict model=mlp model.weights=w.pth input=x": ["MLP", "no published weights"],
    "predict model=resnet18 model.pretrained=true model.stem=small input=x": [
        "model.stem=small", "Try model.stem=imagenet"
    ],
    "predict model=resnet18 model.weights={place}/linear.pth input=x": ["linear.pth", "not fit"],
    "predict checkpoint={place}/run input={place}/empty": ["empty", "no image", "Try input="],
    "predict checkpoint={place}/run input={place}/*.gif": ["*.gif", "no image"],
    "predict checkpoint={place}/run input={place}/note.png": ["note.png", "could be read"],
    "predict checkpoint={place}/run input={place}/broken accelerator=gpu": ["gpu", "cpu"],
    "predict checkpoint={place}/run input={place}/broken accelerator=tpux": ["tpux", "cpu"],
    "predict checkpoint={place}/run input={place}/broken batch_size=0": ["batch_size", "1"],
}  # fmt: skip


def words_of(typed: str, place: Path) -> list[str]:
    return [word.replace("{place}", str(place)) for word in typed.split()]


# One of these comes before what to type
HINTS = ("Try", "are typed", "Did you mean", "Known", "Leave it out", "xpected", "trust=[")


def assert_helpful(message: str, expected: list[str]) -> None:
    assert message.startswith("error: ")
    assert len(message.splitlines()) <= 15
    assert "Traceback" not in message
    assert "traceback=true" not in message, f"not recognised as a user's mistake: {message}"
    assert any(hint in message for hint in HINTS), f"nothing to try: {message}"
    assert "weights_only" not in message, "loading untrusted pickles is no advice"
    assert "++" not in message, "Hydra's grammar, which the user did not type"
    missing = [word for word in expected if word not in message]
    assert not missing, f"{missing} not in: {message}"


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_is_answered_with_what_to_type(
    typed: str, place: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = words_of(typed, place)
    if words[0] == "train":
        words[1:1] = ["trainer.max_epochs=1"]
    if "log_dir=" not in typed:
        words.append(f"log_dir={log_dir}")
    if "resume=" in typed:
        words = [word for word in words if not word.startswith(("log_dir=", "trainer.max_epochs="))]
    assert main(words) == 1
    assert_helpful(capsys.readouterr().err, MISTAKES[typed])


@pytest.mark.parametrize("typed", ["train model=lenet", "train data.val_fraction=x", "train a"])
def test_a_mistake_in_what_is_typed_leaves_no_run_folder(typed: str, log_dir: Path) -> None:
    assert main([*typed.split(), f"log_dir={log_dir}"]) == 1
    assert not log_dir.exists()


def test_a_run_that_fails_keeps_its_reason(log_dir: Path, place: Path) -> None:
    words = words_of(FOLDER + "broken", place)
    assert main([*words, f"log_dir={log_dir}"]) == 1
    (folder,) = log_dir.glob("train/*/*")
    results = read_results(folder)
    assert results["state"] == "failed"
    assert "data.on_error=skip" in results["error"]
    recorded = (folder / "run.log").read_text()
    assert all(name in recorded for name in ("cat/empty.png", "cat/text.jpg", "dog/cut.png"))


def test_many_broken_images_are_counted_on_screen_and_all_listed_in_the_log(
    tmp_path: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = images(tmp_path / "images", "cat", "dog")
    for index in range(40):
        (root / "dog" / f"broken{index:02d}.jpg").write_text("no image")
    assert main(["train", "data=image_folder", f"data.root={root}", f"log_dir={log_dir}"]) == 1
    assert_helpful(capsys.readouterr().err, ["40", "data.on_error=skip"])
    (folder,) = log_dir.glob("train/*/*")
    recorded = (folder / "run.log").read_text()
    assert all(f"broken{index:02d}.jpg" in recorded for index in range(40))


def test_a_broken_image_whose_name_is_no_unicode_is_listed(
    tmp_path: Path, log_dir: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    root = images(tmp_path / "images", "cat", "dog")
    with open(os.path.join(os.fsencode(root / "cat"), b"caf\xe9.png"), "wb") as stream:  # Latin-1
        stream.write(b"no image")
    assert main(["train", "data=image_folder", f"data.root={root}", f"log_dir={log_dir}"]) == 1
    assert_helpful(capfd.readouterr().err, ["cat/caf", "data.on_error=skip"])
    (folder,) = log_dir.glob("train/*/*")
    assert "data.on_error=skip" in read_results(folder)["error"]


def test_traceback_is_shown_when_asked_for(
    log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "data.batch_size=0", "traceback=true", f"log_dir={log_dir}"]) == 1
    message = capsys.readouterr().err
    assert "Traceback" in message and "data.batch_size=0" in message


def test_a_failed_resume_keeps_the_run(copied_run: Path) -> None:
    before = contents(copied_run)
    assert main(["train", f"resume={copied_run}", "seed=3"]) == 1
    assert contents(copied_run) == before


def test_a_damaged_config_of_a_run_is_named(
    copied_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (copied_run / "config.yaml").write_text("model: [1,")
    assert main(["train", f"resume={copied_run}"]) == 1
    assert_helpful(capsys.readouterr().err, ["config.yaml", "cannot be read"])


def test_a_stranger_config_to_resume_is_refused(
    copied_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((copied_run / "config.yaml").read_text())
    attack = {"_target_": "os.system", "command": f"touch {tmp_path / 'ran'}"}
    config.update(model=attack, trust=["os"])
    (copied_run / "config.yaml").write_text(yaml.safe_dump(config))
    assert main(["train", f"resume={copied_run}"]) == 1
    assert_helpful(capsys.readouterr().err, ["os.system", "not allowed"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("script", "words", "expected"),
    [
        ("train.py", ["model=lenet"], "Did you mean lenet5?"),
        ("eval.py", ["checkpoint=nowhere"], "does not exist"),
        ("predict.py", ["inptu=x"], "Did you mean input?"),
    ],
)
def test_a_mistake_ends_the_process_with_code_1(
    script: str, words: list[str], expected: str, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, str(SRC / script), *words, f"log_dir={tmp_path}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 1
    assert_helpful(done.stderr, [expected])
