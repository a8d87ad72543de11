"""What the server counts, as Prometheus reads it."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters, gauges and times of one server."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("vila_requests", "Requests, by status", ["status"], registry=self.registry)
        self.tokens = Counter("vila_tokens", "Tokens read and written", ["kind"], registry=self.registry)
        self.cancelled = Counter("vila_cancelled", "Requests whose client went away", registry=self.registry)
        self.wait = self._times("vila_wait_seconds", "From the question to the model's first step on it")
        self.first = self._times("vila_time_to_first_token_seconds", "From the question to the reply's first text")
        self.whole = self._times("vila_request_seconds", "From the question to the end of its reply")

    def gauge(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Have a value asked for whenever somebody looks."""
        Gauge(name, about, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """Return all of them as text."""
        return generate_latest(self.registry)

    def _times(self, name: str, about: str) -> Histogram:
        return Histogram(name, about, buckets=_SECONDS, registry=self.registry)
