"""When memory runs out: what was asked for, what there was, and which keys ask for less."""

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from strided.config.keys import Config
from strided.config.networks import label
from strided.config.targets import locate
from strided.errors import UserError
from strided.runs.folder import RunFolder
from strided.runs.results import Results
from strided.system.machine import host_memory

GIB = 2**30
# in the errors of torch's CPU allocator (Linux, Windows), CUDA, cuBLAS, cuDNN and MPS
_REFUSED = re.compile(
    "out of memory|can't allocate memory|not enough memory|bad_alloc|STATUS_ALLOC_FAILED", re.I
)
# of cuDNN's search, which passes over algorithms whose workspace does not fit
_NOTHING_FITS = re.compile("unable to find (an engine|a valid cuDNN algorithm)", re.I)
_ASKED = re.compile(r"(?:to allocate|Unable to allocate) ([\d.]+) ?(bytes|[KMGTPE]i?B)", re.I)


class TooMuchMemoryError(UserError):
    """A run that asks for more memory than there is."""


@contextmanager
def telling_of_memory(
    config: Config, results: Results, folder: Path | None = None
) -> Iterator[None]:
    """Raise TooMuchMemoryError in place of an allocator's error.

    `results`, as far as they are known, tell the size of the images. `folder` is that of a run,
    which may have saved something to go on from.
    """
    try:
        yield
    except TooMuchMemoryError:
        raise
    except Exception as error:
        if (refusal := refusal_in(error)) is None:
            raise
        on_gpu = re.search("cuda|cublas|cudnn", refusal, re.I) is not None
        raise TooMuchMemoryError(
            f"out of memory: {_wanted(config, results)} asked for {_amount(refusal)}, and "
            f"{_gpu_memory() if on_gpu else _host_memory()}; expected a run that fits. "
            f"Try {_less(config, results, on_gpu)}{_saved(folder)}"
        ) from error


def refusal_in(error: BaseException) -> str | None:
    """Return the message of an allocator that refused, if that is behind an error."""
    link: BaseException | None = error
    while link is not None:
        text = str(link)
        if isinstance(link, MemoryError):
            return text or "out of memory"
        if isinstance(link, RuntimeError) and _REFUSED.search(text):
            return text
        if isinstance(link, RuntimeError) and _NOTHING_FITS.search(text) and _gpu_is_full():
            return f"cuDNN: {text}"
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
    return None


def _amount(refusal: str) -> str:
    """How much was refused: `2.30 GiB more`, in the allocator's words."""
    found = _ASKED.search(refusal)
    if found is None:
        return "more"
    amount, unit = found.groups()
    return f"{int(amount) / GIB:,.2f} GiB more" if unit == "bytes" else f"{amount} {unit} more"


def _gpu_memory() -> str:
    import torch

    with suppress(RuntimeError, AssertionError):  # after some errors the GPU answers nothing
        free, total = torch.cuda.mem_get_info()
        held, name = torch.cuda.memory_reserved(), torch.cuda.get_device_name()
        return (
            f"{name} has {total / GIB:.1f} GiB, of which torch held {held / GIB:.1f} here and "
            f"{free / GIB:.1f} are free now"
        )
    return "the GPU has no more"


def _gpu_is_full() -> bool:
    import torch

    with suppress(RuntimeError, AssertionError):  # after some errors the GPU answers nothing
        free, total = torch.cuda.mem_get_info()
        return free < total / 10
    return False


def _host_memory() -> str:
    known = host_memory()
    if known is None:
        return "this machine has no more"
    total, free, limit = (None if part is None else f"{part / GIB:.1f} GiB" for part in known)
    allowed = f", and this process may take {limit} (ulimit -v)" if limit else ""
    return f"this machine has {total}, of which {free} are free now{allowed}"


def _saved(folder: Path | None) -> str:
    if folder is None or not (last := RunFolder(folder).last).is_file():
        return ""
    return (
        f". Once more memory is free, resume={folder} goes on from what was saved; a new run that "
        f"needs less may begin with its weights, model.weights={last}"
    )


def _wanted(config: Config, results: Results) -> str:
    """The network and its batches, as far as they are known."""
    model = config.get("model")
    words = [label(model) if model else f"checkpoint={config.get('checkpoint')}"]
    key, size = _batch(config, results)
    words.append(f"with {key}={size}" if size else "in its batches")
    if shape := results.get("preprocessing"):
        words.append(f"of {shape['channels']}x{shape['image_size']}x{shape['image_size']} images")
    if "trainer" in config:
        words.append(f"in trainer.precision={config['trainer'].get('precision') or '32-true'}")
    return " ".join(words)


def _batch(config: Config, results: Results) -> tuple[str, int | None]:
    """The key of the batch size, and its value: at most the training images; None if unknown."""
    if "batch_size" in config:  # of predict, explain and compare
        return "batch_size", config["batch_size"]
    size: int | None = (config.get("data") or {}).get("batch_size")
    images = results.get("splits", {}).get("train")
    return "data.batch_size", min(size, images) if size and images else size


def _less(config: Config, results: Results, on_gpu: bool) -> str:
    """What asks for less memory in this verb."""
    key, size = _batch(config, results)
    trainer: dict[str, Any] | None = config.get("trainer")
    ways = []
    if size is None:
        ways.append(f"a smaller {key}")
    elif size > 1 and trainer is None:
        ways.append(f"{key}={size // 2}")
    elif size > 1 and trainer is not None:
        every = 2 * (trainer.get("accumulate_grad_batches") or 1)
        same = f"trainer.accumulate_grad_batches={every}"
        ways.append(f"{key}={size // 2} {same} (as many images in a step)")
    if on_gpu and trainer is not None and str(trainer.get("precision") or 32).startswith("32"):
        ways.append("trainer.precision=bf16-mixed")
    if model := config.get("model"):
        if not config.get("checkpoint") and not _takes_one_size(model):
            ways.append("a smaller image_size" if trainer is None else "a smaller data.image_size")
        ways.append("a smaller network")
    if on_gpu and "accelerator" in config:
        ways.append("accelerator=cpu")
    return f"{', '.join(ways[:-1])} or {ways[-1]}" if len(ways) > 1 else "".join(ways)


def _takes_one_size(model: dict[str, Any]) -> bool:
    return getattr(locate(model["_target_"], "model"), "image_size", None) is not None
