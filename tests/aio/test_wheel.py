"""The timer wheel on a clock that the test turns: never early, at most two ticks late, whatever callbacks do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest

from protocol.aio.wheel import TICK, Timer, Wheel


class Handle:
    """What `call_at` returns."""

    def __init__(self, when: float, call: Callable[[], object]) -> None:
        self.when = when
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """A clock, the handles that were asked for, and how late (or, as uvloop may, early) they are run.

    granularity: the clock shows whole multiples of it, as uvloop's shows milliseconds.
    """

    def __init__(self, now: float = 100.0, granularity: float = 0.0) -> None:
        self.now = now
        self.granularity = granularity
        self.handles: list[Handle] = []
        self.errors: list[dict[str, Any]] = []

    def time(self) -> float:
        if not self.granularity:
            return self.now
        steps = round(1 / self.granularity)
        return int(self.now * steps + 1e-9) / steps

    def call_at(self, when: float, call: Callable[[], object]) -> Handle:
        handle = Handle(when, call)
        self.handles.append(handle)
        return handle

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.errors.append(context)

    @property
    def pending(self) -> list[Handle]:
        self.handles = [handle for handle in self.handles if not handle.cancelled]
        return self.handles

    def run(self, until: float, late: float = 0.0) -> None:
        """Turn the clock; each handle runs when due, or `late` seconds after that."""
        for _ in range(100_000):
            due = [handle for handle in self.pending if handle.when + late <= until]
            if not due:
                break
            handle = min(due, key=lambda handle: handle.when)
            self.handles.remove(handle)
            self.now = max(self.now, handle.when + late)
            handle.call()
        else:
            raise AssertionError("the wheel spins")
        self.now = max(self.now, until)


def wheel_of(loop: FakeLoop, tick: float = TICK) -> Wheel:
    return Wheel(cast(asyncio.AbstractEventLoop, loop), tick)


@pytest.mark.parametrize("granularity", [0.0, 0.001])
@pytest.mark.parametrize("late", [0.0, 0.003, 0.2])
@pytest.mark.parametrize("tick", [TICK, 0.1, 0.007])
def test_never_early_and_at_most_two_ticks_late(granularity: float, late: float, tick: float) -> None:
    rng = random.Random(1)
    loop = FakeLoop(granularity=granularity)
    wheel = wheel_of(loop, tick)
    fired: dict[int, float] = {}
    due: dict[int, float] = {}
    for number in range(400):
        delay = rng.choice([0.0, 1e-9, tick, 2 * tick, rng.random() * tick, rng.random() * 3, rng.random() * 60])
        due[number] = loop.time() + delay
        wheel.after(delay, lambda number=number: fired.setdefault(number, loop.now))  # type: ignore[misc]
        if rng.random() < 0.5:
            loop.run(loop.now + rng.random() * 0.05, late)
    loop.run(loop.now + 61 + late, late)
    assert fired.keys() == due.keys()
    assert len(wheel) == 0
    for number, when in fired.items():
        assert when >= due[number] - 1e-6 * tick - 1e-9
        assert when <= due[number] + 2 * tick + late + granularity + 1e-9


def test_callbacks_of_one_turn_run_in_the_order_of_their_slots() -> None:
    loop = FakeLoop()
    wheel = wheel_of(loop)
    order: list[float] = []
    for delay in (3.0, 1.0, 2.0, 0.5):
        wheel.after(delay, lambda delay=delay: order.append(delay))  # type: ignore[misc]
    loop.now += 10
    loop.run(loop.now)
    assert order == [0.5, 1.0, 2.0, 3.0]


def test_one_handle_for_all_timers() -> None:
    loop = FakeLoop()
    wheel = wheel_of(loop)
    for number in range(1000):
        wheel.after(5 + number * 0.001, lambda: None)
        assert len(loop.pending) == 1
    assert len(wheel) == 1000
    wheel.after(0.1, lambda: None)
    assert len(loop.pending) == 1
    assert loop.pending[0].when < loop.now + 0.2


def test_cancel_before_after_and_twice() -> None:
    loop = FakeLoop()
    wheel = wheel_of(loop)
    fired: list[str] = []
    timer = wheel.after(1.0, lambda: fired.append("no"))
    other = wheel.after(1.0, lambda: fired.append("yes"))
    timer.cancel()
    timer.cancel()
    assert len(wheel) == 1
    loop.run(102.0)
    other.cancel()
    assert fired == ["yes"]
    assert len(wheel) == 0


@pytest.mark.parametrize("gap", [0.0, 0.5])
def test_a_callback_may_cancel_one_of_the_same_turn(gap: float) -> None:
    loop = FakeLoop()
    wheel = wheel_of(loop)
    fired: list[str] = []
    timers: list[Timer] = []
    wheel.after(1.0, lambda: timers[0].cancel())  # noqa: PLW0108 - not there yet
    timers.append(wheel.after(1.0 + gap, lambda: fired.append("cancelled")))
    wheel.after(1.0 + gap, lambda: fired.append("kept"))
    loop.now += 5
    loop.run(loop.now)
    assert fired == ["kept"]


def test_a_callback_may_cancel_itself_and_start_others() -> None:
    loop = FakeLoop()
    wheel = wheel_of(loop)
    fired: list[float] = []
    timers: list[Timer] = []

    def again() -> None:
        timers[-1].cancel()
        fired.append(loop.now)
        if len(fired) < 50:
            timers.append(wheel.after(0.0 if len(fired) % 2 else 0.1, again))

    timers.append(wheel.after(0.0, again))
    loop.run(110.0)
    assert len(fired) == 50
    assert len(wheel) == 0
    assert fired == sorted(fired)


@pytest.mark.parametrize("tick", [TICK, 0.007, 0.1])
def test_a_timer_set_from_a_callback_is_never_lost(tick: float) -> None:
    """With a clock of whole milliseconds, `now` may lie a hair before the slot that fires."""
    for start in range(400):
        loop = FakeLoop(now=start / 1000, granularity=0.001)
        wheel = wheel_of(loop, tick)
        fired: list[str] = []
        second = partial(wheel.after, 0.0, partial(fired.append, "second"))
        wheel.after(0.0, second)
        loop.run(loop.now + 5 * tick + 0.01)
        assert fired == ["second"], start


def test_a_later_callback_of_the_turn_may_be_started_by_an_earlier_one() -> None:
    loop = FakeLoop()
    wheel = wheel_of(loop)
    fired: list[str] = []
    wheel.after(0.0, lambda: wheel.after(0.3, lambda: fired.append("new")))
    wheel.after(0.2, lambda: fired.append("old"))
    loop.run(loop.now + 0.1)
    loop.run(loop.now + 1.0)
    assert fired == ["old", "new"]


def test_a_callback_that_raises_is_reported_and_stops_nobody() -> None:
    loop = FakeLoop()
    wheel = wheel_of(loop)
    fired: list[str] = []

    def bad() -> None:
        raise ValueError("bad")

    wheel.after(1.0, bad)
    wheel.after(1.0, lambda: fired.append("same turn"))
    wheel.after(2.0, lambda: fired.append("later"))
    loop.run(105.0)
    assert fired == ["same turn", "later"]
    assert [str(error["exception"]) for error in loop.errors] == ["bad"]


def test_close_drops_everything() -> None:
    loop = FakeLoop()
    wheel = wheel_of(loop)
    fired: list[str] = []
    timer = wheel.after(1.0, lambda: fired.append("x"))
    wheel.close()
    assert len(wheel) == 0
    assert not loop.pending
    timer.cancel()
    wheel.close()
    loop.run(110.0)
    assert not fired


def test_close_from_a_callback_drops_the_rest_of_the_turn_too() -> None:
    loop = FakeLoop()
    wheel = wheel_of(loop)
    fired: list[str] = []
    wheel.after(1.0, wheel.close)
    wheel.after(1.0, lambda: fired.append("same slot"))
    wheel.after(1.1, lambda: fired.append("next slot"))
    wheel.after(9.0, lambda: fired.append("later"))
    loop.now += 5
    loop.run(120.0)
    assert not fired
    assert not loop.errors
    assert len(wheel) == 0
    assert not loop.pending


def test_cancelled_timers_leave_nothing_behind() -> None:
    loop = FakeLoop()
    wheel = wheel_of(loop)
    for _ in range(10_000):
        wheel.after(30.0, lambda: None).cancel()
    assert len(wheel) == 0
    loop.run(140.0)
    assert not wheel._buckets
    assert not loop.pending


async def test_on_a_real_loop() -> None:
    loop = asyncio.get_running_loop()
    wheel = Wheel(loop)
    done: asyncio.Future[float] = loop.create_future()
    begun = loop.time()
    wheel.after(0.06, lambda: done.set_result(loop.time()))
    assert await asyncio.wait_for(done, 10) >= begun + 0.06
    wheel.close()
