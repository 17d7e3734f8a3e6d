"""--help: the verbs; and for a verb its groups with their options, its keys, commands that work."""

import textwrap
from collections.abc import Iterable
from pathlib import Path

from strided.config.yaml_files import config_folders, group_options, verb_keys

PURPOSE = {
    "train": "fit, test the best checkpoint once, write the report",
    "eval": "measure a checkpoint on a split of its own or of another data set",
    "predict": "classify files, a folder or a glob with a checkpoint or ImageNet weights",
    "explain": "what a network looks at: filters, feature maps, heatmaps of classes",
    "benchmark": "images per second of training and inference, beside those of the bare network",
    "compare": "a table of architectures, or finished runs side by side with paired tests",
}
EXAMPLES = {
    "train": (
        "python src/train.py",
        "python src/train.py model=resnet18 data=cifar10 trainer.max_epochs=30 optimizer=sgd",
        "python src/train.py -m model=mlp,lenet5 seed=0,1,2",
        'python src/train.py search=optuna "optimizer.lr=tag(log,interval(1e-4,1e-1))"',
    ),
    "eval": (
        "python src/eval.py checkpoint=logs/train/lenet5-digits/<date_time>",
        "python src/eval.py checkpoint=best.ckpt split=val",
        "python src/eval.py checkpoint=best.ckpt data=image_folder data.root=photos.zip",
    ),
    "predict": (
        "python src/predict.py checkpoint=logs/train/lenet5-digits/<date_time> input=digit.png",
        "python src/predict.py checkpoint=best.ckpt input=photos/",
        "python src/predict.py checkpoint=best.ckpt input='photos/*.jpg'",
        "python src/predict.py model=efficientnet_lite0 model.pretrained=true input=photos/",
    ),
    "explain": (
        "python src/explain.py checkpoint=logs/train/lenet5-digits/<date_time> input=digit.png",
        "python src/explain.py checkpoint=best.ckpt input=digit.png layer=?",
        "python src/explain.py model=efficientnet_lite0 model.pretrained=true input=photos/",
        "python src/explain.py model=alexnet model.weights=alexnet.pth input=dog.jpg target=beagle",
    ),
    "benchmark": (
        "python src/benchmark.py model=googlenet data=cifar10 data.batch_size=128",
        'python src/benchmark.py "models=[lenet5,resnet18,googlenet]" data=cifar10',
        "python src/benchmark.py model=resnet18 data=flowers augment=standard repeats=3",
    ),
    "compare": (
        'python src/compare.py "models=[alexnet,vgg16,googlenet,resnet18,resnet50]"',
        'python src/compare.py "models=[convnext_tiny,resnet10t]" measure=false',
        'python src/compare.py "runs=[logs/train/a/<date_time>,logs/train/b/<date_time>]"',
    ),
}


def overview(verbs: Iterable[str]) -> str:
    """Return the help of `strided` itself."""
    lines = [f"  {verb:<9} {PURPOSE[verb]}" for verb in verbs]
    return "\n".join(
        ["strided <verb> key=value ...", "", *lines, "", "strided <verb> --help shows its keys"]
    )


def verb_help(verb: str, config_dir: Path | None) -> str:
    """Return the help of a verb."""
    options = group_options(config_folders(config_dir))
    groups, keys = verb_keys(verb)
    width = max(len(group) for group in [*groups, "keys"])
    return "\n".join(
        [
            f"{verb}: {PURPOSE[verb]}",
            "",
            "groups (group=option; any argument of what stands behind: group.argument=value)",
            *(_wrapped(f"  {group:<{width}}  ", options.get(group, [])) for group in groups),
            "",
            _wrapped("keys: ", keys),
            "flags: -m (every combination of a=1,2 b=x,y), --cfg job (show the config), "
            "--config-dir <your own YAML>",
            "",
            "for example",
            *(f"  {example}" for example in EXAMPLES[verb]),
        ]
    )


def _wrapped(label: str, words: Iterable[str]) -> str:
    return textwrap.fill(
        ", ".join(words), 100, initial_indent=label, subsequent_indent=" " * len(label)
    )
