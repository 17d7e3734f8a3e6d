"""The decision of a checkpoint: calibration, sets, gate and thresholds, beside the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from strided.decision.decision import Decision
from strided.decision.gate import Gate
from strided.errors import UserError, first_line
from strided.system.durable import put, sync_folder

_DECISION, _ARRAYS = "decision", "gate"


def stored_decision(
    saved: Mapping[str, Any], file: Path, classes: int, network: nn.Module, channels: int
) -> Decision | None:
    """The decision among what strided saved; None in an older checkpoint. Raises UserError."""
    data = saved.get(_DECISION)
    if data is None:
        return None
    try:
        decision = Decision.from_dict(data, classes, _as_arrays(saved.get(_ARRAYS)))
        if decision.gate is not None:
            _require_fitting(decision.gate, network, channels)
    except Exception as error:  # of any kind: a stranger's values may be anything
        raise UserError(
            f"{file} cannot be used: {first_line(error)}; expected a checkpoint as strided "
            "wrote it. Try another copy of it"
        ) from error
    return decision


def store_decision(file: Path, decision: Decision | None) -> None:
    """Put the decision into a checkpoint, in place of the one in it; the file is always whole."""
    data = decision.to_dict() if decision else None
    arrays = decision.gate.arrays() if decision and decision.gate else {}
    tensors = {name: torch.from_numpy(values) for name, values in arrays.items()}
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    saved = checkpoint["strided"]
    if saved.get(_DECISION) == data and _same(saved.get(_ARRAYS, {}), tensors):
        return
    saved[_DECISION] = data
    saved.pop(_ARRAYS, None)
    if tensors:
        saved[_ARRAYS] = tensors
    unfinished = file.with_suffix(".tmp")
    torch.save(checkpoint, unfinished)
    put(unfinished, file)
    sync_folder(file.parent)


def _same(before: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> bool:
    return before.keys() == now.keys() and all(torch.equal(before[n], now[n]) for n in now)


def _as_arrays(tensors: Any) -> dict[str, np.ndarray]:
    """The gate's tensors as arrays. Raises ValueError for a stranger's that are none.

    A view of few numbers may claim to be many, and would fill the memory once it is copied.
    """
    if tensors is None:
        return {}
    if not isinstance(tensors, dict):
        raise ValueError("the arrays of its gate are no mapping")
    for tensor in tensors.values():
        plain = isinstance(tensor, Tensor) and tensor.layout == torch.strided
        if not plain or tensor.dtype != torch.float32 or not tensor.is_contiguous():
            raise ValueError("an array of its gate is no plain tensor of float32")
    return {str(name): tensor.numpy() for name, tensor in tensors.items()}


def _require_fitting(gate: Gate, network: nn.Module, channels: int) -> None:
    """Raise ValueError unless the gate is of features that the network has, and of its pictures."""
    layer = dict(network.named_modules()).get(gate.layer)
    if not isinstance(layer, nn.Linear):
        raise ValueError("its gate is of another network")
    gate.require_sizes(layer.in_features, channels)
