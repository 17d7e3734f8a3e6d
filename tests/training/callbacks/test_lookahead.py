from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from strided.errors import UserError
from strided.training import Lookahead


def values_seen(callback: Lookahead, fast: list[float], at: int = 0) -> list[float]:
    """A network of one weight takes these values in optimizer steps; what it holds after each."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    task: Any = SimpleNamespace(model=net, stage={"step": at})
    trainer: Any = SimpleNamespace(
        global_step=at, estimated_stepping_batches=at + len(fast), callbacks=[]
    )
    callback.on_train_start(trainer, task)
    found = []
    for value in fast:
        nn.init.constant_(net.weight, value)
        trainer.global_step += 1
        callback.on_train_batch_end(trainer, task)
        found.append(net.weight.item())
    return found


def test_every_second_step_goes_half_of_the_way_and_the_end_is_the_slow_weight() -> None:
    # slow: 0, then half of the way to 4, then to 6
    found = values_seen(Lookahead(steps=2), [9.0, 4.0, 9.0, 6.0, 9.0])
    assert found == [9.0, 2.0, 9.0, 4.0, 4.0]


def test_the_kept_share_rises_with_the_run() -> None:
    # kept: 0.8 * (1/4) ** 1, ... of 0, 10, 10
    found = values_seen(Lookahead(steps=1, keep=0.8, rise=1), [10.0, 10.0, 20.0, 0.0], at=7)
    assert found == pytest.approx([8.0, 0.4 * 8 + 6.0, 0.6 * 9.2 + 8.0, 0.6 * 9.2 + 8.0])


def test_statistics_move_along_and_counts_do_not() -> None:
    net: Any = nn.BatchNorm1d(1)
    task: Any = SimpleNamespace(model=net, stage={"step": 0})
    trainer: Any = SimpleNamespace(global_step=0, estimated_stepping_batches=9, callbacks=[])
    callback = Lookahead(steps=1)
    callback.on_train_start(trainer, task)
    net(torch.tensor([[1.0], [3.0]]))  # a running mean of 0.2
    trainer.global_step = 1
    callback.on_train_batch_end(trainer, task)
    found = {name: value.item() for name, value in net.named_buffers()}
    assert found["running_mean"] == pytest.approx(0.1) and found["num_batches_tracked"] == 1


def test_a_run_without_an_end_has_no_share_that_rises() -> None:
    task: Any = SimpleNamespace(model=nn.Linear(1, 1), stage={"step": 0})
    trainer: Any = SimpleNamespace(
        global_step=0, estimated_stepping_batches=float("inf"), callbacks=[]
    )
    with pytest.raises(UserError, match=r"lookahead\.rise=1.*max_epochs=-1.*expected.*Try"):
        Lookahead(steps=5, rise=1).on_train_start(trainer, task)


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"steps": 5, "keep": 1.0}, {"steps": 5, "rise": -1}]
)
def test_impossible_values_name_their_key(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"callbacks\.lookahead\..*expected.*Try"):
        Lookahead(**options)
