"""What is promised after a calibration that was fitted on the images that choose thresholds.

Logits are normal and 1.6 times too large. Each method is fitted on so many images of each class. A
threshold for sets of 90 % and one for a risk of 10 % are chosen on what the fit gives for the same
images, or on what fits without them give (as strided does). 5,000 new images tell the truth; 20
draws each.

    python docs/results/decisions/calibrations.py
"""

import numpy as np

from strided.decision.calibration import METHODS, Calibration
from strided.decision.decision import Scores
from strided.decision.scaling import log_softmax
from strided.decision.selective import threshold
from strided.decision.sets import PredictionSets

NEW, DRAWS = 5000, 20


def draw(count: int, classes: int, noise: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, K), and labels (N,) that are drawn from the true probabilities."""
    logits = noise.normal(size=(count, classes)) * 2
    p = np.exp(log_softmax(logits))
    labels = (p.cumsum(1) < noise.random((count, 1))).sum(1).clip(max=classes - 1)
    return 1.6 * logits, labels


def measure(method: str, classes: int, count: int, *, left_out: bool) -> str:
    """Two cells of the table: mean coverage, and how many thresholds exceed their risk."""
    covered, exceeded = [], []
    for seed in range(DRAWS):
        noise = np.random.default_rng(seed)
        logits, labels = draw(count, classes, noise)
        new, truth = draw(NEW, classes, noise)
        fitted = Calibration.fit(method, logits, labels)
        p, own = fitted.probabilities(new), fitted.probabilities(logits)
        if left_out:
            own = Calibration.left_out(method, logits, labels)
        scores = Scores.of(own, labels)
        sets = PredictionSets.of_scores("lac", scores.labels["lac"], 0.9).sets(p)
        covered.append(sets[np.arange(NEW), truth].mean())
        lowest = threshold(scores.confidence, scores.correct, 0.1)
        decided = p.max(1) >= (2.0 if lowest is None else lowest)
        if decided.any():
            exceeded.append((p.argmax(1) != truth)[decided].mean() > 0.1)
    return f"{np.mean(covered):.1%} | {sum(exceeded)} of {len(exceeded)}"


print("| classes | images | method | sets hold | risk exceeded | left out: sets | risk exceeded |")
print("|---|---|---|---|---|---|---|")
for classes in (3, 10):
    for count in (30 * classes, 100 * classes, 300 * classes):
        for method in METHODS[:-1]:
            cells = [measure(method, classes, count, left_out=left_out) for left_out in (0, 1)]
            print(f"| {classes} | {count:,} | {method} | {' | '.join(cells)} |", flush=True)
