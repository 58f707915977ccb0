"""LazyTimer on a wheel whose clock the test moves."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.unit.egress.clock import Clock
from tunnel_agent.egress.lazytimer import LazyTimer
from tunnel_agent.egress.timeouts import NEVER


@pytest.fixture
def clock() -> Clock:
    return Clock()


def timer(clock: Clock, check: Callable[[float], float]) -> LazyTimer:
    return LazyTimer(clock, clock, check)  # type: ignore[arg-type]


def test_putting_it_off_does_not_touch_the_wheel(clock: Clock) -> None:
    it = timer(clock, lambda now: NEVER)
    it.by(101.0)
    for at in range(102, 200):
        it.by(float(at))
    assert len(clock.pending) == 1


def test_a_nearer_time_replaces_a_later_one(clock: Clock) -> None:
    it = timer(clock, lambda now: NEVER)
    it.by(110.0)
    it.by(105.0)
    assert clock.live == [105.0]


def test_check_says_when_to_look_again(clock: Clock) -> None:
    seen: list[float] = []

    def check(now: float) -> float:
        seen.append(now)
        return now + 2.0 if len(seen) < 3 else NEVER

    timer(clock, check).by(101.0)
    for to in (101.0, 103.0, 105.0, 120.0):
        clock.move(to)
    assert seen == [101.0, 103.0, 105.0]
    assert clock.live == []


def test_after_cancel_nothing_comes_and_it_can_be_set_again(clock: Clock) -> None:
    seen: list[float] = []
    it = timer(clock, lambda now: seen.append(now) or NEVER)  # type: ignore[func-returns-value]
    it.by(101.0)
    it.cancel()
    it.cancel()
    clock.move(102.0)
    assert seen == []
    it.by(103.0)
    clock.move(104.0)
    assert seen == [103.0]


def test_never_sets_nothing(clock: Clock) -> None:
    timer(clock, lambda now: NEVER).by(NEVER)
    assert clock.pending == []
