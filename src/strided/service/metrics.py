"""What Prometheus reads: counts and times, with closed sets of labels."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from strided.service.schema import Model

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The counters of a service. No label holds what a client sends."""

    def __init__(self) -> None:
        disable_created_metrics()
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "strided_requests", "Answered requests", ["route", "code"], registry=registry
        )
        self.images = Counter(
            "strided_images", "Predictions", ["route_of_triage", "class"], registry=registry
        )
        self.rejected = Counter(
            "strided_rejected",
            "Requests, and files of a request with others, without a prediction",
            ["reason"],
            registry=registry,
        )
        self.queue_images = Gauge(
            "strided_queue_images", "Images accepted and not yet answered", registry=registry
        )
        self.inflight = Gauge("strided_inflight", "Requests at work", registry=registry)
        self.batch_size = Histogram(
            "strided_batch_size", "Images of a run", buckets=_SIZES, registry=registry
        )
        self.stage_seconds = Histogram(
            "strided_stage_seconds",
            "Seconds of an image in each stage, and of a predicted request in all",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._model = Gauge(
            "strided_model_info",
            "The version that answers",
            ["name", "version", "sha256"],
            registry=registry,
        )

        self._accuracy = Gauge(
            "strided_reviewed_accuracy",
            "Share of reviewed cases in which the version that answers was right, a biased sample",
            ["version"],
            registry=registry,
        )
        self._reviewed = Gauge("strided_reviewed_cases", "Of that share", registry=registry)
        self._alarm = Gauge(
            "strided_accuracy_alarm", "1: it is below drift.accuracy_floor", registry=registry
        )

    def show_feedback(
        self, version: int, accuracy: float | None, reviewed: int, alarm: bool
    ) -> None:
        """Show what people have said of a version; no accuracy without a case."""
        self._accuracy.clear()
        if accuracy is not None:
            self._accuracy.labels(str(version)).set(accuracy)
        self._reviewed.set(reviewed)
        self._alarm.set(alarm)

    def show_model(self, model: Model) -> None:
        """Name the version that answers."""
        self._model.clear()
        self._model.labels(**model.model_dump()).set(1)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
