"""trainer.deterministic: what torch cannot do on a GPU is replaced, or refused at the start."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from strided.cli import main
from strided.models.building import build_model
from strided.training.determinism import DeterministicPooling

pytestmark = pytest.mark.usefixtures("blank_figures")

Train = Callable[..., Path]
TORCHVISION = "strided.models.torchvision_model"

# whose gradient torch.use_deterministic_algorithms says that it refuses on CUDA
REFUSED = (
    *("AdaptiveAvgPool", "AdaptiveMaxPool", "AvgPool3D", "FractionalMaxPool", "GridSampler"),
    *("MaxUnpool", "NllLoss2D", "Put", "ReflectionPad", "Upsample"),
)


def operations(output: Tensor) -> set[str]:
    """The names of all operations that a backward pass would differentiate."""
    waiting, seen = [output.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [inner for inner, _ in node.next_functions]
    return {node.name() for node in seen}


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("side", "given"), [(6, 6), (14, 7), (14, 4), (1, 7), (5, 7), (13, (6, None)), (9, 1)]
)
def test_deterministic_pooling_is_adaptive_pooling(
    side: int, given: int | tuple[int | None, ...], memory_format: torch.memory_format
) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, side, side).to(memory_format=memory_format)
    pool, found = nn.AdaptiveAvgPool2d(given), []
    for mode in (DeterministicPooling("cuda"), DeterministicPooling("cpu")):
        own = maps.clone().requires_grad_()
        with mode:
            pooled = pool(own)
        (pooled * torch.arange(pooled.numel()).view_as(pooled)).sum().backward()
        found.append((pooled.detach(), own.grad))
    (theirs, their_gradient), (ours, our_gradient) = found
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(our_gradient, their_gradient)
    if isinstance(given, int) and side % given == 0:
        assert torch.equal(ours, theirs)
    with DeterministicPooling("cpu"), torch.inference_mode():  # as eval, to the bit
        assert torch.equal(pool(maps), theirs)


@pytest.mark.parametrize(
    ("name", "size"), [("alexnet", 224), ("alexnet", 256), ("vgg11", 64), ("googlenet", 224)]
)
def test_networks_with_adaptive_pooling_have_only_deterministic_gradients(
    name: str, size: int
) -> None:
    with torch.device("meta"):
        config = {"_target_": TORCHVISION, "name": name, "stem": "imagenet"}
        net = build_model(config, num_classes=10, in_channels=3, image_size=size).train()
        for mode, wrong in (
            (DeterministicPooling("cuda"), {"AdaptiveAvgPool2DBackward0"}),
            (DeterministicPooling("meta"), set()),
        ):
            with mode:
                logits = net(torch.zeros(2, 3, size, size))
            outputs = [logits, *getattr(net, "auxiliary_logits", ())]
            names = set().union(*map(operations, outputs))
            assert {each for each in names if each.startswith(REFUSED)} == wrong


def test_what_deterministic_runs_switch_is_switched_back(run_train: Train) -> None:
    before = torch.backends.cudnn.benchmark
    run_train("trainer.deterministic=true", "trainer.limit_train_batches=1", "model=mlp")
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.benchmark == before
    assert "AdaptiveAvgPool" in "".join(operations(_pooled()))


def _pooled() -> Tensor:
    return F.adaptive_avg_pool2d(torch.zeros(1, 1, 4, 4, requires_grad=True), 2)


NETWORK = """
import torch
from torch import nn

class Putting(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits):
        return logits.clone()

    @staticmethod
    def backward(ctx, gradient):
        return torch.zeros_like(gradient).put_(torch.arange(gradient.numel()), gradient.flatten())

class Net(nn.Module):
    def __init__(self, num_classes: int, in_channels: int, image_size: int) -> None:
        super().__init__()
        self.output = nn.Linear(in_channels * image_size**2, num_classes)

    def forward(self, images):
        return Putting.apply(self.output(images.flatten(1)))
"""
OWN = ("trust=[putting]", "model=mlp", "model._target_=putting.Net", "~model.hidden")


@pytest.mark.filterwarnings("ignore:put_ does not have a deterministic implementation")
def test_what_torch_cannot_do_deterministically_is_refused_before_the_first_epoch(
    log_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "putting.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    words = [*OWN, "~model.dropout", "trainer=cpu", "trainer.max_epochs=1", f"log_dir={log_dir}"]
    assert main(["train", *words, "trainer.deterministic=true"]) == 1
    said = capsys.readouterr()
    assert "no deterministic form of put_" in said.err and "trainer.deterministic=warn" in said.err
    assert "epoch 0" not in said.out
    assert main(["train", *words, "trainer.deterministic=warn"]) == 0
