"""What depends on two groups, decided once these are composed: the stages, and their length."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict

from strided.config.keys import Node
from strided.config.yaml_files import CONF_DIR

_NOTHING = ("null", "None")  # the choice of a group without an option


def decide(config: DictConfig, choices: Mapping[str, str], typed: Iterable[str]) -> None:
    """Make trainer.max_epochs of a config of train the sum of its stages' epochs.

    Only strided's own default is replaced. What was typed stays (`typed` are dotted keys), and so
    does what an experiment says or relies on. But a typed transfer= has its own stages: what the
    experiment says of others is left out.
    """
    typed = list(typed)
    if "transfer" in typed:
        _leave_out_stages(config, typed)
    nothing = all(choices[overlay] in _NOTHING for overlay in ("experiment", "debug"))
    if "trainer.max_epochs" in typed or not nothing:
        return
    plain = cast("dict[str, Node]", OmegaConf.to_container(config, resolve=False))
    length = _length(plain)
    default = cast(DictConfig, OmegaConf.load(CONF_DIR / "trainer" / "auto.yaml")).max_epochs
    if length is not None and plain["trainer"].get("max_epochs") == default:
        config.trainer.max_epochs = length


def _leave_out_stages(config: DictConfig, typed: Collection[str]) -> None:
    stages = config.transfer.get("stages") or {}
    for name in [name for name, stage in stages.items() if stage and "_target_" not in stage]:
        if not any(f"{key}.".startswith(f"transfer.stages.{name}.") for key in typed):
            with open_dict(config):
                del config.transfer.stages[name]


def _length(config: Mapping[str, Any]) -> int | None:
    """Epochs of all stages together; None without stages, or where one leaves its own open."""
    stages: dict[str, Node | None] = config["transfer"].get("stages") or {}
    lengths: list[Any] = [stage.get("epochs") for stage in stages.values() if stage]
    if not lengths or not all(type(length) is int and length > 0 for length in lengths):
        return None
    return sum(lengths)
