"""The first table of a report, of a run on a GPU."""

from typing import Any

from strided.report.key_figures import key_figures

GIB = 2**30
GPU: dict[str, Any] = {
    "count": 1,
    "memory_bytes": 80 * GIB,
    "compute_capability": "9.0",
    "driver": "580.65.06",
    "cuda": "13.0",
    "cudnn": None,
}
USE = {"peak_allocated_bytes": 12 * GIB, "peak_reserved_bytes": 14 * GIB, "utilisation": 0.97}


def shown(**changed: Any) -> str:
    hardware = {"cpu": "a CPU", "accelerator": "an H100", "gpu": GPU}
    results: Any = {"train_seconds": 1.0, "hardware": hardware, "gpu_use": USE, **changed}
    return key_figures(results)


def test_the_gpu_is_described() -> None:
    page = shown()
    assert "an H100" in page and "driver 580.65.06, CUDA 13.0<" in page
    assert "12.0 GiB in use at the peak, 14.0 held, of 80.0; the GPU was at work 97% of" in page


def test_unknown_utilisation_is_left_out() -> None:
    assert "of 80.0<" in shown(gpu_use={**USE, "utilisation": None})


def test_a_run_that_went_on_without_a_gpu_still_shows_what_it_took() -> None:
    page = shown(hardware={"cpu": "a CPU", "accelerator": None, "gpu": None})
    assert "14.0 held; the GPU" in page and "driver" not in page
