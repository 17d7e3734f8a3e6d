"""What gates of a finished run refuse: python docs/results/gate/measure.py RUN data

Both kinds are fitted as in training, on the run's training images, with limits of 5 % chosen on its
validation images. They are then shown 400 of its test images, as they are and changed, and pictures
of other sets in `data`, brought to the network's input as predict does.
"""

import io
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from strided.data import ImageDataModule
from strided.data.reading.decoding import as_image
from strided.decision.gate import Gate, Images
from strided.evaluation.classifier import Classifier
from strided.evaluation.from_features import from_features
from strided.evaluation.gating import Measured, last_linear
from strided.evaluation.held_out import set_up_data
from strided.evaluation.intervals import wilson_interval
from strided.evaluation.outputs import MOST_IMAGES, outputs_of
from strided.runs.folder import read_results

RUN, DATA = (Path(given) for given in sys.argv[1:3])
DRAWN = np.random.default_rng(0)


def of_zip(name: str, part: str, most: int) -> list[Image.Image]:
    """At most so many pictures of a part of a zip, spread over all of it."""
    archive = zipfile.ZipFile(DATA / f"{name}.zip")
    inside = sorted(n for n in archive.namelist() if part in n and n.endswith((".jpg", ".png")))
    places = np.linspace(0, len(inside) - 1, min(most, len(inside))).astype(int)
    return [as_image(Image.open(io.BytesIO(archive.read(inside[p])))) for p in places]


def digits(most: int) -> list[Image.Image]:
    """The first digits of MNIST's test set."""
    content = (DATA / "MNIST" / "raw" / "t10k-images-idx3-ubyte").read_bytes()
    images = np.frombuffer(content, np.uint8)[16:].reshape(-1, 28, 28)
    return [Image.fromarray(image) for image in images[:most]]


def changed(pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The network's pixels (N, 3, S, S), changed in one way each."""
    pictures = [Image.fromarray(one.transpose(1, 2, 0)) for one in pixels]
    radius = max(1.5, pixels.shape[-1] / 60)
    ways = {
        "mirrored": [np.asarray(p)[:, ::-1] for p in pictures],
        "negative": [255 - np.asarray(p) for p in pictures],
        "greyed": [np.asarray(p.convert("L").convert("RGB")) for p in pictures],
        f"blurred, {radius:.1f} px": [
            np.asarray(p.filter(ImageFilter.GaussianBlur(radius))) for p in pictures
        ],
        "noise, 40 of 255": [
            np.uint8((np.asarray(p) + DRAWN.normal(0, 40, (*p.size[::-1], 3))).clip(0, 255))
            for p in pictures
        ],
    }
    return {way: np.stack(given).transpose(0, 3, 1, 2).copy() for way, given in ways.items()}


def measured(
    classifier: Classifier, data: ImageDataModule, split: str, most: int = MOST_IMAGES
) -> tuple[Images, np.ndarray]:
    """What a gate measures of at most so many images of a split, and their labels."""
    watch = Measured(last_linear(classifier.task))
    _, labels = outputs_of(classifier, data, split, data.spread(split, most), watch)
    return watch.images, labels.numpy()


def of_pixels(classifier: Classifier, pixels: np.ndarray) -> Images:
    """The same of preprocessed pixels."""
    watch = Measured(last_linear(classifier.task))
    for part in torch.from_numpy(pixels).split(32):
        features = classifier.outputs_and_features(part, watch.layer)[1]
        watch.see(features.numpy(), part.numpy())
    return watch.images


def main() -> None:
    """Print a row for each kind of picture."""
    whole = Classifier.load(RUN, device="cpu")
    data = set_up_data(whole, {"root": str(DATA)})
    found = read_results(RUN)
    own = from_features(whole, data, found.get("stages", []), found["best_epoch"])
    train, labels = measured(own, data, "train")
    held_out, _ = measured(own, data, "val")
    gates = [
        Gate.fit(method, train, labels, held_out, "", 0.05) for method in ("mahalanobis", "knn")
    ]
    batches = data.loader("test", data.spread("test", int(sys.argv[3]) if sys.argv[3:] else 400))
    tested = np.concatenate([batch.images.numpy() for batch in batches])
    pictures = {
        "cats and dogs": of_zip("cats_dogs", "/test/", 100),
        "X-rays": of_zip("xray3", "", 80),
        "MNIST": digits(80),
        "flowers" if data.name != "flowers" else "": of_zip("flowers", "/test/", 150),
    }
    prepared = whole.preprocessing.pixels
    shown = {"own test images": measured(own, data, "test")[0]}
    print("pictures,images,mahalanobis,low,high,knn,low,high", flush=True)
    others = {
        kind: np.stack([prepared(p) for p in given]) for kind, given in pictures.items() if kind
    }
    for kind, pixels in [("own test images", None), *others.items(), *changed(tested).items()]:
        images = shown[kind] if pixels is None else of_pixels(whole, pixels)
        cells = [kind.replace(",", ""), str(len(images.looks))]
        for gate in gates:
            share = float((gate.of(images).ood > 1).mean())
            cells += [
                f"{value:.3f}" for value in (share, *wilson_interval(share, len(images.looks)))
            ]
        print(",".join(cells), flush=True)


main()
