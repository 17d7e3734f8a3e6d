"""Expand several values of a key, in Hydra's grammar, into jobs."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override

from strided.config.overrides import as_typed
from strided.config.yaml_files import config_folders, group_options, verb_keys
from strided.errors import UserError


def sweep_jobs(overrides: Sequence[str], extra: Path | None = None) -> list[list[str]]:
    """Return the overrides of each job of a sweep, in the order in which Hydra numbers them."""
    return list(each_job(overrides, extra))


def each_job(overrides: Sequence[str], extra: Path | None = None) -> Iterator[list[str]]:
    """Yield the overrides of each job, as `sweep_jobs`: there may be too many for a list."""
    axes: dict[str, list[str]] = {}  # if a key is given twice, its last values count
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
    yield from map(list, itertools.product(*axes.values()))


def sweep_corners(
    verb: str, overrides: Sequence[str], extra: Path | None = None
) -> list[list[str]]:
    """Return one list of overrides for each combination of swept group options.

    Of other keys (with a dot, or plain) the first value is taken: valid keys depend on the chosen
    groups only, and a bad value must fail its job, not the sweep.
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
            f"{as_typed(str(override.input_line))} changes its order each time it is read, so "
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
            f"{as_typed(str(override.input_line))} has endlessly many values; expected a few, as "
            "a=1,2 or a=range(1,9). Try search=optuna instead of -m"
        )
    return list(override.sweep_string_iterator())
