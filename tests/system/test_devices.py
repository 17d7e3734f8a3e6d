"""How exactly a GPU multiplies: flags of torch, which any machine can set."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from strided.system.devices import float32_products, tf32_convolutions

CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def flags() -> Iterator[None]:
    """Set torch's flags back to its defaults."""
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True


@pytest.mark.parametrize(
    ("precision", "tf32"), [("highest", False), ("high", True), ("medium", True)]
)
@pytest.mark.parametrize("before", [False, True])
def test_one_key_decides_layers_and_convolutions_and_both_are_set_back(
    precision: str, tf32: bool, before: bool
) -> None:
    torch.backends.cudnn.allow_tf32 = before
    with float32_products(precision, CUDA):
        assert torch.get_float32_matmul_precision() == precision
        assert torch.backends.cuda.matmul.allow_tf32 is tf32
        assert torch.backends.cudnn.allow_tf32 is tf32 is tf32_convolutions()
    assert torch.get_float32_matmul_precision() == "highest"
    assert torch.backends.cudnn.allow_tf32 is before is tf32_convolutions()


def test_none_and_the_cpu_leave_the_flags() -> None:
    torch.backends.cudnn.allow_tf32 = False
    for precision, device in ((None, CUDA), ("high", torch.device("cpu"))):
        with float32_products(precision, device):
            assert torch.get_float32_matmul_precision() == "highest" and not tf32_convolutions()


@pytest.mark.skipif(not hasattr(torch.backends.cudnn, "conv"), reason="torch 2.9 and later")
def test_a_script_may_have_set_the_newer_flags() -> None:
    convolution: Any = vars(type(torch.backends.cudnn))["conv"]
    convolution.fp32_precision = "ieee"  # from now on reading allow_tf32 fails
    with float32_products("high", CUDA):
        assert tf32_convolutions() and torch.backends.cudnn.allow_tf32
    assert not tf32_convolutions()
