"""What an experiment varies: the keys of a sweep and their values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from strided.config.overrides import key_of
from strided.config.typed_only import may_be_axis
from strided.errors import UserError


@dataclass(frozen=True)
class Sweep:
    """The `sweep` of an experiment: values for each key; all their combinations are run.

    `x` and `lines` are two of the keys, for the figure; all other keys are repeats. Neither: there
    is no figure. `study` names an additional section on the runs.
    """

    over: dict[str, list[Any]]
    x: str = ""
    lines: str = ""
    study: str | None = None

    def __post_init__(self) -> None:
        lists = self.over.values() if isinstance(self.over, Mapping) else [None]
        if not all(isinstance(values, Sequence) and values for values in lists):
            raise UserError(
                f"sweep.over={self.over}; expected keys with a list of values each. "
                "Try sweep.over.seed=[0,1,2]"
            )
        for key, values in self.over.items():
            if not may_be_axis(key, values):
                raise UserError(
                    f"sweep.over.{key} cannot come from a YAML: it counts only as typed; expected "
                    f"keys such as optimizer.lr. Try {key}=... on the command line"
                )
        for role, key in (("x", self.x), ("lines", self.lines)):
            if key not in self.over and self.drawn:
                raise UserError(
                    f"sweep.{role}={key} is not varied; expected one of the keys of sweep.over. "
                    f"Try sweep.{role}={next(iter(self.over), 'seed')}"
                )
        known = str(self.study).isidentifier() and find_spec(
            f"strided.sweeps.experiments.{self.study}"
        )
        if self.study is not None and not known:
            raise UserError(
                f"sweep.study={self.study}; expected null or a module of "
                "strided.sweeps.experiments, such as mlp_vs_cnn. Try sweep.study=null"
            )

    @property
    def drawn(self) -> bool:
        """Whether it has a figure."""
        return bool(self.x or self.lines)

    @classmethod
    def of(cls, node: Mapping[str, Any]) -> "Sweep":
        """Read the node of an experiment. Raises UserError."""
        if set(node) - {"study"} not in ({"over"}, {"over", "x", "lines"}):
            raise UserError(
                f"sweep has the keys {', '.join(node)}; expected over, and optionally study, or x "
                "and lines of a figure. Try sweep as in experiment=transfer_vs_scratch"
            )
        return cls(**node)

    def words(self, typed: Sequence[str]) -> list[str]:
        """Return what was typed, and the values of the keys that were not typed."""
        given = {key_of(word) for word in typed}
        added = [
            f"{key}={','.join('null' if value is None else str(value) for value in values)}"
            for key, values in self.over.items()
            if key not in given
        ]
        return [*typed, *added]
