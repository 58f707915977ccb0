"""Metrics that cost the hot path an addition: plain integers there, Prometheus families only when scraped.

    requests = 0; latency = Histogram()            # on the objects of the hot path
    metrics.register(registry, hub.families)       # a function that yields families from them

`counter`, `gauge` and `histogram` build the families; each takes the label names once and then one value for
each tuple of label values.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from protocol.ops.version import Build

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds for durations of exchanges."""

Values = Mapping[tuple[str, ...], float]


class Histogram:
    """Counts by upper bound. Not for use from several threads."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0
        """Sum of everything observed."""

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts under the texts that Prometheus wants, "+Inf" last."""
        return list(zip([*map(repr, self.bounds), "+Inf"], accumulate(self.counts), strict=True))


def counter(name: str, help_text: str, labels: Sequence[str], values: Values) -> CounterMetricFamily:
    """`name` without "_total"."""
    family = CounterMetricFamily(name, help_text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def gauge(name: str, help_text: str, labels: Sequence[str], values: Values) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, help_text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def histogram(
    name: str, help_text: str, labels: Sequence[str], values: Mapping[tuple[str, ...], Histogram]
) -> HistogramMetricFamily:
    family = HistogramMetricFamily(name, help_text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value.buckets(), value.total)
    return family


class _Families(Collector):
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()

    def describe(self) -> Iterable[Metric]:
        # Nothing is known before the first scrape; the registry must not call `collect` to find out.
        return ()


def register(registry: CollectorRegistry, families: Callable[[], Iterable[Metric]]) -> None:
    """Ask `families()` at every scrape. It runs in the event loop, so it must not block."""
    registry.register(_Families(families))


class LoopLag:
    """How late the event loop comes to what is due: what every request waits for. Call `stop` at the end."""

    EVERY: Final = 0.5
    """Seconds between two measurements."""

    PERIOD: Final = 120
    """Measurements in a minute."""

    __slots__ = ("_count", "_due", "_handle", "_loop", "_previous", "_worst", "last")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.last = 0.0
        """Seconds, at the latest measurement."""
        self._worst = self._previous = 0.0
        self._count = 0
        self._due = loop.time() + self.EVERY
        self._handle = loop.call_at(self._due, self._measure)

    @property
    def worst(self) -> float:
        """Seconds, the worst of this minute and the one before."""
        return max(self._worst, self._previous)

    def stop(self) -> None:
        self._handle.cancel()

    def _measure(self) -> None:
        now = self._loop.time()
        self.last = max(0.0, now - self._due)
        self._worst = max(self._worst, self.last)
        self._count += 1
        if self._count % self.PERIOD == 0:
            self._previous, self._worst = self._worst, 0.0
        self._due = now + self.EVERY
        self._handle = self._loop.call_at(self._due, self._measure)


def register_process(
    registry: CollectorRegistry, build: Build, lag: LoopLag, unexpected: Callable[[], int]
) -> None:
    """Memory, CPU time, open files, garbage collection, build, event-loop lag, and what went wrong unforeseen."""
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    labels = ("version", "revision", "python")
    values = (build.version, build.revision or "unknown", build.python)

    def families() -> Iterable[Metric]:
        yield gauge("tunnel_build_info", "What runs here", labels, {values: 1})
        yield counter("tunnel_unexpected_errors", "Exceptions nobody expected: a fault", (), {(): unexpected()})
        yield gauge("tunnel_asyncio_tasks", "Tasks of the event loop", (), {(): len(asyncio.all_tasks())})
        yield gauge("tunnel_loop_lag_seconds", "How late the event loop was last seen", (), {(): lag.last})
        yield gauge("tunnel_loop_lag_worst_seconds", "The worst of the last minute or two", (), {(): lag.worst})

    register(registry, families)
