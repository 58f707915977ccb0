"""What each service had counted, every STEP seconds: from the differences come rates, percentiles and charts.

Nothing is added on the hot path: the counters that are there are read. A sample of an idle service costs nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from ..failures import is_fault

if TYPE_CHECKING:
    from protocol.aio.wheel import Timer, Wheel

    from ..service import Service

STEP: Final = 5.0
"""Seconds between two samples."""

KEPT: Final = 61
"""Samples kept of each service: charts of five minutes."""

WINDOW: Final = 60.0
"""Seconds that rates, ratios and percentiles are over."""


class Sample(NamedTuple):
    """A service's counters at one moment."""

    at: float
    """The loop's time."""
    requests: int
    errors: int
    bytes_in: int
    bytes_out: int
    latency: tuple[int, ...]
    """Counts by upper bound, as in the service's histogram."""


class Pace(NamedTuple):
    """What the difference of two samples says."""

    seconds: float
    requests: int
    errors: int
    requests_per_second: float
    bytes_in_per_second: float
    bytes_out_per_second: float
    error_ratio: float
    """From 0 to 1; 0 when there was no request."""
    percentiles: tuple[float | None, float | None, float | None]
    """p50, p95 and p99 in seconds, interpolated in their bucket; None when there was no request."""


def read(service: Service, now: float, before: Sample | None = None) -> Sample:
    """The counters now. before: the last sample, whose objects are used again while nothing has changed."""
    latency = tuple(service.latency.counts)
    bytes_in, bytes_out = service.bytes_in, service.bytes_out
    if before is not None and (bytes_in, bytes_out, latency) == before[3:]:
        return before._replace(at=now)
    errors = sum(n for (status, code), n in service.outcomes.items() if is_fault(status, code))
    return Sample(now, sum(latency), errors, bytes_in, bytes_out, latency)


def pace(old: Sample, new: Sample, bounds: Sequence[float]) -> Pace:
    """What happened between two samples."""
    seconds = max(new.at - old.at, 1e-9)
    requests, errors = new.requests - old.requests, new.errors - old.errors
    counts = [b - a for a, b in zip(old.latency, new.latency, strict=True)]
    return Pace(
        new.at - old.at,
        requests,
        errors,
        requests / seconds,
        (new.bytes_in - old.bytes_in) / seconds,
        (new.bytes_out - old.bytes_out) / seconds,
        errors / requests if requests else 0.0,
        (quantile(counts, bounds, 0.5), quantile(counts, bounds, 0.95), quantile(counts, bounds, 0.99)),
    )


def quantile(counts: Sequence[int], bounds: Sequence[float], share: float) -> float | None:
    """Seconds below which `share` of the observations lie, as Prometheus' histogram_quantile would say."""
    total = sum(counts)
    if not total:
        return None
    rank, seen = share * total, 0
    for index, count in enumerate(counts):
        if count and seen + count >= rank:
            if index >= len(bounds):
                return bounds[-1]
            low = bounds[index - 1] if index else 0.0
            return low + (bounds[index] - low) * (rank - seen) / count
        seen += count
    return bounds[-1]


class Sampler:
    """Keeps the samples of every service. `start` once, `stop` at the end."""

    def __init__(self, services: Callable[[], Mapping[str, Service]], clock: Callable[[], float]) -> None:
        self._services = services
        self._clock = clock
        self._rings: dict[str, deque[Sample]] = {}
        self._wheel: Wheel | None = None
        self._timer: Timer | None = None

    def start(self, wheel: Wheel) -> None:
        self._wheel = wheel
        self._tick()

    def stop(self) -> None:
        """Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def sample(self) -> None:
        """Take one sample of each service now, and forget services that are gone."""
        now = self._clock()
        services = self._services()
        for name in [name for name in self._rings if name not in services]:
            del self._rings[name]
        for name, service in services.items():
            ring = self._rings.get(name)
            if ring is None:
                ring = self._rings[name] = deque(maxlen=KEPT)
            ring.append(read(service, now, ring[-1] if ring else None))

    def pace(self, service: Service) -> Pace:
        """Over the last WINDOW seconds, or since the service is there."""
        now = self._clock()
        new = read(service, now)
        ring = self._rings.get(service.name)
        if not ring:
            return pace(new, new, service.latency.bounds)
        index = bisect_right(ring, now - WINDOW, key=lambda each: each.at)
        old = ring[max(index - 1, 0)]
        if new.requests < old.requests:  # removed and added again: it counts from zero
            old = new
        return pace(old, new, service.latency.bounds)

    def now(self, service: Service) -> Sample:
        """Its counters at this moment."""
        return read(service, self._clock())

    def course(self, service: Service) -> list[Pace]:
        """One after the other between the samples that are kept, the latest last."""
        ring = self._rings.get(service.name, ())
        return [
            pace(old, new, service.latency.bounds) for old, new in pairwise(ring) if new.requests >= old.requests
        ]

    def _tick(self) -> None:
        assert self._wheel is not None
        self.sample()
        self._timer = self._wheel.after(STEP, self._tick)
