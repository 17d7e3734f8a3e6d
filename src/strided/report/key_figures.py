"""The first table of a report: size, time and machine of the run."""

from strided.pages.page import table
from strided.runs.results import Gpu, GpuUse, Results, measured


def key_figures(results: Results) -> str:
    """Return time and size of the run as a table."""
    parameters, hardware = results.get("parameters", {}), results.get("hardware", {})
    rows: list[tuple[str, str]] = [("training", f"{results['train_seconds']:.1f} s")]
    if (found := measured(results)) and found.confusion:
        support = [sum(row) for row in found.confusion]
        always = f"{max(support) / max(1, sum(support)):.1%} by naming the largest class always"
        name, once = ("tested", ", once") if found.split == "test" else ("validated", "")
        rows.insert(0, (name, f"{sum(support):,} images{once}; {always}"))
    if results.get("images_per_second"):
        rows.append(("speed", f"{results['images_per_second']:,.0f} images a second in training"))
    if parameters:
        total, trained = parameters["total"], parameters["trainable"]
        some = f", of which the last stage trained {trained:,}" if trained < total else ""
        rows.append(("parameters", f"{total:,}{some}"))
    if "macs" in results:
        rows.append(("arithmetic", f"{results['macs'] / 1e6:,.1f} million multiply-adds an image"))
    if results.get("best_epoch") is not None:
        rows.append(("kept", f"the weights of epoch {results['best_epoch']}, by validation"))
    if hardware:
        rows.append(("on", f"{hardware.get('accelerator') or hardware.get('cpu')}"))
    if "gpu_use" in results:
        rows.append(("GPU memory", gpu_memory(results["gpu_use"], hardware.get("gpu"))))
    if gpu := hardware.get("gpu"):
        rows.append(("GPU software", gpu_software(gpu)))
    return table(["", ""], rows, "the run")


def gpu_memory(use: GpuUse, gpu: Gpu | None) -> str:
    """Return what training took at its peak, and how busy the GPU was if that is known.

    `gpu` is None if the run was continued on a machine without one.
    """
    gib = 2**30
    told = f"{use['peak_allocated_bytes'] / gib:.1f} GiB in use at the peak"
    told += f", {use['peak_reserved_bytes'] / gib:.1f} held"
    if gpu:
        told += f", of {gpu['memory_bytes'] / gib:.1f}"
    if use["utilisation"] is not None:
        told += f"; the GPU was at work {use['utilisation']:.0%} of the time"
    return told


def gpu_software(gpu: Gpu) -> str:
    """Return the versions that a figure may depend on, without those that are not known."""
    names = (("driver", gpu["driver"]), ("CUDA", gpu["cuda"]), ("cuDNN", gpu["cudnn"]))
    return ", ".join(f"{name} {version}" for name, version in names if version)
