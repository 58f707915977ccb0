"""Windows: when credit goes back, when they grow, and that growth is given back."""

from __future__ import annotations

import pytest

from protocol.flow import QUICK, MemoryBudget, ReceiveWindow


def window(initial: int = 1000, maximum: int = 8000, budget: int = 100_000) -> ReceiveWindow:
    return ReceiveWindow(initial, maximum, MemoryBudget(budget), 100.0)


def test_credit_goes_back_half_a_window_at_a_time() -> None:
    receive = window()
    assert receive.consume(499, 101.0, 0.0) == 0
    assert receive.consume(1, 102.0, 0.0) == 500
    assert receive.limit == 1500
    assert receive.consume(400, 103.0, 0.0) == 0
    assert receive.consume(600, 104.0, 0.0) == 1000
    receive.check(1500)


def test_an_odd_window_is_not_stuck() -> None:
    for initial in (1, 2, 3, 5):
        receive, granted = window(initial, initial), 0
        for _ in range(20):
            granted += receive.consume(1, 101.0, 0.0)
        assert granted >= 20 - initial // 2


@pytest.mark.parametrize(("round_trip", "quick"), [(0.0, QUICK), (0.0005, QUICK), (0.04, 0.08)])
def test_growth_when_half_was_taken_faster_than_two_round_trips(round_trip: float, quick: float) -> None:
    slow, fast = window(), window()
    slow.consume(0, 100.0, round_trip)
    assert slow.consume(500, 100.0 + quick + 1e-6, round_trip) == 500
    assert slow.window == 1000
    assert fast.consume(500, 100.0 + quick - 1e-6, round_trip) == 1500
    assert fast.window == 2000
    fast.check(500)


def test_growth_is_measured_from_the_last_grant() -> None:
    receive = window()
    assert receive.consume(500, 200.0, 0.01) == 500
    assert receive.consume(500, 200.001, 0.01) == 1500
    assert receive.window == 2000


def test_growth_ends_at_the_maximum() -> None:
    receive, now = window(1000, 3500), 100.0
    for _ in range(10):
        receive.consume(receive.limit - receive.consumed, now, 1.0)
    assert receive.window == 3500
    receive.release()
    assert receive.window == 1000


def test_growth_needs_the_budget_and_all_of_it() -> None:
    budget = MemoryBudget(1500)
    first, second = (ReceiveWindow(1000, 8000, budget, 0.0) for _ in range(2))
    assert first.consume(500, 0.0, 1.0) == 1500
    assert second.consume(500, 0.0, 1.0) == 500
    assert budget.used == 1000
    first.release()
    assert budget.used == 0
    assert second.consume(500, 0.0, 1.0) == 1500
    second.release()
    assert budget.used == 0


def test_release_is_idempotent() -> None:
    budget = MemoryBudget(100_000)
    receive = ReceiveWindow(1000, 8000, budget, 0.0)
    receive.consume(500, 0.0, 1.0)
    for _ in range(3):
        receive.release()
        assert budget.used == 0
    receive.check(2500)


def test_a_reader_that_stalls_earns_nothing() -> None:
    receive = window()
    assert receive.consume(500, 160.0, 0.04) == 500
    assert receive.consume(500, 220.0, 0.04) == 500
    assert receive.window == 1000


def test_the_budget() -> None:
    budget = MemoryBudget(10)
    assert budget.take(10)
    assert not budget.take(1)
    assert budget.take(0)
    budget.give(4)
    assert budget.take(4)
    assert budget.used == 10
    with pytest.raises(AssertionError):
        budget.give(11)


@pytest.mark.parametrize("breach", ["received", "consumed", "limit", "budget"])
def test_check_asserts_each_invariant(breach: str) -> None:
    receive, received = window(), 600
    receive.consume(500, 100.0, 1.0)
    receive.check(received)
    if breach == "received":
        received = receive.limit + 1
    elif breach == "consumed":
        receive.consumed = received + 1
    elif breach == "limit":
        receive.limit += 1
    else:
        receive._budget.used = receive._budget.limit + 1
    with pytest.raises(AssertionError):
        receive.check(received)
