"""The settings of a service: conf/serve.yaml, checked."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self, cast

from strided.config.keys import Config, DrainKeys, LimitsKeys, QueueKeys
from strided.dicom.process import Limits
from strided.errors import UserError
from strided.service.protection import Protection
from strided.serving.bundle import Runtime
from strided.system.machine import cores

# each number's least and most value, and one to try
_RANGES: dict[str, tuple[float, float, float]] = {
    "port": (0, 65_535, 8000),
    "sessions": (1, 1024, 2),
    "batch.max": (1, 1024, 8),
    "batch.window_ms": (0, 1000, 2),
    "queue.images": (1, 100_000, 64),
    "queue.deadline_s": (0.1, 3600, 10),
    "limits.body_mb": (0.001, 1024, 25),
    "limits.files": (1, 1000, 16),
    # Pillow warns of a bomb above its MAX_IMAGE_PIXELS, 89,478,485
    "limits.pixels": (1, 89_000_000, 36_000_000),
    "limits.dicom_memory_mb": (64, 65_536, 1024),
    "limits.dicom_seconds": (1, 300, 2),
    "drain.delay_s": (0, 3600, 5),
    "drain.limit_s": (1, 3600, 30),
    "review.keep_hours": (0.0001, 8760, 72),
    "drift.accuracy_floor": (0, 1, 0.9),
}


@dataclass(frozen=True)
class Reviewing:
    """How people decide cases. keep: seconds that a case waits. export: a folder for labels.

    floor: the accuracy on reviewed cases that is too low.
    """

    keep: float
    comments: bool
    export: Path | None
    floor: float | None

    @classmethod
    def of(cls, config: Config) -> Self:
        """Take the values of a checked config."""
        review, export = config["review"], config["review"]["export"]
        return cls(
            keep=review["keep_hours"] * 3600,
            comments=review["comments"],
            export=Path(os.path.expanduser(export)) if export else None,
            floor=config["drift"]["accuracy_floor"],
        )


@dataclass(frozen=True)
class Settings:
    """What a service is started with. Sizes are in bytes, times in seconds.

    `batch` None: what the manifest's latency table shows to be quickest.
    """

    bundle: Path
    host: str
    port: int
    runtime: Runtime
    sessions: int
    batch: int | None
    window: float
    queue_images: int
    deadline: float
    body: int
    files: int
    pixels: int
    dicom: Limits
    drain_delay: float
    drain_limit: float
    protection: Protection
    review: Reviewing

    @classmethod
    def of(cls, config: Config, beside: Path) -> Self:
        """Take the values of a checked config. Raises UserError for one out of its range.

        `beside`: the folder of this service's run folders.
        """
        for key in _RANGES:
            _require_in_range(key, config)
        batch, queue = config["batch"], config["queue"]
        limits, drain = config["limits"], config["drain"]
        sessions, most, pixels = config["sessions"], batch["max"], int(limits["pixels"])
        most_together = None if most == "auto" else most
        _require_fitting(most_together or 1, queue, limits, drain)
        protection = Protection.of(config, beside)
        host = _address(config["host"])
        protection.require_guarded(host, config["behind_proxy"])
        return cls(
            bundle=Path(os.path.expanduser(config["bundle"])),
            host=host,
            port=config["port"],
            runtime=config["runtime"],
            sessions=cores() if sessions == "auto" else sessions,
            batch=most_together,
            window=batch["window_ms"] / 1000,
            queue_images=queue["images"],
            deadline=queue["deadline_s"],
            body=int(limits["body_mb"] * 2**20),
            files=limits["files"],
            pixels=pixels,
            dicom=Limits(pixels, limits["dicom_seconds"], limits["dicom_memory_mb"] * 2**20),
            drain_delay=drain["delay_s"],
            drain_limit=drain["limit_s"],
            protection=protection,
            review=Reviewing.of(config),
        )


def _require_in_range(key: str, config: Config) -> None:
    least, most, example = _RANGES[key]
    group, _, name = key.partition(".")
    value = cast("Mapping[str, Any]", config)[group]
    value = value[name] if name else value
    if value not in ("auto", None) and not least <= value <= most:  # so that NaN fails, too
        raise UserError(f"{key}={value}; expected {least:,} to {most:,}. Try {key}={example}")


def _require_fitting(most: int, queue: QueueKeys, limits: LimitsKeys, drain: DrainKeys) -> None:
    for key, value in (("batch.max", most), ("limits.files", limits["files"])):
        if value > queue["images"]:
            raise UserError(
                f"{key}={value} with queue.images={queue['images']}: so many never wait; expected "
                f"at most as many as the queue holds. Try queue.images={value}"
            )
    if drain["delay_s"] >= drain["limit_s"]:
        raise UserError(
            f"drain.delay_s={drain['delay_s']} with drain.limit_s={drain['limit_s']} leaves no time"
            " to finish what was accepted; expected a limit above the delay. Try "
            f"drain.limit_s={drain['delay_s'] + 30}"
        )


def _address(host: str) -> str:
    """An address to listen on. Raises UserError for a name that could be of several."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        return str(ip_address(host))
    except ValueError:
        raise UserError(
            f"host={host} is no address; expected one of this machine, or 0.0.0.0 for all of them. "
            "Try host=127.0.0.1"
        ) from None
