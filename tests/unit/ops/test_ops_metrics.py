"""Metrics: plain numbers in, Prometheus families out."""

from __future__ import annotations

import asyncio
import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics import parser as openmetrics

from protocol.ops import metrics
from protocol.ops.metrics import Histogram, LoopLag
from protocol.ops.version import Build


def test_histogram_buckets_hold_their_bound() -> None:
    histogram = Histogram((0.1, 1.0))
    for value in (0.05, 0.1, 0.11, 1.0, 7.0):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == pytest.approx(8.26)
    assert histogram.buckets() == [("0.1", 2, None), ("1.0", 4, None), ("+Inf", 5, None)]


@given(st.lists(st.floats(min_value=0, max_value=1e6)))
def test_histogram_counts_everything_once(values: list[float]) -> None:
    histogram = Histogram()
    for value in values:
        histogram.observe(value)
    assert sum(histogram.counts) == len(values)
    for bound, count in zip(histogram.bounds, histogram.buckets(), strict=False):
        assert count[1] == sum(value <= bound for value in values)


def test_families_are_read_at_the_scrape_only() -> None:
    registry = CollectorRegistry()
    state = {"requests": 0, "asked": 0}
    histogram = Histogram((1.0,))

    def families() -> object:
        state["asked"] += 1
        yield metrics.counter("t_requests", "Requests", "service")({("visits",): state["requests"]})
        yield metrics.gauge("t_sessions", "Sessions").one(2)
        yield metrics.histogram("t_seconds", "Time", "service")({("visits",): histogram})

    metrics.register(registry, families)  # type: ignore[arg-type]
    assert state["asked"] == 0
    state["requests"] = 7
    histogram.observe(0.5)
    text = generate_latest(registry).decode()
    for line in (
        't_requests_total{service="visits"} 7.0',
        "t_sessions 2.0",
        't_seconds_bucket{le="+Inf",service="visits"} 1.0',
        't_seconds_sum{service="visits"} 0.5',
    ):
        assert line in text.splitlines()


@pytest.mark.parametrize("accept", ["", "application/openmetrics-text; version=1.0.0"])
async def test_the_families_shown_in_turn_are_those_shown_at_once(accept: str) -> None:
    registry = CollectorRegistry()
    histogram = Histogram((1.0,))
    histogram.observe(0.5)
    histogram.name(0.5, "0af7651916cd43dd8448eb211c80319c")
    turns: list[str] = []

    def families() -> object:
        for number in range(3):
            turns.append(f"family {number}")
            yield metrics.histogram(f"t{number}_seconds", "Time", "service")({("visits",): histogram})
        yield metrics.counter("t_empty", "Nothing", "service")({})
        yield metrics.gauge("t_many", "Many", "service")({(str(n),): n for n in range(2 * metrics.PIECE + 1)})

    metrics.register(registry, families)  # type: ignore[arg-type]
    encode, _ = choose_encoder(accept)
    at_once = encode(registry)
    turns.clear()
    asyncio.get_running_loop().call_soon(turns.append, "other work")
    parts = [part async for part in metrics.exposition(registry, encode)]
    assert b"".join(parts) == at_once
    assert turns.index("other work") == 1, "it waited for one family only"
    assert max(part.count(b"\n") for part in parts) <= metrics.PIECE + 2
    if accept:
        assert len(list(openmetrics.text_string_to_metric_families(at_once.decode()))) == 5


async def test_loop_lag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoopLag, "EVERY", 0.01)
    lag = LoopLag(asyncio.get_running_loop())
    time.sleep(0.05)  # noqa: ASYNC251 - what the gauge is there to show
    while not lag.last:  # noqa: ASYNC110
        await asyncio.sleep(0)
    assert lag.worst >= lag.last >= 0.03
    lag.stop()
    registry = CollectorRegistry()
    metrics.register_process(registry, Build("1.2", "abcdef0", "3.11"), lag, lambda: 7)
    found = {family.name: family.samples for family in registry.collect()}
    assert found["tunnel_build_info"][0].labels == {"version": "1.2", "revision": "abcdef0", "python": "3.11"}
    assert found["tunnel_loop_lag_worst_seconds"][0].value == lag.worst
    assert found["tunnel_asyncio_tasks"][0].value == len(asyncio.all_tasks()) > 0
    assert found["process_resident_memory_bytes"][0].value > 1_000_000
    assert found["process_open_fds"][0].value > 0
    assert found["tunnel_unexpected_errors"][0].value == 7


async def test_worst_lag_is_forgotten_after_two_periods(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LoopLag, "PERIOD", 2)
    lag = LoopLag(asyncio.get_running_loop())
    lag.stop()
    worst = []
    for late in (5.0, 0.0, 0.0, 0.0, 0.0, 0.0):
        lag._due = asyncio.get_running_loop().time() - late
        lag._measure()
        lag.stop()
        worst.append(round(lag.worst))
    assert worst == [5, 5, 5, 0, 0, 0]


def test_default_bounds_rise() -> None:
    assert list(metrics.SECONDS) == sorted(set(metrics.SECONDS))
    assert math.isfinite(metrics.SECONDS[-1])
