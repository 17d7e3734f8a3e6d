"""What a sweep or a search varies: keys with several values, in Hydra's sweep grammar."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from strided.config.overrides import as_typed
from strided.config.yaml_files import config_folders, group_options, verb_keys
from strided.errors import UserError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution


def sweep_jobs(overrides: Sequence[str], extra: Path | None = None) -> list[list[str]]:
    """Return what is typed for each job of a sweep, in the order in which Hydra numbers them."""
    axes: dict[str, list[str]] = {}  # a key that is given twice: its last values count
    for word in overrides:
        override = OverridesParser.create().parse_override(word)
        if override.is_hydra_override():
            continue
        key = override.get_key_element()
        values = (
            swept_values(override, extra)
            if override.is_sweep_override()
            else [override.get_value_element_as_str()]
        )
        axes[key] = [as_typed(f"{key}={value}") for value in values]
    return [list(job) for job in itertools.product(*axes.values())]


def sweep_corners(
    verb: str, overrides: Sequence[str], extra: Path | None = None
) -> list[list[str]]:
    """Return one list of overrides for each combination of swept group options.

    Swept values (keys with a dot, plain keys) are taken at their first value: which keys are valid
    depends on the chosen groups only, and a bad value must fail its own job, not the sweep.
    """
    groups, _ = verb_keys(verb)
    axes = []
    for word in overrides:
        override = OverridesParser.create().parse_override(word)
        if not override.is_sweep_override():
            axes.append([word])
            continue
        key = word.partition("=")[0]
        values = [f"{key}={value}" for value in swept_values(override, extra)]
        axes.append(values if key in groups else values[:1])
    return [list(corner) for corner in itertools.product(*axes)]


def swept_values(override: Override, extra: Path | None = None) -> list[str]:
    """Return the values of a swept override as text. Raises UserError for interval and shuffle."""
    value = override.value()
    if getattr(value, "shuffle", False):
        raise UserError(
            f"{as_typed(str(override.input_line))} has another order each time that it is read, so "
            "that jobs could not be told apart; expected values in a fixed order. Try it without "
            "shuffle()"
        )
    if isinstance(value, Glob):
        found = value.filter(group_options(config_folders(extra)).get(override.key_or_group, []))
        if not found:
            raise UserError(f"{override.input_line} matches no option. Try --help for the options")
        return list(found)
    if override.is_interval_sweep():
        raise UserError(
            f"{as_typed(str(override.input_line))} has no end of values; expected some, as "
            "a=1,2 or a=range(1,9). Try search=optuna instead of -m"
        )
    return list(override.sweep_string_iterator())


@dataclass(frozen=True)
class Search:
    """What conf/search decides: what varies, what the best is, how many trials, and their choice.

    `space` has a text in Hydra's sweep grammar for each key; `metric` is a key of results.json,
    never one of the test split; `sampler` and `pruner` are nodes of Optuna's own classes.
    """

    metric: Literal["best_val/acc", "best_val/loss"]
    direction: Literal["maximize", "minimize"]
    num_trials: int
    num_workers: int
    sampler: dict[str, Any]
    pruner: dict[str, Any] | None
    space: dict[str, str]

    def __post_init__(self) -> None:
        for key in ("num_trials", "num_workers"):
            if getattr(self, key) < 1:
                raise UserError(
                    f"search.{key}={getattr(self, key)}; expected 1 or more. Try search.{key}=1"
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

    `a,b` and `choice(...)` are a choice, `range` whole numbers (its end excluded) or steps,
    `interval` any number; `tag(log, ...)` searches on a logarithmic scale. Raises UserError.
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
    except (ValueError, IndexError) as error:  # no value at all, a logarithm of zero
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
            f"search.space {key}: {text} cannot be read: {str(error).splitlines()[0]}. Expected "
            f"Hydra's sweep grammar. Try {key}=interval(0,1)"
        ) from error
    if not override.is_sweep_override():
        raise UserError(
            f"search.space {key}: {text} is one value; expected several. Try {key}=interval(0,1)"
        )
    return override


def _is_log(key: str, text: str, tags: set[str]) -> bool:
    if unknown := tags - {"log"}:
        raise UserError(
            f"{key}={text} has the tag {', '.join(unknown)}; expected log or none. "
            f"Try {key}=tag(log,interval(1e-4,1e-1))"
        )
    return bool(tags)
