"""The device that a network runs on: choosing it by name, and waiting for it."""

import torch

from strided.errors import UserError


def choose_device(device: str, key: str = "accelerator") -> torch.device:
    """Return the device of `auto`, `cpu`, `gpu` or a torch name. Raises UserError naming `key`."""
    gpu = (
        "cuda"
        if torch.cuda.is_available()
        else "mps"
        if torch.backends.mps.is_available()
        else None
    )
    if device == "auto":
        return torch.device(gpu or "cpu")
    if device == "gpu" and gpu is None:
        raise UserError(f"{key}=gpu, but torch sees none here; expected a GPU. Try {key}=cpu")
    try:
        return torch.device(gpu if device == "gpu" else device)  # type: ignore[arg-type]
    except RuntimeError as error:
        raise UserError(f"{key}={device}; expected auto, cpu or gpu. Try {key}=cpu") from error


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished its work, which it does while Python continues."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()
