"""How calibrations are fitted: one temperature, a weight and an offset of each class, sigmoids.

All of them take log-probabilities, so that logits that differ by a constant are the same.
"""

from collections.abc import Callable

import numpy as np

LEAST_TEMPERATURE, MOST_TEMPERATURE = 0.05, 20.0
_RIDGE = 1e-3  # of vector scaling: separable classes have no finite weights
_STEPS = 100


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Return log-probabilities (N, K) in float64."""
    shifted = logits.astype(np.float64) - logits.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))


def log_odds(logits: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of each class against the rest (N, K), at most about 27."""
    log_p = log_softmax(logits)
    return log_p - np.log(-np.expm1(log_p.clip(max=-1e-12)))


def sigmoid(values: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-x)), without overflow."""
    return 0.5 * (1 + np.tanh(0.5 * values))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature of the least negative log-likelihood (Guo et al. 2017).

    The loss is convex in 1 / T: its slope is brought to 0 by Newton's steps within a bracket.
    """
    log_p = log_softmax(logits)
    of_label = log_p[np.arange(len(labels)), labels]
    low, high = 1 / MOST_TEMPERATURE, 1 / LEAST_TEMPERATURE
    inverse = 1.0
    for _ in range(_STEPS):
        p = np.exp(log_softmax(inverse * log_p))
        mean = (p * log_p).sum(1)
        slope = float((mean - of_label).mean())
        if abs(slope) < 1e-12:
            break
        low, high = (low, inverse) if slope > 0 else (inverse, high)
        curvature = float(((p * log_p**2).sum(1) - mean**2).mean())
        step = inverse - slope / curvature if curvature > 0 else low
        if not low < step < high:
            step = np.sqrt(low * high)
        if abs(step - inverse) <= 1e-10 * inverse:
            break
        inverse = float(step)
    return 1 / inverse


def fit_vector(logits: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight and the offset (K,) of each class's log-probability (Guo et al. 2017)."""
    log_p = log_softmax(logits)
    count, classes = log_p.shape
    one_hot = np.eye(classes)[labels]
    neutral = np.concatenate([np.ones(classes), np.zeros(classes)])

    def loss(values: np.ndarray) -> float:
        scaled = log_softmax(log_p * values[:classes] + values[classes:])
        penalty = 0.5 * _RIDGE * float(np.square(values - neutral).sum())
        return penalty - float(scaled[np.arange(count), labels].mean())

    def step(values: np.ndarray) -> np.ndarray:
        p = np.exp(log_softmax(log_p * values[:classes] + values[classes:]))
        gap, wide = p - one_hot, np.concatenate([p * log_p, p], axis=1)
        slope = np.concatenate([(gap * log_p).mean(0), gap.mean(0)]) + _RIDGE * (values - neutral)
        own = [np.diag(part.mean(0)) for part in (p * log_p**2, p * log_p, p)]
        curvature = np.block([[own[0], own[1]], [own[1], own[2]]]) - wide.T @ wide / count
        return np.linalg.solve(curvature + _RIDGE * np.eye(2 * classes), slope)

    found = _newton(loss, step, neutral)
    return found[:classes], found[classes:]


def fit_sigmoid(scores: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Return slope and offset of the sigmoid of scores (N,) (Platt 1999).

    Its targets are Platt's, short of 0 and 1, so that separable scores have a solution.
    """
    count = int(positive.sum())
    targets = np.where(positive, (count + 1) / (count + 2), 1 / (len(scores) - count + 2))
    columns = np.stack([scores.astype(np.float64), np.ones(len(scores))], axis=1)

    def loss(values: np.ndarray) -> float:
        at = columns @ values
        return float((np.logaddexp(0, at) - targets * at).mean())

    def step(values: np.ndarray) -> np.ndarray:
        p = sigmoid(columns @ values)
        curvature = (columns * (p * (1 - p))[:, None]).T @ columns / len(scores)
        return np.linalg.solve(curvature + 1e-12 * np.eye(2), columns.T @ (p - targets) / len(p))

    slope, offset = _newton(loss, step, np.array([1.0, 0.0]))
    return float(slope), float(offset)


def _newton(
    loss: Callable[[np.ndarray], float],
    step: Callable[[np.ndarray], np.ndarray],
    values: np.ndarray,
) -> np.ndarray:
    """Minimise a convex loss by Newton's steps, each halved until it is a gain."""
    at = loss(values)
    for _ in range(_STEPS):
        change = step(values)
        for halving in range(30):
            tried = values - change / 2**halving
            found = loss(tried)
            if found <= at:
                break
        else:
            return values
        small = at - found <= 1e-13 * max(1.0, abs(at))
        values, at = tried, found
        if small:
            return values
    return values
