"""The device that a network runs on: choosing it, sending to it, how exactly it multiplies."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

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
        chosen = torch.device(gpu if device == "gpu" else device)  # type: ignore[arg-type]
    except (RuntimeError, TypeError) as error:
        raise UserError(f"{key}={device}; expected auto, cpu or gpu. Try {key}=cpu") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"{key}={device}, but torch sees {torch.cuda.device_count()} GPUs of NVIDIA or AMD "
            f"here; expected one of those. Try {key}=cpu"
        )
    return chosen


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor on a device; the program goes on while a GPU copies it.

    A GPU copies pinned memory by itself. It could not fetch other memory until its earlier work is
    done, and the program would wait for that.
    """
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def free_bytes(device: torch.device) -> int | None:
    """Return the bytes that a process can still take on an NVIDIA or AMD GPU, else None.

    They are what the driver has left, and what torch holds here without using it.
    """
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + unused)


def fix_cublas_workspace() -> None:
    """Give cuBLAS, in each process, the workspace with which its products are the same.

    It is read once, at the first product on a GPU. Without it eval could round otherwise than the
    test of a run. What was set before stays.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished its work, which it does while Python continues."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


FLOAT32_PRODUCTS = ("highest", "high", "medium")


@contextmanager
def float32_products(precision: str | None, device: torch.device) -> Iterator[None]:
    """On an NVIDIA GPU, multiply float32 values as `precision` says: in layers and convolutions.

    `highest` is exact. `high` and `medium` use TF32, which has 10 bits of mantissa in place of 23.
    None leaves torch's settings: by default its convolutions use TF32, and its linear layers do not
    (torch.set_float32_matmul_precision reaches only these).
    """
    if precision is None or device.type != "cuda":
        yield
        return
    products, convolutions = torch.get_float32_matmul_precision(), tf32_convolutions()
    torch.set_float32_matmul_precision(precision)
    torch.backends.cudnn.allow_tf32 = precision != "highest"
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


def tf32_convolutions() -> bool:
    """Whether cuDNN may use TF32.

    `allow_tf32` can always be set, but reading it raises an error if a script has set
    `fp32_precision`, its successor.
    """
    convolutions = torch.backends.cudnn.conv  # type: ignore[attr-defined]  # set at import
    return bool(convolutions.fp32_precision == "tf32")
