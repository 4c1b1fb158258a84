"""What the server counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from protscribe.records import Failure, Prediction
from protscribe.serving.batching import Batcher, Round

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
PROTEINS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE")


class Metrics:
    """Counters, histograms and gauges of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "protscribe_requests", "Requests answered.", ("path", "method", "status"), registry=registry
        )
        self._latency = Histogram(
            "protscribe_request_seconds", "Seconds from the head of a request to the end of its response.",
            ("path",), buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self._batch = Histogram(
            "protscribe_batch_proteins", "Proteins answered together.", buckets=PROTEINS, registry=registry
        )
        self._batch_seconds = Histogram(
            "protscribe_batch_seconds",
            "Seconds the model took for a batch.",
            buckets=SECONDS,
            registry=registry,
        )
        self._wait = Histogram(
            "protscribe_wait_seconds", "Seconds the first protein of a batch had waited.", buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self._dropped = Counter(
            "protscribe_dropped_proteins", "Proteins whose client left before they were answered.",
            registry=registry,
        )  # fmt: skip
        self._answers = Counter("protscribe_answers", "Answers given.", ("task",), registry=registry)
        self._failures = Counter(
            "protscribe_failures", "Proteins and questions without an answer.", ("code",), registry=registry
        )
        self._waiting = Gauge("protscribe_queue_proteins", "Proteins that wait now.", registry=registry)

    def watch(self, batcher: Batcher) -> None:
        """Tells the length of its queue from now on."""
        self._waiting.set_function(lambda: batcher.waiting)

    def request(self, path: str, method: str, status: int, seconds: float) -> None:
        known = method if method in METHODS else "other"
        self._requests.labels(path, known, str(status)).inc()
        self._latency.labels(path).observe(seconds)

    def batch(self, round: Round) -> None:
        if round.records:
            self._batch.observe(round.records)
            self._batch_seconds.observe(round.seconds)
            self._wait.observe(round.waited)
        self._dropped.inc(round.dropped)

    def told(self, predictions: Iterable[Prediction], failures: Iterable[Failure]) -> None:
        for prediction in predictions:
            self._answers.labels(prediction.task).inc()
        for failure in failures:
            self._failures.labels(failure.code).inc()

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)
