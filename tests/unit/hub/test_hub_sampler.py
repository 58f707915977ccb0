"""Rates, ratios and percentiles out of counters that only ever rise."""

from __future__ import annotations

import pytest

from protocol.aio.wheel import Wheel
from protocol.ops.metrics import SECONDS
from tests.unit.hub.rig import SETTINGS
from tests.unit.ingress.scripted import Clock
from tunnel_hub.callers import Callers
from tunnel_hub.console.charts import chart
from tunnel_hub.console.sampler import KEPT, STEP, WINDOW, Sampler, quantile
from tunnel_hub.service import Service


class Desk:
    """A service, its sampler, and a clock."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.service = Service("visits", SETTINGS, Callers())
        self.services = {"visits": self.service}
        self.sampler = Sampler(lambda: self.services, self.clock.time)
        self.sampler.start(Wheel(self.clock))  # type: ignore[arg-type]

    def requests(self, number: int, status: int = 200, code: str = "", seconds: float = 0.004) -> None:
        self.service.outcomes[status, code] += number
        self.service.bytes_out += 10 * number
        for _ in range(number):
            self.service.latency.observe(seconds)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def test_nothing_yet(desk: Desk) -> None:
    found = desk.sampler.pace(desk.service)
    assert (found.requests, found.requests_per_second, found.error_ratio) == (0, 0, 0)
    assert found.percentiles == (None, None, None)
    assert chart(desk.sampler.course(desk.service)).requests.line == ""


def test_since_the_start_while_there_is_no_minute(desk: Desk) -> None:
    desk.clock.advance(10)
    desk.requests(30)
    found = desk.sampler.pace(desk.service)
    assert found.seconds == pytest.approx(10, abs=0.1)
    assert found.requests == 30
    assert found.requests_per_second == pytest.approx(3, rel=0.02)
    assert found.bytes_out_per_second == pytest.approx(30, rel=0.02)


def test_over_the_last_minute(desk: Desk) -> None:
    desk.requests(1000)
    desk.clock.advance(WINDOW + 2 * STEP)
    assert desk.sampler.pace(desk.service).requests == 0
    desk.requests(6)
    found = desk.sampler.pace(desk.service)
    assert found.requests == 6
    assert WINDOW <= found.seconds <= WINDOW + STEP + 0.1
    assert desk.sampler.now(desk.service).requests == 1006


@pytest.mark.parametrize(
    ("status", "code", "wrong"),
    [
        (200, "", False),
        (404, "", False),
        (401, "unauthenticated", False),
        (499, "caller_gone", False),
        (500, "", True),
        (503, "no_session", True),
        (200, "upstream_truncated", True),
        (101, "session_lost", True),
    ],
)
def test_what_is_an_error(desk: Desk, status: int, code: str, wrong: bool) -> None:
    desk.clock.advance(1)
    desk.requests(3)
    desk.requests(1, status, code)
    assert desk.sampler.pace(desk.service).error_ratio == (0.25 if wrong else 0)


def test_percentiles(desk: Desk) -> None:
    desk.clock.advance(1)
    desk.requests(90, seconds=0.004)
    desk.requests(9, seconds=0.2)
    desk.requests(1, seconds=60)
    p50, p95, p99 = desk.sampler.pace(desk.service).percentiles
    assert p50 is not None
    assert 0.0025 < p50 <= 0.005
    assert p95 is not None
    assert 0.1 < p95 <= 0.25
    assert p99 is not None
    assert 0.1 < p99 <= 0.25


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ([0] * 15, 0.5, None),
        ([10] + [0] * 14, 0.5, 0.0005),
        ([0, 10] + [0] * 13, 1.0, 0.0025),
        ([0] * 14 + [1], 0.5, 30.0),
        ([5, 5] + [0] * 13, 0.5, 0.001),
    ],
    ids=range(5),
)
def test_quantile(counts: list[int], share: float, expected: float | None) -> None:
    assert quantile(counts, SECONDS, share) == expected


def test_samples_are_bounded_and_share_what_has_not_changed(desk: Desk) -> None:
    for _ in range(KEPT + 20):
        desk.clock.advance(STEP)
    ring = desk.sampler._rings["visits"]
    assert len(ring) == KEPT
    assert len({id(sample.latency) for sample in ring}) == 1
    assert len(desk.sampler.course(desk.service)) == KEPT - 1


def test_a_service_that_is_removed_and_added_again(desk: Desk) -> None:
    desk.requests(100)
    desk.clock.advance(STEP + 1)
    again = Service("visits", SETTINGS, Callers())
    desk.services["visits"] = again
    assert desk.sampler.pace(again).requests == 0
    desk.clock.advance(STEP + 1)
    assert all(pace.requests >= 0 for pace in desk.sampler.course(again))
    del desk.services["visits"]
    desk.clock.advance(STEP + 1)
    assert desk.sampler._rings == {}


def test_stop(desk: Desk) -> None:
    desk.sampler.stop()
    desk.sampler.stop()
    before = len(desk.sampler._rings["visits"])
    desk.clock.advance(10 * STEP)
    assert len(desk.sampler._rings["visits"]) == before


def test_the_chart(desk: Desk) -> None:
    for number in range(5):
        desk.requests(10 * number)
        desk.requests(number, 503, "no_session")
        desk.clock.advance(STEP)
    made = chart(desk.sampler.course(desk.service))
    assert made.requests.line
    assert made.errors.top == made.requests.top, "one scale for both"
    assert "at most 8.8, errors at most 0.8" in made.rates_text
