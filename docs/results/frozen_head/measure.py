"""How a head alone trains best: a grid on kept features of small sets, against exact solutions.

python docs/results/frozen_head/measure.py <folder of flowers.zip and cats_dogs.zip>

Features of EfficientNet-Lite0 at 224 px are computed once. Training and validation images are put
together and drawn anew for each of three seeds: the rest validates. A row of table.csv is a recipe
on a set, mean of the seeds. Heads of all rates are trained side by side, with the steps of
transfer=frozen: batches of 32, constant rates, no augmentation. The accuracy is the last epoch's.
"""

import csv
import math
import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn.functional import cross_entropy

from strided.config.compose import compose
from strided.training.preparation import build_task, prepare_data
from strided.training.transfer.cut import Cut
from strided.training.transfer.parts import parts

SEEDS = (0, 1, 2)
RATES = {"adam": (5e-4, 1e-3, 3e-3, 1e-2), "sgd": (1e-2, 3e-2, 1e-1)}
BEFORE, AFTER = ("adam", 15, "wide", 1e-3), ("adam", 30, "narrow", 1e-3)
# features (N, D), labels (N,): of training, validation, test
Part = tuple[np.ndarray, np.ndarray]
Split = tuple[Part, Part, Part]


def features(data_set: str, root: str) -> dict[str, Part]:
    """The frozen features and labels of each split."""
    network = ("model=efficientnet_lite0", "model.pretrained=true", "transfer=frozen")
    config = compose("train", [*network, f"data={data_set}", f"data.root={root}"])
    results: dict = {}
    data, decided = prepare_data(config, results)
    task = build_task(config, decided, data, results, fresh=True).eval()
    cut = Cut(task.model, parts(task.model, "head"))
    found = {}
    for split in data.splits:
        rows = [
            cut.features(task.as_input(data.preprocessing.normalise(batch.images))).numpy()
            for batch in data.loader(split)
        ]
        found[split] = np.concatenate(rows), np.array(data.labels(split))
    return found


def draw(known: dict[str, Part], sizes: dict[int, int], seed: list[int]) -> Split:
    """`sizes` images of each class for training; the rest of train and val validates."""
    x, y = (np.concatenate([known["train"][i], known["val"][i]]) for i in (0, 1))
    generator = np.random.default_rng(seed)
    order = {c: generator.permutation(np.flatnonzero(y == c)) for c in sizes}
    names = {c: number for number, c in enumerate(sorted(sizes))}

    def part(x: np.ndarray, y: np.ndarray, rows: np.ndarray) -> Part:
        return x[rows], np.array([names[int(label)] for label in y[rows]])

    train = np.concatenate([order[c][:size] for c, size in sizes.items()])
    val = np.concatenate([order[c][size:] for c, size in sizes.items()])
    test = np.flatnonzero(np.isin(known["test"][1], list(sizes)))
    return part(x, y, train), part(x, y, val), part(*known["test"], test)


def small_sets(root: str) -> dict[str, list[Split]]:
    """Each set, its half and its tenth, and five pairs of flowers, by name; seed after seed."""
    found: dict[str, list[Split]] = {}
    for name, most, classes in (("flowers", 250, 5), ("cats_dogs", 150, 2)):
        known = features(name, root)
        for size in (most, most // 2, most // 10):
            sizes = dict.fromkeys(range(classes), size)
            found[f"{name} {size}x{classes}"] = [draw(known, sizes, [s, size]) for s in SEEDS]
        if classes == 5:
            found["pairs 244+153"] = [
                draw(known, {a: 244, b: 153}, [s, a, b])
                for s in SEEDS
                for a, b in zip(range(5), (1, 2, 3, 4, 0), strict=True)
            ]
    return found


def accuracies(
    split: Split, seed: int, optimizer: str, epochs: int, start: str, rates: tuple[float, ...]
) -> list[tuple[float, float]]:
    """Validation and test accuracy of a head for each rate, after its last epoch."""
    (x, y), *others = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in split]
    generator = torch.Generator().manual_seed(seed)
    shape = (x.shape[1], int(y.max()) + 1)
    weights = {
        "narrow": lambda: torch.randn(shape, generator=generator) * 0.01,
        "wide": lambda: (torch.rand(shape, generator=generator) * 2 - 1) / math.sqrt(shape[1]),
    }[start]()
    w = weights.repeat(len(rates), 1, 1).requires_grad_()
    b = torch.zeros(len(rates), 1, shape[1], requires_grad=True)
    rate = torch.tensor(rates).view(-1, 1, 1)
    step = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
    more = {"momentum": 0.9, "nesterov": True} if optimizer == "sgd" else {}
    # a step of rate 1, of which each head takes its own share: both optimizers are linear in it
    steps = step([w, b], lr=1.0, **more)
    for _ in range(epochs):
        for batch in torch.randperm(len(x), generator=generator).split(32):
            logits = x[batch] @ w + b
            labels = y[batch].expand(len(rates), -1).reshape(-1)
            loss = cross_entropy(logits.flatten(0, 1), labels) * len(rates)
            steps.zero_grad()
            loss.backward()
            old = [part.detach().clone() for part in (w, b)]
            steps.step()
            with torch.no_grad():
                for part, before in zip((w, b), old, strict=True):
                    part.copy_(before + rate * (part - before))
    heads = w.detach(), b.detach()
    return list(zip(*[_right(heads, *other) for other in others], strict=True))


def _right(heads: tuple[Tensor, Tensor], x: Tensor, y: Tensor) -> list[float]:
    return ((x @ heads[0] + heads[1]).argmax(-1) == y).float().mean(1).tolist()


def exact(split: Split, c: float) -> tuple[float, float]:
    """Validation and test accuracy of scikit-learn's logistic regression."""
    (x, y), *others = split
    model = LogisticRegression(C=c, max_iter=3000).fit(x, y)
    val, test = (float(model.score(*other)) for other in others)
    return val, test


def main() -> None:
    """Print what the defaults before and after reach, and write table.csv."""
    torch.set_num_threads(1)
    rows = []
    for name, splits in small_sets(sys.argv[1]).items():
        found: dict[tuple, list] = {}
        per_seed = len(splits) // len(SEEDS)
        for number, split in enumerate(splits):
            for c in (0.01, 0.1, 1.0, 10.0):
                found.setdefault(("logistic", "", "", c), []).append(exact(split, c))
            narrow = [(optimizer, epochs, "narrow") for optimizer in RATES for epochs in (15, 30)]
            recipes = [BEFORE[:3], *narrow]
            for recipe in recipes:
                many = accuracies(split, number // per_seed, *recipe, RATES[recipe[0]])
                for rate, pair in zip(RATES[recipe[0]], many, strict=True):
                    found.setdefault((*recipe, rate), []).append(pair)
        for recipe, pairs in found.items():
            val, test = np.mean(pairs, 0) * 100
            rows.append([name, *recipe, f"{val:.2f}", f"{test:.2f}"])
        mine = {recipe: np.mean(found[recipe], 0)[0] * 100 for recipe in (BEFORE, AFTER)}
        best = max(found, key=lambda recipe: np.mean(found[recipe], 0)[0])
        print(name, *(f"{value:.2f}" for value in mine.values()), best, flush=True)
    with (Path(__file__).parent / "table.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["set", "optimizer", "epochs", "start", "rate", "val", "test"])
        writer.writerows(rows)


if __name__ == "__main__":
    main()
