"""Where the time of training goes: Lightning's actions, summed up in a sentence."""

import time
from collections import defaultdict
from collections.abc import Mapping

import torch
from lightning.pytorch.profilers import Profiler

from strided.system.devices import synchronise

# Lightning's names of each action, by their endings
ACTIONS = {
    "waiting for data": (".train_dataloader_next",),
    "transfer and augmentation": (
        ".on_before_batch_transfer",
        ".batch_to_device",
        ".transfer_batch_to_device",
        ".on_after_batch_transfer",
    ),
    "arithmetic": (".training_step", ".optimizer_zero_grad", ".backward", ".optimizer_step"),
}
_FAR = 0.3  # of the peak: arithmetic does not bound a network that alone has less
REST = "everything else"  # Lightning, callbacks, progress


class ActionTimes(Profiler):
    """Seconds in the actions of training batches, without the time of actions inside them.

    It counts from the start of the second epoch to its last batch, later epochs included, as
    `EpochRecorder.images_per_second` does. On a GPU each action waits for the work it started.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.seconds: dict[str, float] = defaultdict(float)
        self.total = 0.0
        self._open: list[tuple[str | None, float, float]] = []  # kind, start, seconds inside it
        self._training = False  # whether the current batch is a training batch
        self._epochs = 0
        self._mark = 0.0

    def start(self, action_name: str) -> None:
        """Record that Lightning begins an action."""
        kind = self._kind(action_name)
        if kind is not None:
            synchronise(self.device)
        if action_name.endswith("EpochRecorder.on_train_epoch_start"):
            self._epochs += 1
            if self._epochs <= 2:
                self.seconds.clear()
                self.total = 0.0
            self._mark = time.perf_counter()
        self._open.append((kind, time.perf_counter(), 0.0))

    def stop(self, action_name: str) -> None:
        """Record that Lightning has ended the action that began last."""
        kind, start, inside = self._open.pop()
        if kind is not None:
            synchronise(self.device)
        now = time.perf_counter()
        if kind is not None and self._training:
            self.seconds[kind] += now - start - inside
        if self._open:
            outer, began, known = self._open[-1]
            self._open[-1] = (outer, began, known + now - start)
        if action_name.endswith("EpochRecorder.on_train_batch_end"):
            self.total += now - self._mark
            self._mark = now

    def _kind(self, action_name: str) -> str | None:
        if action_name.endswith("_next"):
            self._training = action_name.endswith(".train_dataloader_next")
        return next((kind for kind, ends in ACTIONS.items() if action_name.endswith(ends)), None)

    def shares(self) -> dict[str, float]:
        """Each kind's share of the time, and the share of everything else; they sum to 1."""
        shares = {kind: self.seconds[kind] / self.total for kind in ACTIONS}
        return {**shares, REST: 1 - sum(shares.values())}


def bound(shares: dict[str, float], of_ceiling: str) -> str:
    """Say in a sentence what training waits for most, and how far from its ceiling it is.

    of_ceiling: such as `81 % (77 to 85)`; `-` if it is not known.
    """
    most = max(shares, key=shares.__getitem__)
    listed = ", ".join(f"{kind} {100 * share:.0f} %" for kind, share in shares.items())
    far = "" if of_ceiling == "-" else f"{of_ceiling} of its ceiling; "
    return f"bound by {most}: {far}of the time {listed}"


def against_peak(of_peak: Mapping[str, float], peak: float, threads: int) -> str:
    """Say how far training, and its network alone, are from the fastest matrix product here.

    `of_peak` has their shares of `peak`, FLOPs a second; it is empty if these have no spread.
    """
    fastest = f"{peak / 1e12:.3g} TFLOP/s, {threads} thread{'s' if threads > 1 else ''}"
    if not of_peak:
        return f"a large matrix product here: {fastest}"
    found = (
        f"{100 * of_peak['strided']:.0f} % of the arithmetic of a large matrix product here "
        f"({fastest})"
    )
    if of_peak["ceiling"] >= _FAR:
        return found
    return (
        f"{found}, its network alone {100 * of_peak['ceiling']:.0f} %: small layers wait for "
        "memory and for the start of each operation"
    )
