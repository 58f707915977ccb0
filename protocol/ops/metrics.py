"""Metrics that cost the hot path an addition: plain integers there, Prometheus families only when scraped.

    requests = 0; latency = Histogram()                         # on the objects of the hot path
    REQUESTS = counter("tunnel_x_requests", "…", "service")     # a table of what is shown: docs/metrics.md
    metrics.register(registry, x.families)                      # yields REQUESTS({("visits",): requests}), …

A family is called with one value for each tuple of label values.
"""

from __future__ import annotations

import asyncio
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, Literal, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Timestamp

from protocol.ops.version import Build

SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds for durations of exchanges."""

COARSE: Final = (0.005, 0.025, 0.1, 0.5, 2.5, 10.0)
"""The same where there are many histograms."""


PIECE: Final = 250
"""Samples written without other work between: 1 to 2 ms."""


class Histogram:
    """Counts by upper bound. Not for use from several threads."""

    __slots__ = ("bounds", "counts", "exemplars", "total")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0
        """Sum of everything observed."""
        self.exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def name(self, value: float, trace_id: str) -> None:
        """Let a value that was observed stand for its bucket: OpenMetrics shows the trace to look at."""
        at = bisect_left(self.bounds, value)
        self.exemplars[at] = Exemplar({"trace_id": trace_id}, value, Timestamp(time.time(), 0))

    def buckets(self) -> list[tuple[str, float, Exemplar | None]]:
        """Cumulative counts under the texts that Prometheus wants, "+Inf" last."""
        bounds = [*map(repr, self.bounds), "+Inf"]
        exemplars = map(self.exemplars.get, range(len(bounds)))
        return list(zip(bounds, accumulate(self.counts), exemplars, strict=True))


class Family(NamedTuple):
    """One family of samples, as /metrics shows it and docs/metrics.md explains it. Call it for a scrape."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str
    """Without the "_total" of a counter."""
    help: str
    labels: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The name that queries use."""
        return f"{self.name}_total" if self.kind == "counter" else self.name

    def __call__(self, values: Mapping[tuple[str, ...], Any]) -> Metric:
        """values: numbers, `Histogram`s for a histogram, by the values of the labels."""
        if self.kind == "histogram":
            histograms = HistogramMetricFamily(self.name, self.help, labels=self.labels)
            for key, value in values.items():
                histograms.add_metric(key, value.buckets(), value.total)
            return histograms
        make = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        family = make(self.name, self.help, labels=self.labels)
        for key, value in values.items():
            family.add_metric(key, value)
        return family

    def one(self, value: float) -> Metric:
        """Without labels."""
        return self({(): value})


def counter(name: str, help_text: str, *labels: str) -> Family:
    """`name` without "_total"."""
    return Family("counter", name, help_text, labels)


def gauge(name: str, help_text: str, *labels: str) -> Family:
    return Family("gauge", name, help_text, labels)


def histogram(name: str, help_text: str, *labels: str) -> Family:
    return Family("histogram", name, help_text, labels)


class _Families(Collector):
    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()

    def describe(self) -> Iterable[Metric]:
        # Nothing is known before the first scrape; the registry must not call `collect` to find out.
        return ()


def register(registry: CollectorRegistry, families: Callable[[], Iterable[Metric]]) -> None:
    """Ask `families()` at every scrape. It runs in the event loop, with turns of the loop between two families:
    it must not block, nor go on with an iteration where it stood before a `yield`.
    """
    registry.register(_Families(families))


class _Alone(Collector):
    """A registry of one family, as the encoders want it."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> Iterable[Metric]:
        yield self._family


async def exposition(
    registry: CollectorRegistry, encode: Callable[[Any], bytes], end: bytes = b"# EOF\n"
) -> AsyncIterator[bytes]:
    """All families piece by piece, so that requests wait for one `PIECE` at most, not for the whole.

    encode: one of prometheus_client's; `end`: what it writes behind everything, if it does.
    """
    ended = False
    for family in registry.collect():
        samples = family.samples
        for start in range(0, len(samples) or 1, PIECE):
            family.samples = samples[start : start + PIECE]
            data = encode(_Alone(family))
            ended = data.endswith(end)
            if start:
                _, _, data = data.split(b"\n", 2)  # HELP and TYPE stand before the first piece only
            yield data.removesuffix(end)
            await asyncio.sleep(0)
    if ended:
        yield end


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


BUILD: Final = gauge("tunnel_build_info", "What runs here", "version", "revision", "python")
UNEXPECTED: Final = counter("tunnel_unexpected_errors", "Exceptions nobody expected: a fault")
TASKS: Final = gauge("tunnel_asyncio_tasks", "Tasks of the event loop")
LAG: Final = gauge("tunnel_loop_lag_seconds", "How late the event loop was last seen")
LAG_WORST: Final = gauge("tunnel_loop_lag_worst_seconds", "The worst of the last minute or two")
EXPIRES: Final = gauge(
    "tunnel_expires_timestamp_seconds",
    "When a certificate of the configuration ends, or one or a client token that a caller showed",
    "what",
)
SPANS: Final = counter("tunnel_trace_spans", "Spans by what became of them", "outcome")
SPANS_SKIPPED: Final = counter(
    "tunnel_trace_requests_skipped", "Requests not recorded because of tracing.per_second"
)

FAMILIES: Final = (BUILD, UNEXPECTED, TASKS, LAG, LAG_WORST, EXPIRES, SPANS, SPANS_SKIPPED)
"""What both programs show; `EXPIRES` is theirs to yield, the last two are the tracer's, where there is one."""


def register_process(
    registry: CollectorRegistry, build: Build, lag: LoopLag, unexpected: Callable[[], int]
) -> None:
    """Memory, CPU time, open files, garbage collection, build, event-loop lag, and what went wrong unforeseen."""
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)

    def families() -> Iterable[Metric]:
        yield BUILD({(build.version, build.revision or "unknown", build.python): 1})
        yield UNEXPECTED.one(unexpected())
        yield TASKS.one(len(asyncio.all_tasks()))
        yield LAG.one(lag.last)
        yield LAG_WORST.one(lag.worst)

    register(registry, families)
