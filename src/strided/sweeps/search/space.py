"""What a sweep or a search varies: keys with several values, in Hydra's sweep grammar."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from strided.config.keys import Node
from strided.config.typed_only import may_be_axis
from strided.errors import UserError, first_line, printable
from strided.sweeps.grammar import swept_values
from strided.system.machine import cores

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_FEW = 8  # workers that any machine may try


@dataclass(frozen=True)
class Search:
    """The settings of conf/search: what varies, the metric, the number of trials, their choice.

    Args:
        metric: What the best trial is chosen by, a key of results.json.
        direction: Whether a higher or a lower value of the metric is better.
        num_trials: How many runs to try, those that are pruned included.
        num_workers: Trials at a time, each in its own process.
        sampler: Chooses the values of the next trial, a class of optuna.samplers.
        pruner: Ends trials that are worse than others, a class of optuna.pruners; null: none.
        space: What varies: for each key its values in Hydra's sweep grammar.
    """

    metric: Literal["best_val/acc", "best_val/loss"]
    direction: Literal["maximize", "minimize"]
    num_trials: int
    num_workers: int
    sampler: Node
    pruner: Node | None
    space: dict[str, str]

    def __post_init__(self) -> None:
        for key in ("num_trials", "num_workers"):
            if getattr(self, key) < 1:
                raise UserError(
                    f"search.{key}={getattr(self, key)}; expected 1 or more. Try search.{key}=1"
                )
        if self.num_workers > (most := max(_FEW, cores())):
            raise UserError(
                f"search.num_workers={self.num_workers}, but this machine has {cores()} cores; "
                f"expected 1 to {most}. Try search.num_workers={cores()}"
            )
        better = {"best_val/acc": "maximize", "best_val/loss": "minimize"}[self.metric]
        if self.direction != better:
            raise UserError(
                f"search.metric={self.metric} with search.direction={self.direction} would take "
                f"the worst for the best; expected {better}. Try search.direction={better}"
            )

    @property
    def monitor(self) -> str:
        """The metric of an epoch whose best value is `metric`."""
        return self.metric.removeprefix("best_")


def distribution(key: str, text: str) -> "BaseDistribution":
    """Return the values of one key of a search as Optuna's distribution.

    `a,b` and `choice(...)` are a choice; `range` gives whole numbers (its end excluded) or steps;
    `interval` gives any number; `tag(log, ...)` searches on a logarithmic scale. Raises UserError.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    override = parse(key, text)
    value = override.value()
    log = _is_log(key, text, getattr(value, "tags", set()))
    try:
        if isinstance(value, IntervalSweep):
            low, high = cast(float, value.start), cast(float, value.end)
            if isinstance(low, int):  # int(interval(1,8))
                return IntDistribution(low, int(high), log=log)
            return FloatDistribution(low, high, log=log)
        if isinstance(value, RangeSweep):
            steps = sorted(value.range())
            if isinstance(value.start, int) and isinstance(value.step, int):
                return IntDistribution(int(steps[0]), int(steps[-1]), log, abs(value.step))
            return FloatDistribution(steps[0], steps[-1], step=abs(value.step), log=log)
    except (ValueError, IndexError) as error:  # no value at all, or a logarithm of zero
        raise UserError(
            f"{key}={text} cannot be searched: {error}. Expected values from low to high, above "
            f"0 for a logarithmic scale. Try {key}=tag(log,interval(1e-4,1e-1))"
        ) from error
    return CategoricalDistribution(swept_values(override))


def parse(key: str, text: str) -> Override:
    """Parse the values of a key of a search. Raises UserError unless there are several."""
    try:
        override = OverridesParser.create().parse_override(f"{key}={text}")
    except HydraException as error:
        raise UserError(
            f"search.space {key}: {text} cannot be read: {first_line(error)}. Expected "
            f"Hydra's sweep grammar. Try {key}=interval(0,1)"
        ) from error
    if not override.is_sweep_override():
        raise UserError(
            f"search.space {key}: {text} is one value; expected several. Try {key}=interval(0,1)"
        )
    return override


def require_axes(space: Mapping[str, str]) -> None:
    """Raise UserError for a key of a file's search.space that counts only as typed."""
    for key, text in space.items():
        value = parse(key, text).value()
        values = value.list if isinstance(value, ChoiceSweep) else []
        values = [text] if isinstance(value, Glob) else values
        if not may_be_axis(key, values):
            raise UserError(
                f"search.space {printable(str(key))} cannot come from a YAML: it counts only as "
                f"typed; expected keys such as optimizer.lr. Try {printable(str(key))}=... on the "
                "command line"
            )


def _is_log(key: str, text: str, tags: set[str]) -> bool:
    if unknown := tags - {"log"}:
        raise UserError(
            f"{key}={text} has the tag {', '.join(unknown)}; expected log or none. "
            f"Try {key}=tag(log,interval(1e-4,1e-1))"
        )
    return bool(tags)
