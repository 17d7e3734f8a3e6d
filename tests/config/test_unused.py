"""Each key is read by what it is given to, or refused where it would do nothing."""

import ast
import importlib
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.conftest import Train, with_splits, write_images

import strided
from strided import data as data_sets
from strided.cli import main
from strided.config.compose import compose
from strided.config.needs import NEEDS
from strided.config.schema import FILLED_IN, OFF_WHEN_NULL, arguments_of
from strided.config.targets import EXTRA_KEYS, PACKAGES
from strided.config.unused import insisting_on, refuse_typed, refuse_unused_by_all, steady, unused
from strided.config.yaml_files import plain_defaults
from strided.data import BatchAugment, Digits, ImageDataModule, Preprocessing
from strided.errors import UserError
from strided.runs.folder import read_results
from strided.training.preparation import INPUT_WISHES

pytestmark = pytest.mark.usefixtures("blank_figures")

PACKAGE = Path(strided.__file__).parent
SOURCES = {file: file.read_text(encoding="utf-8") for file in PACKAGE.rglob("*.py")}

OWN_SCHEDULE = "transfer.stages.frozen.scheduler._target_=strided.training.cosine"
# A word, others of train beside which it does nothing, and others beside which it counts.
CASES = (
    ("search.num_trials=3", "", None),
    ("sweep.x=seed", "", "experiment=mlp_vs_cnn"),
    ("model.pooled=[layer1]", "model=resnet18", "model=resnet18 model.head=pooled"),
    ("model.pool=mean", "model=resnet18", "model=resnet18 model.head=pooled model.pooled=[layer1]"),
    ("data.root=mine.zip", "", "data=image_folder"),
    ("data.external=others", "", "shortcuts=true"),
    ("data.on_error=skip", "data=synthetic", "data=image_folder"),
    ("data.horizontal_flip=true", "", "augment=standard"),
    ("data.horizontal_flip=true", "", "evaluation.views=flip"),
    ("augment.flip=alternating", "", "augment=standard data=cifar10"),
    ("augment.border=reflect", "augment.crop_scale=0.5", "augment=standard"),
    ("data.test_fraction=0.3", "data.num_folds=5 data.fold=0", ""),
    ("data.crop_fraction=0.9", "data.resize=pad", "data.resize=squash"),
    ("augment.rand_augment_magnitude=5", "augment=strong", "augment=randaugment"),
    ("transfer.cache=true", "", "transfer=frozen"),
    ("transfer.cached_views=3", "augment=standard", "augment=standard transfer=two_stage"),
    ("transfer.cached_views=3", "transfer=frozen", "augment=standard transfer=frozen"),
    (
        "transfer.cached_views=3",
        "transfer=frozen augment=strong transfer.cache=false",
        "transfer=frozen augment=strong",
    ),
    ("transfer.stages.frozen.epochs=3", "transfer=frozen trainer.max_epochs=9", "transfer=frozen"),
    (
        "transfer.stages.frozen.patience=3",
        "transfer=frozen callbacks.early_stopping=null",
        "transfer=frozen",
    ),
    (
        "trainer.max_epochs=20",
        "transfer=two_stage",
        "transfer=gradual transfer.stages.all.epochs=20",
    ),
    (
        "trainer.min_epochs=9",
        "trainer.max_epochs=3 callbacks.early_stopping.patience=1",
        "trainer.max_epochs=9 callbacks.early_stopping.patience=1",
    ),
    (
        "trainer.min_steps=9",
        "trainer.max_steps=3 trainer.max_time=00:01:00:00",
        "trainer.max_steps=9 trainer.max_time=00:01:00:00",
    ),
    ("trainer.min_epochs=2", "", "transfer=frozen transfer.stages.frozen.patience=1"),
    ("trainer.min_steps=2", "", "trainer.max_time=00:01:00:00"),
    ("trainer.min_steps=2", "", "callbacks.target.value=0.9 callbacks.target.stop=true"),
    ("trainer.gradient_clip_algorithm=value", "", "trainer.gradient_clip_val=1"),
    ("trainer.limit_train_batches=3", "debug=overfit", ""),
    ("trainer.limit_val_batches=3", "trainer.overfit_batches=2", ""),
    (
        "trainer.log_every_n_steps=5",
        "callbacks.ema.decay=0.9",
        "callbacks.rate._target_=lightning.pytorch.callbacks.LearningRateMonitor",
    ),
    ("trainer.sync_batchnorm=true", "", "trainer.devices=2"),
    ("trainer.limit_predict_batches=3", "", None),
    ("trainer.use_distributed_sampler=true", "trainer.devices=2", None),
    ("trainer.model_registry=mine", "logger=wandb", None),
    ("optimizer.lr=0.1", "scheduler=one_cycle scheduler.max_lr=0.2", "scheduler=one_cycle"),
    ("optimizer.lr=0.1", "transfer=frozen transfer.stages.frozen.lr=1", "transfer=two_stage"),
    (
        "optimizer.momentum=0.5",
        "optimizer=sgd scheduler=one_cycle",
        "optimizer=sgd scheduler=one_cycle scheduler.cycle_momentum=false",
    ),
    ("optimizer.betas=[0.8,0.9]", "scheduler=one_cycle", "scheduler=cosine"),
    (
        "scheduler.base_momentum=0.8",
        "scheduler=one_cycle scheduler.cycle_momentum=false",
        "scheduler=one_cycle",
    ),
    (
        "scheduler.max_momentum=0.8",
        "scheduler=one_cycle scheduler.cycle_momentum=false",
        "scheduler=one_cycle",
    ),
    (
        "optimizer.dampening=0.1",
        "optimizer=sgd optimizer.momentum=0 optimizer.nesterov=false",
        "optimizer=sgd",
    ),
    (
        "optimizer.layer_decay=0.9",
        "transfer=frozen transfer.stages.frozen.layer_decay=0.8",
        "transfer=frozen",
    ),
    *(
        (word, f"transfer=frozen scheduler=cosine {OWN_SCHEDULE}", "scheduler=cosine")
        for word in ("scheduler=cosine", "scheduler.warmup_fraction=0.1")
    ),
    *(
        (word, "transfer=frozen optimizer=lbfgs", "transfer=frozen")
        for word in (
            "scheduler=cosine",
            "trainer.max_epochs=3",
            "trainer.max_steps=3",
            "trainer.accumulate_grad_batches=2",
            "trainer.gradient_clip_val=1",
            "callbacks.ema.decay=0.9",
            "callbacks.lookahead.steps=5",
            "callbacks.lr_finder.steps=30",
            "callbacks.early_stopping.patience=2",
            "transfer.stages.frozen.lr=0.1",
            "transfer.stages.frozen.layer_decay=0.8",
        )
    ),
    ("trainer.min_steps=3", "transfer=frozen optimizer=lbfgs", None),
    (
        "optimizer.folds=3",
        "transfer=frozen optimizer=lbfgs optimizer.l2=0.1",
        "transfer=frozen optimizer=lbfgs",
    ),
    ("callbacks.early_stopping.min_delta=0.1", "", "callbacks.early_stopping.patience=1"),
    ("evaluation.coverage=0.8", "evaluation.sets=null", "evaluation.sets=aps"),
    ("evaluation.false_alarms=0.1", "", "evaluation.gate=knn"),
    ("callbacks.ema._target_=strided.training.EMA", "", "callbacks.ema.decay=0.9"),
    ("callbacks.lr_finder.lowest=0.001", "", "callbacks.lr_finder.steps=30"),
    ("callbacks.lookahead.keep=0.8", "", "callbacks.lookahead.steps=5"),
    ("callbacks.target.stop=true", "", "callbacks.target.value=0.9"),
    ("callbacks.image_size.share=0.3", "", "callbacks.image_size.start=0.75"),
    ("callbacks.image_size.start=0.75", "transfer=frozen", "transfer=none"),
    (
        "callbacks.gradient_norms._target_=strided.training.GradientNorms",
        "",
        "callbacks.gradient_norms.steps=1",
    ),
)


def idle(*words: str) -> set[str]:
    """The words that train makes no use of."""
    composed = [word for word in words if not word.startswith(("search.", "sweep."))]
    return set(unused(compose("train", composed), words))


@pytest.mark.parametrize(("word", "without_use", "with_use"), CASES)
def test_a_key_that_would_do_nothing_is_refused(
    word: str, without_use: str, with_use: str | None
) -> None:
    assert word in idle(*without_use.split(), word)
    if with_use is not None:
        assert word not in idle(*with_use.split(), word)


def test_every_need_has_a_case() -> None:
    """Each pattern of NEEDS, and each callback that a null switches off."""
    words = [word for word, _, _ in CASES]
    for need in NEEDS:
        for pattern in need.keys.split():
            place = re.compile(re.escape(pattern).replace(r"\*", ".+") + "=")
            assert pattern == "search" or any(map(place.match, words)), pattern
    for path in OFF_WHEN_NULL:
        assert any(word.startswith(path) for word in words), path


def test_what_a_yaml_sets_and_what_null_leaves_alone_is_not_refused() -> None:
    for name in ("alexnet_vs_vgg", "vgg16_flowers", "plain_vs_residual", "lenet5_mnist"):
        assert not unused(compose("train", [f"experiment={name}"]), [f"experiment={name}"])
    config = compose("train", ["experiment=lenet5_mnist", "data=digits"])
    assert not unused(config, ["experiment=lenet5_mnist", "data=digits", "data.image_size=null"])
    assert not unused(compose("train"), ["callbacks.ema.decay=null", "~loss.label_smoothing"])


def test_a_sweep_needs_one_job_that_uses_a_key() -> None:
    words = ["augment=none,standard", "data.horizontal_flip=true"]
    jobs = [[f"augment={name}", words[1]] for name in ("none", "standard")]
    configs = [compose("train", job) for job in jobs]
    refuse_unused_by_all(configs, words)
    refuse_unused_by_all(reversed(configs), words)
    with pytest.raises(UserError, match="horizontal_flip=true would do nothing"):
        refuse_unused_by_all(configs[:1], words)


def test_words_of_a_group_that_varies_bind_no_job() -> None:
    words = ["data=a,b", "data.val_fraction=0.2", "model.depth=20", "seed=0,1"]
    assert steady(words, ["seed"]) == words[:3]
    assert steady(words, ["data", "seed"]) == ["model.depth=20"]
    assert steady(words, ["checkpoint"]) == words[2:]


def test_a_refusal_says_what_was_typed_and_what_to_try() -> None:
    refuse_typed("data.root", "never", "nothing")  # nobody typed it
    with insisting_on(["data.root='my images'"]), pytest.raises(UserError) as caught:
        refuse_typed("seed data.r*", "it is not read", "data=image_folder")
    said = str(caught.value)
    assert "data.root=my images would do nothing: it is not read; expected" in said
    assert "Try data=image_folder, or leave data.root out" in said


# what each class reads of its arguments


def tree_of(function: Callable[..., Any]) -> ast.FunctionDef:
    found = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    assert isinstance(found, ast.FunctionDef)
    return found


def names_in(tree: ast.AST) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def attributes_of(init: Callable[..., Any]) -> dict[str, set[str]]:
    """The attributes of self that each argument of a constructor goes into."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(tree_of(init)):
        targets = node.targets if isinstance(node, ast.Assign) else []
        flat = [t for one in targets for t in (one.elts if isinstance(one, ast.Tuple) else [one])]
        for target in flat:
            if isinstance(target, ast.Attribute):
                for name in names_in(node.value):  # type: ignore[attr-defined]
                    found.setdefault(name, set()).add(target.attr)
    return found


def own_parameters(function: Callable[..., Any]) -> set[str]:
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return {p.name for p in parameters if p.kind in named} - {"self"}


def is_read(attribute: str) -> bool:
    """Whether any module reads `.attribute`, beyond setting it."""
    reading = re.compile(rf"\.{attribute}\b(?!\s*(:[^=\n]*)?=[^=])")
    return any(reading.search(text) or f'"{attribute}"' in text for text in SOURCES.values())


def unread_arguments(target: Callable[..., Any]) -> set[str]:
    """The arguments of a function or class of strided that nothing reads."""
    if not inspect.isclass(target):
        return own_parameters(target) - names_in(ast.Module(tree_of(target).body, []))
    found = set()
    for base in target.__mro__:
        if not base.__module__.startswith(("strided", __name__)):
            continue
        if "__dataclass_fields__" in vars(base):
            found |= {field.name for field in fields(base) if not is_read(field.name)}
        elif "__init__" in vars(base):
            init = vars(base)["__init__"]
            used = names_in(ast.Module(tree_of(init).body, []))
            kept = attributes_of(init)
            found |= own_parameters(init) - used
            found |= {name for name in own_parameters(init) & set(kept)
                      if not any(map(is_read, kept[name]))}  # fmt: skip
    return found


TARGETS = sorted(
    f"{package}.{name}"
    for package in PACKAGES
    for names in importlib.import_module(package).TARGETS.values()
    for name in names
)


def located(name: str) -> Any:
    package, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(package), attribute)


@pytest.mark.parametrize("name", TARGETS)
def test_every_argument_of_a_target_is_read(name: str) -> None:
    assert not unread_arguments(located(name))


class Deaf(ImageDataModule):
    """Takes an argument that it never reads."""

    name = "deaf"

    def __init__(self, *, volume: int = 3, loudness: int = 3, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.loudness_never_read = loudness


def test_an_argument_that_nothing_reads_is_found() -> None:
    assert unread_arguments(Deaf) == {"volume", "loudness"}
    assert unread_arguments(lambda_free) == {"second"}


def lambda_free(first: int, second: int) -> int:
    return first


def test_every_argument_of_the_trainer_is_read_or_refused() -> None:
    import lightning.pytorch as pl

    accepted, _ = arguments_of(pl.Trainer)
    body = ast.Module(tree_of(inspect.unwrap(pl.Trainer.__init__)).body, [])
    filled = {key for group, key in FILLED_IN if group == "trainer"}
    assert set(accepted) - names_in(body) - filled == set()


# what each data set reads


def classes_of(name: str) -> tuple[str, ...]:
    if name == "Flowers102":
        from torchvision.datasets import Flowers102

        return tuple(Flowers102.classes)
    return tuple(located(f"strided.data.{name}").class_names)


def opened(name: str, root: Path) -> ImageDataModule:
    """The data set on three tiny pictures of each class, if it reads files."""
    kind: Any = located(f"strided.data.{name}")
    if name in ("Digits", "Synthetic"):
        return recording(kind)(batch_size=16)
    write_images(root / "own")
    if name == "ImageFolder":
        return recording(kind)(root=str(root / "own"), batch_size=16)
    if name == "ImageTable":
        rows = [f"{file},{file.parent.name}" for file in (root / "own").rglob("*.*")]
        (root / "table.csv").write_text("\n".join(["path,label", *rows]))
        return recording(kind)(csv=str(root / "table.csv"), batch_size=16)
    for number, label in enumerate(classes_of(name)):
        (root / kind.name / label).mkdir(parents=True)
        for index in range(3):
            picture = Image.new("RGB", (8, 8), (number, 80 * index, 0))
            picture.save(root / kind.name / label / f"{index}.png")
    return recording(kind)(root=str(root), batch_size=16)


def recording(kind: type) -> Any:
    """The class, whose instances note which attributes are read of them."""

    class Recording(kind):
        def __init__(self, **given: Any) -> None:
            self.seen: set[str] = set()
            super().__init__(**given)
            self.seen.clear()

        def __getattribute__(self, name: str) -> Any:
            if name != "seen":
                self.seen.add(name)
            return super().__getattribute__(name)

    return Recording


def used_by_training(data: Any) -> set[str]:
    """Do to a data set what train does; the attributes that were read."""
    wishes = {key: getattr(data, key) for key in INPUT_WISHES}
    assert wishes["image_size"] is None
    data.use(Preprocessing(data.channels, 8), BatchAugment(), 0)
    data.setup()
    with data.on_device(torch.device("cpu")):
        data.train_dataloader()
        next(iter(data.val_dataloader()))
    return set(data.seen)


def arguments_with_attributes(kind: type) -> Iterator[tuple[str, set[str]]]:
    for base in kind.__mro__:
        if "__init__" in vars(base) and base.__module__.startswith("strided"):
            kept = attributes_of(vars(base)["__init__"])
            for name in own_parameters(vars(base)["__init__"]):
                yield name, kept.get(name, {name})


# read by conf/augment/*.yaml; where files are missing; by the check for shortcuts; by the card
ELSEWHERE = {"horizontal_flip", "download", "external", "intended_use"}


# XRay has a table of its own, read by ImageTable: tests/data/sets/test_xray.py
@pytest.mark.parametrize("name", [name for name in data_sets.TARGETS["data"] if name != "XRay"])
def test_a_data_set_reads_its_arguments_or_refuses_them(name: str, tmp_path: Path) -> None:
    data = opened(name, tmp_path)
    seen = used_by_training(data)
    kind: Any = located(f"strided.data.{name}")
    idle = {
        argument
        for argument, attributes in arguments_with_attributes(kind)
        if not attributes & seen
    }
    if data.source.sizes is None:  # no files, of which some could be broken
        idle.add("on_error")
    assert idle - ELSEWHERE == set(kind.unread)


def test_a_data_set_that_ignores_an_argument_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Digits, "unread", {})
    with pytest.raises(AssertionError, match="root"):
        test_a_data_set_reads_its_arguments_or_refuses_them("Digits", Path())


# what each verb reads of the keys that belong to no group

EVERY_VERB = ("cli.py", "jobs", "verbs/table.py", "config", "sweeps", "runs")
READERS = {
    "train": ("verbs/train.py", "training", "loggers", "data", "report", "evaluation"),
    "eval": ("verbs/eval.py", "evaluation"),
    "predict": ("verbs/predict.py", "evaluation"),
    "explain": ("verbs/explain.py", "explain", "evaluation/imagenet.py"),
    "compare": ("verbs/compare.py", "compare"),
    "benchmark": ("verbs/benchmark.py", "benchmark", "training"),
    "export": ("verbs/export.py", "export"),
    "serve": ("verbs/serve.py", "service"),
}
RECORDED = {"benchmark": {"tags"}}  # config.yaml is all that a label is for


def unread_keys(verb: str, keys: set[str]) -> set[str]:
    places = (*EVERY_VERB, *READERS[verb])
    text = "\n".join(
        text for file, text in SOURCES.items()
        if file.relative_to(PACKAGE).as_posix().startswith(places)
    )  # fmt: skip
    reading = r'(config|\[0\])(\["{0}"\]|\.get\("{0}"\))|words, "{0}"|"{0}=true"'
    return {key for key in keys if not re.search(reading.format(key), text)}


@pytest.mark.parametrize("verb", READERS)
def test_every_plain_key_of_a_verb_is_read(verb: str) -> None:
    keys = set(plain_defaults(verb))
    assert unread_keys(verb, keys | {"nonsense"}) - RECORDED.get(verb, set()) == {"nonsense"}


def test_the_keys_that_any_model_and_optimizer_take_are_read() -> None:
    text = "".join(SOURCES.values())
    for group, keys in EXTRA_KEYS.items():
        for key in keys:
            assert text.count(f'"{key}"') > 1, f"{group}.{key}"


# what only the files, the checkpoint or other keys decide, by the verbs themselves


@pytest.fixture
def split_folder(image_folder: Path) -> Path:
    """A folder with train, val and test of its own."""
    return with_splits(image_folder, "train", "val", "test")


QUICK = ("model=mlp_small", "data=image_folder", "trainer=cpu", "debug=fast_dev_run")


def said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main([*words]) == 1
    return capsys.readouterr().err


def test_keys_of_a_split_that_the_data_set_gives_are_refused(
    split_folder: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("train", *QUICK, f"data.root={split_folder}", "data.image_size=8")
    for key, value in {"val_fraction": 0.3, "test_fraction": 0.3, "split_seed": 3}.items():
        message = said(capsys, *words, f"data.{key}={value}", f"log_dir={log_dir}")
        assert f"data.{key}={value} would do nothing" in message, message
        assert "own val and test splits" in message and "Try " in message
    assert main([*words, "data.split_seed=3", "data.train_fraction=0.5", f"log_dir={log_dir}"]) == 0
    message = said(capsys, *words, "-m", "seed=0,1", "data.val_fraction=0.3", f"log_dir={log_dir}")
    assert "2 of the 2 jobs failed" in message


def test_a_sweep_over_data_sets_may_type_what_one_of_them_needs(
    split_folder: Path, image_folder: Path, log_dir: Path
) -> None:
    roots = f"data.root={image_folder},{split_folder}"
    words = ("data.image_size=8", "data.val_fraction=0.3", f"log_dir={log_dir}")
    assert main(["train", "-m", *QUICK, roots, *words]) == 0
    states = [read_results(file.parent)["state"] for file in log_dir.rglob("results.json")]
    assert states == ["finished", "finished"]


def test_eval_refuses_what_the_checkpoint_decides(
    trained_run: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("eval", f"checkpoint={trained_run}", f"log_dir={log_dir}")
    for word in ("data.image_size=64", "data.channels=3", "data.train_fraction=0.5",
                 "data.sampler=class_balanced", "data.horizontal_flip=true"):  # fmt: skip
        assert f"{word} would do nothing" in said(capsys, *words, word)


@pytest.mark.parametrize(
    ("words", "word"),
    [
        ("compare runs=[{run},{run}]", "num_classes=10"),
        ("compare runs=[{run},{run}]", "measure=true"),
        ("compare models=[lenet5] measure=false", "seconds=2"),
        ("compare models=[lenet5]", "model=mlp"),
        ("compare models=[resnet18]", "model.pretrained=true"),
        ("explain checkpoint={run} input=x.png layer=?", "maps=3"),
        ("explain checkpoint={run} input=x.png sanity=false", "seed=3"),
        ("explain checkpoint={run} input=x.png methods=[occlusion]", "cam_layer=c1"),
        ("benchmark", "trainer.max_epochs=3"),
        ("benchmark", "trainer.limit_train_batches=3"),
        ("benchmark", "callbacks.checkpoint.monitor=val/acc"),
        ("benchmark models=[lenet5]", "model=mlp"),
        ("benchmark", "data.root=mine.zip"),
    ],
)
def test_verbs_refuse_what_the_other_words_leave_no_use_for(
    words: str, word: str, trained_run: Path, log_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = words.format(run=trained_run).split()
    assert f"{word} would do nothing" in said(capsys, *typed, word, f"log_dir={log_dir}")


def test_a_run_that_began_with_such_a_key_goes_on(run_train: Train, log_dir: Path) -> None:
    folder = run_train("model=mlp_small", "data.train_fraction=0.1", "trainer.limit_val_batches=1")
    file = folder / "config.yaml"  # of a version that let it pass
    file.write_text(file.read_text().replace("data:\n", "data:\n  root: mine.zip\n"))
    assert main(["train", f"resume={folder}", "trainer.max_epochs=2"]) == 0
    assert main(["eval", f"checkpoint={folder}", f"log_dir={log_dir}"]) == 0
