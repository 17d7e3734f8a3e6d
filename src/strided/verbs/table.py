"""The verbs: the purpose of each, the function that does it, and commands that run it.

A new verb is a row here, `conf/<verb>.yaml` and `src/<verb>.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from strided.config.keys import Config
from strided.runs.results import Results
from strided.system.late_torchmetrics import import_torchmetrics
from strided.system.signals import Interruption
from strided.system.starting import started

Work = Callable[[Config, Path, Results, Interruption], None]


@dataclass(frozen=True)
class Verb:
    """A row of the table; `function` is <module>:<name>, imported when the verb runs.

    The function takes the checked config, the run folder, the results (which it fills, and which
    become results.json) and the interruption that turns signals into an exception.
    """

    purpose: str
    function: str
    examples: tuple[str, ...]
    is_service: bool = False  # it runs where there is no torch, and its run.log is lines of JSON

    def work(self) -> Work:
        """Import the function of this verb; --help does not need it, and torch takes seconds."""
        if not self.is_service:
            import_torchmetrics()
        module, _, name = self.function.partition(":")
        found: Work = getattr(import_module(module), name)
        started()
        return found


VERBS = {
    "train": Verb(
        purpose="fit, test the best checkpoint once, write the report",
        function="strided.verbs.train:train",
        examples=(
            "python src/train.py",
            "python src/train.py model=resnet18 data=cifar10 trainer.max_epochs=30 optimizer=sgd",
            "python src/train.py -m model=mlp,lenet5 seed=0,1,2",
            'python src/train.py search=optuna "optimizer.lr=tag(log,interval(1e-4,1e-1))"',
        ),
    ),
    "eval": Verb(
        purpose="measure a checkpoint on a split of its data set or of another one",
        function="strided.verbs.eval:evaluate_checkpoint",
        examples=(
            "python src/eval.py checkpoint=logs/train/lenet5-digits/<date_time>",
            "python src/eval.py checkpoint=best.ckpt split=val",
            "python src/eval.py checkpoint=best.ckpt data=image_folder data.root=photos.zip",
        ),
    ),
    "predict": Verb(
        purpose="classify files, a folder or a glob with a checkpoint or ImageNet weights",
        function="strided.verbs.predict:predict",
        examples=(
            "python src/predict.py checkpoint=logs/train/lenet5-digits/<date_time> input=digit.png",
            "python src/predict.py checkpoint=best.ckpt input=photos/",
            "python src/predict.py checkpoint=best.ckpt input='photos/*.jpg'",
            "python src/predict.py model=efficientnet_lite0 model.pretrained=true input=photos/",
        ),
    ),
    "explain": Verb(
        purpose="what a network looks at: filters, feature maps, heatmaps of classes",
        function="strided.verbs.explain:explain",
        examples=(
            "python src/explain.py checkpoint=logs/train/lenet5-digits/<date_time> input=digit.png",
            "python src/explain.py checkpoint=best.ckpt input=digit.png layer=?",
            "python src/explain.py model=efficientnet_lite0 model.pretrained=true input=photos/",
            "python src/explain.py model=alexnet model.weights=alexnet.pth input=dog.jpg "
            "target=beagle",
        ),
    ),
    "export": Verb(
        purpose="write a checkpoint as a bundle for a service: ONNX, manifest, proof of parity",
        function="strided.verbs.export:export",
        examples=(
            "python src/export.py checkpoint=logs/train/lenet5-digits/<date_time> "
            "bundle=registry/digits",
            "python src/export.py checkpoint=logs/train/lenet5-digits/<date_time> "
            "bundle=registry/digits gate=registry/digits",
        ),
    ),
    "serve": Verb(
        purpose="answer over HTTP with a bundle that export wrote",
        function="strided.verbs.serve:serve_bundle",
        examples=(
            "python src/serve.py bundle=registry/digits",
            "python src/serve.py bundle=registry/digits/2 port=8001",
            "python src/serve.py bundle=registry/digits queue.images=256 queue.deadline_s=30",
        ),
        is_service=True,
    ),
    "audit": Verb(
        purpose="check that the audit of a service is whole, or write it to a file",
        function="strided.verbs.audit:audit",
        examples=(
            "python src/audit.py action=verify database=logs/serve/digits/state",
            "python src/audit.py action=verify database=service.sqlite anchor=anchor.txt",
            "python src/audit.py action=export database=service.sqlite format=jsonl",
        ),
        is_service=True,
    ),
    "keys": Verb(
        purpose="make a key of a service on its machine, when the last admin's is lost",
        function="strided.verbs.keys:make_key",
        examples=(
            "python src/keys.py database=logs/serve/digits/state",
            "python src/keys.py role=auditor database=logs/serve/digits/state",
            "python src/keys.py database=postgresql+pg8000://strided@db/strided",
        ),
        is_service=True,
    ),
    "compare": Verb(
        purpose="a table of architectures, runs side by side with paired tests, folds together",
        function="strided.verbs.compare:compare",
        examples=(
            'python src/compare.py "models=[alexnet,vgg16,googlenet,resnet18,resnet50]"',
            'python src/compare.py "models=[convnext_tiny,resnet10t]" measure=false',
            'python src/compare.py "runs=[logs/train/a/<date_time>,logs/train/b/<date_time>]"',
            'python src/compare.py "pool=[logs/multirun/lenet5-digits/<date_time>]"',
        ),
    ),
    "benchmark": Verb(
        purpose="images per second of training and inference, beside the bare network's",
        function="strided.verbs.benchmark:benchmark",
        examples=(
            "python src/benchmark.py model=googlenet data=cifar10 data.batch_size=128",
            'python src/benchmark.py "models=[lenet5,resnet18,googlenet]" data=cifar10',
            "python src/benchmark.py model=resnet18 data=flowers augment=standard repeats=3",
        ),
    ),
}

# What makes a command of `python src/train.py <group>=<option>`, for any option of the group. An
# option that needs more has its own commands in the header of its YAML, which come first.
GROUP_EXAMPLES = {
    "data": ("", "model=resnet18 augment=standard trainer.max_epochs=30"),
    "model": ("data=cifar10", "data=image_folder data.root=photos.zip"),
    "optimizer": ("", "scheduler=cosine optimizer.weight_decay=1e-4"),
    "scheduler": ("", "optimizer.lr=3e-3 trainer.max_epochs=30"),
    "loss": ("", "loss.class_weights=auto"),
    "augment": ("data=cifar10", "data=flowers model=resnet18"),
    "transfer": (
        "model=resnet18 model.pretrained=true data=flowers",
        "model=efficientnet_lite0 model.pretrained=true data=image_folder data.root=photos.zip",
    ),
    "trainer": ("", "trainer.max_epochs=30 trainer.gradient_clip_val=1.0"),
    "callbacks": (
        "callbacks.early_stopping.patience=5",
        "callbacks.ema.decay=0.999 callbacks.lr_finder.steps=100",
    ),
    "logger": ("", "trainer.max_epochs=30"),
    "search": ("optimizer=adam,sgd", "optimizer=adam,sgd search.num_trials=50"),
    "experiment": ("", "debug=limit"),
    "debug": ("", "model=resnet18 data=cifar10"),
}
