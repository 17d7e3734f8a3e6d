"""How often the network was right, by the verdicts of people."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine, func, select

from strided.evaluation.intervals import wilson_interval
from strided.review.tables import DECIDED, PREDICTIONS, REVIEWS

LEAST = 20  # cases, below which nothing is said of an accuracy that is too low


@dataclass(frozen=True)
class Figures:
    """Of `reviewed` cases in which the network named a class, `right` had the person's class."""

    reviewed: int
    right: int

    @property
    def accuracy(self) -> float | None:
        """The share of right ones; None without cases."""
        return self.right / self.reviewed if self.reviewed else None

    @property
    def interval(self) -> list[float] | None:
        """Wilson's 95 % interval of the accuracy."""
        return None if self.accuracy is None else wilson_interval(self.accuracy, self.reviewed)


@dataclass(frozen=True)
class Feedback:
    """Figures in all, and by route. Refused cases, in which it named no class, are only counted.

    `floor`: an accuracy that is too low; None: no alarm.
    """

    total: Figures
    by_route: dict[str, Figures]
    refused: int
    floor: float | None

    @property
    def alarm(self) -> bool:
        """Whether the accuracy of enough cases is below the floor."""
        accuracy = self.total.accuracy
        if accuracy is None or self.floor is None or self.total.reviewed < LEAST:
            return False
        return accuracy < self.floor


def feedback(engine: Engine, model: str, version: int, floor: float | None) -> Feedback:
    """What people have said of the answers of a version."""
    counted = (
        select(PREDICTIONS.c.route, REVIEWS.c.is_right, func.count())
        .join(REVIEWS, REVIEWS.c.id == PREDICTIONS.c.id)
        .where(
            REVIEWS.c.state == DECIDED,
            PREDICTIONS.c.model == model,
            PREDICTIONS.c.version == version,
        )
        .group_by(PREDICTIONS.c.route, REVIEWS.c.is_right)
    )
    with engine.begin() as connection:
        rows = [tuple(row) for row in connection.execute(counted)]
    return summed(rows, floor)


def summed(rows: Iterable[tuple[str, int | None, int]], floor: float | None) -> Feedback:
    """Figures of counts by route, and by whether the network was right (None: it refused)."""
    counts: dict[str, list[int]] = {}
    refused = 0
    for route, is_right, count in rows:
        if is_right is None:
            refused += count
            continue
        one = counts.setdefault(route, [0, 0])
        one[0] += count
        one[1] += count if is_right else 0
    by_route = {route: Figures(*one) for route, one in sorted(counts.items())}
    total = Figures(*(sum(one[k] for one in counts.values()) for k in (0, 1)))
    return Feedback(total, by_route, refused, floor)
