"""What gates of a run on the X-rays refuse: python docs/results/gate/xray.py RUN data OTHERS

RUN is of experiment=xray with data.fold=0, OTHERS what others.py has written. Both kinds of gate
are fitted as in training, with limits of 5 % chosen on training images left out in turn. Then the
same in each of the five folds, for the share of own images that are refused.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from strided.data import ImageDataModule
from strided.data.reading.decoding import as_image
from strided.decision.gate import Gate, Images
from strided.evaluation.classifier import Classifier
from strided.evaluation.from_features import from_features
from strided.evaluation.gating import Measured, _folds, last_linear
from strided.evaluation.held_out import set_up_data
from strided.evaluation.intervals import wilson_interval
from strided.evaluation.outputs import outputs_of
from strided.runs.folder import read_results

RUN, DATA, OTHERS = sys.argv[1:4]
METHODS = ("mahalanobis", "knn")


def fold(number: int) -> ImageDataModule:
    """The images, split as in this fold."""
    typed = {"root": DATA, "num_folds": 5, "fold": number}
    return set_up_data(Classifier.load(RUN, device="cpu"), typed, new_split=True)


def all_images(classifier: Classifier, layer: str) -> Images:
    """What a gate measures of each image of the set, in its order."""
    data, found = fold(0), read_results(Path(RUN))
    own = from_features(classifier, data, found["stages"], found["best_epoch"])
    watch, order = Measured(layer), []
    for split in ("train", "test"):
        outputs_of(own, data, split, data.splits[split], watch)
        order.append(data.splits[split])
    return watch.images.at(np.concatenate(order).argsort())


def of_folder(classifier: Classifier, layer: str, folder: Path) -> Images:
    """The same of pictures in files."""
    watch, files = Measured(layer), sorted(folder.iterdir())
    for at in range(0, len(files), 32):
        pictures = [as_image(Image.open(file)) for file in files[at : at + 32]]
        pixels = np.stack([classifier.preprocessing.pixels(one) for one in pictures])
        features = classifier.outputs_and_features(torch.from_numpy(pixels), layer)[1]
        watch.see(features.numpy(), pixels)
    return watch.images


def fitted(own: Images, data: ImageDataModule, layer: str) -> dict[str, Gate]:
    """Both gates on the training images of a fold."""
    train, folds = data.splits["train"], _folds(data, 0)
    labels = data.source.labels[train]
    return {m: Gate.fit(m, own.at(train), labels, folds, layer, 0.05) for m in METHODS}


def row(kind: str, refused: dict[str, np.ndarray]) -> None:
    """Print the share that each gate refuses, with its interval."""
    cells = [kind, str(len(refused["knn"]))]
    for flags in refused.values():
        share = float(flags.mean())
        cells += [f"{value:.3f}" for value in (share, *wilson_interval(share, len(flags)))]
    print(",".join(cells), flush=True)


def main() -> None:
    """Print a row for each kind of picture, and one for own images of all folds."""
    classifier = Classifier.load(RUN, device="cpu")
    layer = last_linear(classifier.task)
    own = all_images(classifier, layer)
    print("pictures,images,mahalanobis,low,high,knn,low,high", flush=True)
    everything = {method: np.zeros(len(own.looks), bool) for method in METHODS}
    for number in range(5):
        data = fold(number)
        test, gates = data.splits["test"], fitted(own, data, layer)
        for method, gate in gates.items():
            everything[method][test] = gate.of(own.at(test)).ood > 1
    row("own test images of five folds", everything)
    gates = fitted(own, fold(0), layer)
    for folder in sorted(Path(OTHERS).iterdir()):
        images = of_folder(classifier, layer, folder)
        row(folder.name, {method: gate.of(images).ood > 1 for method, gate in gates.items()})


main()
