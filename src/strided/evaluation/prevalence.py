"""What positive and negative answers are worth where a class is as frequent as stated."""

import math
from typing import NamedTuple


class Share(NamedTuple):
    """A proportion with the ends of its interval."""

    value: float
    low: float
    high: float

    @property
    def complement(self) -> "Share":
        """The share of all others."""
        return Share(1 - self.value, 1 - self.high, 1 - self.low)


def at_prevalence(
    sensitivity: Share, specificity: Share, prevalence: float
) -> tuple[Share | None, Share | None]:
    """PPV and NPV where a class has this share of the images, by Bayes' theorem; None for 0 / 0.

    Altman and Bland 1994, "Diagnostic tests 2: predictive values", BMJ 309:102. Each is 1 / (1 + r
    times the odds), where r is the ratio of two independent proportions: a likelihood ratio.
    """
    odds = prevalence / (1 - prevalence)
    return (
        _worth(specificity.complement, sensitivity, 1 / odds),
        _worth(sensitivity.complement, specificity, odds),
    )


def _worth(wrong: Share, right: Share, odds: float) -> Share | None:
    """The share of right answers among `right` and `wrong` ones, which are `odds` as frequent."""
    if wrong.value == right.value == 0:
        return None
    low, high = _ratio_interval(wrong, right)
    value = right.value / (right.value + odds * wrong.value)
    return Share(value, 1 / (1 + odds * high), 1 / (1 + odds * low))


def _ratio_interval(first: Share, second: Share) -> tuple[float, float]:
    """The interval of first / second: MOVER-R (Donner and Zou 2012), 0 to infinity."""
    product = first.value * second.value
    least = first.low * (2 * first.value - first.low)
    most = second.high * (2 * second.value - second.high)
    low = 0.0
    if least > 0:  # then the sum is not 0
        low = least / (product + math.sqrt(max(0.0, product**2 - least * most)))
    most = first.high * (2 * first.value - first.high)
    least = second.low * (2 * second.value - second.low)
    if least <= 0:
        return low, math.inf
    return low, (product + math.sqrt(max(0.0, product**2 - most * least))) / least
