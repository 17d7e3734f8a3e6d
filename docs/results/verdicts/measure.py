"""How often the report's verdicts are wrong, on simulated runs whose truth is known.

Trends: curves of nine kinds, each with 3 to 100 epochs and 50 to 10,000 validation images. The same
images are classified in each epoch, so that errors are shared; the weights' own wandering is an
autoregression. A claim is wrong if the curve without noise contradicts it: a rise that is none, or
a plateau that gains more than a little (a point, or a quarter of the errors) in a third as many
epochs again. `half` is a plateau that gains as much in half as many. Gaps: both accuracies are
binomial.

    python docs/results/verdicts/measure.py 200
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from strided.report.diagnosis import Share, judge
from strided.report.ending import LITTLE
from strided.report.trend import trend

EPOCHS = (3, 5, 8, 12, 20, 30, 60, 100)
IMAGES = (50, 200, 1000, 5000, 10_000)
NORMAL = NormalDist()
Random = np.random.Generator
Shape = Callable[[Random, np.ndarray, int], tuple[np.ndarray, np.ndarray, np.ndarray]]


def _loss(acc: np.ndarray) -> np.ndarray:
    return 0.05 + 3 * (1 - acc)


def exponential(
    noise: Random, t: np.ndarray, epochs: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Saturates with a time constant of 5 % to 150 % of the run."""
    time = epochs * np.exp(noise.uniform(np.log(0.05), np.log(1.5)))
    acc = noise.uniform(0.6, 0.99) - noise.uniform(0.1, 0.5) * np.exp(-t / time)
    return acc, _loss(acc), np.ones_like(t)


def power_law(noise: Random, t: np.ndarray, epochs: int) -> tuple[np.ndarray, ...]:
    """Errors fall with a power of time, and never stop."""
    power = noise.uniform(0.2, 1.2)
    acc = noise.uniform(0.7, 1) - noise.uniform(0.2, 0.6) * (1 + t) ** -power
    return acc, _loss(acc), np.ones_like(t)


def flat(noise: Random, t: np.ndarray, epochs: int) -> tuple[np.ndarray, ...]:
    """Is done after a few per cent of the run."""
    acc = noise.uniform(0.6, 0.99) - 0.3 * np.exp(-t / (0.03 * epochs + 0.05))
    return acc, _loss(acc), np.ones_like(t)


def step_decay(noise: Random, t: np.ndarray, epochs: int) -> tuple[np.ndarray, ...]:
    """The learning rate falls to a tenth at one or two moments, and each fall gains."""
    acc = noise.uniform(0.6, 0.8) - 0.3 * np.exp(-t / (0.1 * epochs))
    rate = np.ones_like(t)
    for moment in np.sort(noise.uniform(0.3, 0.95, noise.integers(1, 3))) * epochs:
        after = np.maximum(t - moment, 0)
        acc += noise.uniform(0.02, 0.08) * (1 - np.exp(-after / (0.05 * epochs)))
        rate = np.where(t >= moment, rate / 10, rate)
    return acc, _loss(acc), rate


def cosine(noise: Random, t: np.ndarray, epochs: int) -> tuple[np.ndarray, ...]:
    """Flattens because the learning rate goes to 0; what the rate costs comes back."""
    rate = np.where(t < epochs, 0.5 + 0.5 * np.cos(np.pi * np.minimum(t / epochs, 1)), 0)
    trained = np.cumsum(rate) / epochs  # nothing moves without a rate
    acc = noise.uniform(0.7, 0.97) - 0.4 * np.exp(-trained / noise.uniform(0.05, 0.5))
    acc -= noise.uniform(0, 0.08) * rate
    return acc, _loss(acc), rate


def overfitting(noise: Random, t: np.ndarray, epochs: int) -> tuple[np.ndarray, ...]:
    """Validation loss rises after its lowest; accuracy stands still or falls."""
    turn = noise.uniform(0.1, 0.6) * epochs
    after = np.maximum(t - turn, 0) / epochs
    acc = noise.uniform(0.6, 0.95) - 0.3 * np.exp(-4 * t / turn)
    loss = _loss(acc) + noise.uniform(0.2, 1) * after
    return acc - noise.choice([0, 0.03, 0.15]) * after, loss, np.ones_like(t)


def falling(noise: Random, t: np.ndarray, epochs: int) -> tuple[np.ndarray, ...]:
    """Gets worse from the middle on, in loss too."""
    acc = noise.uniform(0.7, 0.95) - 0.3 * np.exp(-8 * t / epochs)
    acc -= noise.uniform(0.02, 0.3) * np.maximum(t / epochs - 0.5, 0)
    return acc, _loss(acc), np.ones_like(t)


def hidden(noise: Random, t: np.ndarray, epochs: int) -> tuple[np.ndarray, ...]:
    """Accuracy rests, while loss falls; soon accuracy rises again."""
    late = noise.uniform(1.0, 1.2) * epochs
    acc = noise.uniform(0.5, 0.8) - 0.2 * np.exp(-8 * t / epochs)
    loss = _loss(acc) - noise.uniform(0.2, 0.6) * t / epochs
    acc += noise.uniform(0.04, 0.15) / (1 + np.exp(-(t - late) / (0.06 * epochs)))
    return acc, loss, np.ones_like(t)


def wandering(noise: Random, t: np.ndarray, epochs: int) -> tuple[np.ndarray, ...]:
    """Rises slowly and evenly, by 0.5 to 6 points in the run."""
    acc = noise.uniform(0.5, 0.85) + noise.uniform(0.005, 0.06) * t / epochs
    return acc, _loss(acc), np.ones_like(t)


KINDS: dict[str, Shape] = {  # type: ignore[dict-item]
    shape.__name__: shape
    for shape in (
        exponential,
        power_law,
        flat,
        step_decay,
        cosine,
        overfitting,
        falling,
        hidden,
        wandering,
    )
}


@dataclass(frozen=True)
class Run:
    """A simulated run: its curves, and without noise what they and half as many epochs more are."""

    curves: dict[str, list[float]]
    images: int
    acc: np.ndarray
    loss: np.ndarray

    def is_wrong(self, name: str) -> bool:
        """Whether the truth contradicts a claim."""
        epochs = len(self.curves["epoch"])
        window = slice(epochs - min(epochs, max(4, epochs // 3)), epochs)
        acc, loss = self.acc[window], self.loss[window]
        rise, loss_rise = acc[-1] - acc[0], loss[-1] - loss[0]
        little = max(min(LITTLE, (1 - acc.mean()) / 4), 1 / self.images)
        gains = np.abs(self.acc[epochs:] - acc[-1])
        gain = gains[: -(-epochs // 3)].max()
        return {
            "improving": rise <= 0,
            "falling": rise >= 0,
            "loss_falling": loss_rise >= 0,
            "loss_rising": loss_rise <= 0,
            "plateau": gain > little,
            "settled": gain > little,
            "half": gains.max() > little,
            "early": self.acc[: epochs // 2].max() <= acc.mean(),
        }.get(name, False)

    @property
    def is_still(self) -> bool:
        """Whether neither the end nor what follows moves, by a quarter of a point."""
        end = self.acc[-(len(self.acc) // 2) :]
        return bool(end.max() - end.min() < LITTLE / 4)


def simulate(noise: Random, kind: str) -> Run:
    """Draw a run of a kind: its length, its validation images, its curve and its noise."""
    epochs, images = int(noise.choice(EPOCHS)), int(noise.choice(IMAGES))
    t = np.arange(epochs + -(-epochs // 2), dtype=float)
    acc, loss, rate = KINDS[kind](noise, t, epochs)
    acc = acc.clip(0.01, 0.999)
    kept, size = noise.choice([0, 0.5, 0.8]), noise.choice([0, 0.002, 0.01])
    wander = np.zeros(epochs)
    for epoch in range(1, epochs):
        wander[epoch] = kept * wander[epoch - 1] + noise.normal() * size
    wander *= np.sqrt(np.maximum(rate[:epochs], 0.01))  # small steps wander less
    hard, shared = noise.normal(size=images), noise.choice([0.7, 0.9, 0.97])
    measured, losses = [], []
    for epoch in range(epochs):
        share = (acc[epoch] + wander[epoch]).clip(0.005, 0.9995)
        score = np.sqrt(shared) * hard + np.sqrt(1 - shared) * noise.normal(size=images)
        measured.append(float((score < NORMAL.inv_cdf(float(share))).mean()))
        spread = loss[epoch] * 1.5 / np.sqrt(images) * np.sqrt(1 - shared)
        losses.append(float(loss[epoch] - 2 * wander[epoch] + spread * noise.normal()))
    curves = {
        "epoch": [float(epoch) for epoch in range(epochs)],
        "lr": rate[:epochs].tolist(),
        "train/loss": (1 / (1 + t[:epochs])).tolist(),
        "val/acc": measured,
        "val/loss": losses,
    }
    return Run(curves, images, acc, loss)


def count_trends(noise: Random, kind: str, number: int) -> tuple[Counter[str], Counter[str]]:
    """How often each trend was claimed of a kind, and how often wrongly.

    Counted as `still` are the runs of 20 epochs and 1,000 images or more that stand still, and as
    `seen` those of them where that is said.
    """
    claimed, wrong = Counter[str](), Counter[str]()
    for _ in range(number):
        run = simulate(noise, kind)
        names = {name for name, _ in trend(run.curves, run.images)}
        names |= {"half"} if "plateau" in names else set()
        claimed.update(names)
        wrong.update(name for name in names if run.is_wrong(name))
        if run.is_still and len(run.curves["epoch"]) >= 20 and run.images >= 1000:
            claimed["still"] += 1
            claimed["seen"] += bool(names & {"plateau", "settled"})
    return claimed, wrong


def count_gaps(noise: Random, number: int) -> tuple[Counter[str], Counter[str]]:
    """How often each verdict on the gap was given, and how often the true shares contradict it."""
    claimed, wrong = Counter[str](), Counter[str]()
    for _ in range(number):
        guessing = float(noise.choice([0.1, 0.5, 0.8]))
        train = noise.uniform(guessing, 1)
        val = noise.uniform(max(guessing, train - 0.2), min(1.0, train + 0.02))
        images = int(noise.choice(IMAGES))
        counts = max(images, 500), images
        shares = [
            Share(int(noise.binomial(n, p)), n) for n, p in zip(counts, (train, val), strict=True)
        ]
        name = judge(*shares, guessing)
        gap = train - val
        claimed[name] += 1
        wrong[name] += {
            "overfitting": gap <= 0.1,
            "generalises": gap >= 0.05 or val <= guessing,
            "between": not 0.05 < gap < 0.1,
            "underfitting": train >= (1 + guessing) / 2,
        }.get(name, False)
    return claimed, wrong


TRENDS = (
    "improving",
    "falling",
    "loss_falling",
    "loss_rising",
    "plateau",
    "half",
    "settled",
    "early",
)


def main(number: int) -> None:
    """Print the tables: `number` curves of each kind, a hundred times as many gaps."""
    noise = np.random.default_rng(0)
    columns = [*TRENDS, "unclear", "short"]
    print(f"| wrong of claimed | {' | '.join(columns)} | still: said so |")
    print(f"|---{'|---' * len(columns)}|---|")
    claimed, wrong = Counter[str](), Counter[str]()
    for kind in KINDS:
        own, own_wrong = count_trends(noise, kind, number)
        claimed, wrong = claimed + own, wrong + own_wrong
        print(_row(kind, columns, own, own_wrong))
    print(_row("**all**", columns, claimed, wrong))
    claimed, wrong = count_gaps(noise, 100 * number)
    print("\n| verdict on the gap | given | wrong |\n|---|---|---|")
    for name, times in claimed.most_common():
        print(f"| {name} | {times} | {wrong[name]} |")


def _row(kind: str, columns: list[str], claimed: Counter[str], wrong: Counter[str]) -> str:
    cells = [
        f"{wrong[name]} of {claimed[name]}" if name in TRENDS else f"{claimed[name]}"
        for name in columns
    ]
    return f"| {kind} | {' | '.join(cells)} | {claimed['seen']} of {claimed['still']} |"


if __name__ == "__main__":
    main(int(sys.argv[1]))
