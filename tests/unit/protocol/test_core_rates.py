"""The token bucket."""

from __future__ import annotations

import pytest

from protocol.rates import TokenBucket


def test_burst_then_rate() -> None:
    bucket = TokenBucket(10.0, 5.0)
    assert [bucket.allow(5.0) for _ in range(21)] == [True] * 20 + [False]
    assert not bucket.allow(5.05)
    assert bucket.allow(5.15)
    assert not bucket.allow(5.15)


def test_it_never_holds_more_than_the_burst() -> None:
    bucket = TokenBucket(10.0, 0.0, burst=3)
    assert [bucket.allow(1e6) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("rate", [0.5, 20.0, 1000.0])
def test_a_peer_at_exactly_the_rate_is_never_refused(rate: float) -> None:
    bucket = TokenBucket(rate, 0.0, burst=1.001)
    assert all(bucket.allow(number / rate) for number in range(1, 500))


def test_over_any_time_no_more_than_rate_and_burst() -> None:
    bucket = TokenBucket(20.0, 0.0)
    allowed = sum(bucket.allow(step * 0.001) for step in range(10_000))
    assert 40 + 199 <= allowed <= 40 + 200
