"""The decision of a checkpoint: calibration, sets and thresholds, beside the weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from strided.decision.decision import Decision
from strided.errors import UserError
from strided.system.durable import put, sync_folder

_KEY = "decision"


def stored_decision(saved: Mapping[str, Any], file: Path, classes: int) -> Decision | None:
    """The decision among what strided saved; None in an older checkpoint. Raises UserError."""
    data = saved.get(_KEY)
    if data is None:
        return None
    try:
        return Decision.from_dict(data, classes)
    except ValueError as error:
        raise UserError(
            f"{file} cannot be used: {error}; expected a checkpoint as strided wrote it. Try "
            "another copy of it"
        ) from error


def store_decision(file: Path, decision: Decision | None) -> None:
    """Put the decision into a checkpoint, in place of the one in it; the file is always whole."""
    data = decision.to_dict() if decision else None
    checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    if checkpoint["strided"].get(_KEY) == data:
        return
    checkpoint["strided"][_KEY] = data
    unfinished = file.with_suffix(".tmp")
    torch.save(checkpoint, unfinished)
    put(unfinished, file)
    sync_folder(file.parent)
