"""Who gets which connection: the rules one by one, then under any schedule."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tunnel_agent.egress.slots import Slots


def slots(limit: int = 2, waiting: int = 10) -> Slots[str, str]:
    return Slots(limit, waiting)


def opened(it: Slots[str, str], *names: str, at: float = 0.0) -> None:
    """Open idle connections."""
    for name in names:
        it.opening += 1
        assert it.opened(name, at) is None


def test_the_last_used_connection_comes_first() -> None:
    it = slots()
    opened(it, "a", "b")
    assert it.take(0.0) == "b"
    assert it.take(0.0) == "a"
    assert it.take(0.0) is None


def test_a_connection_idle_for_too_long_is_left_alone() -> None:
    it = slots()
    opened(it, "a", at=5.0)
    assert it.take(5.1) is None
    assert it.take(5.0) == "a"


def test_one_connection_is_opened_for_each_call_up_to_the_limit() -> None:
    it = slots(limit=2)
    assert it.wait("x")
    assert it.advance() == (1, [])
    assert it.wait("y")
    assert it.wait("z")
    assert it.advance() == (1, [])
    assert it.advance() == (0, [])


def test_calls_are_served_in_order_by_whatever_becomes_free() -> None:
    it = slots(limit=2)
    opened(it, "a")
    it.take(0.0)
    for waiter in "xyz":
        it.wait(waiter)
    it.advance()
    assert it.released("a", 1.0) == "x"
    assert it.opened("b", 1.0) == "y"
    assert it.released("a", 1.0) == "z"
    assert it.released("a", 1.0) is None


def test_too_many_waiting_calls_are_refused() -> None:
    it = slots(limit=2, waiting=1)
    assert [it.wait(waiter) for waiter in "wxyz"] == [True, True, True, False]
    it.withdraw("w")
    assert it.wait("z")


def test_with_no_waiting_list_a_call_may_still_wait_for_a_connection_that_is_opened_for_it() -> None:
    it = slots(limit=1, waiting=0)
    assert it.wait("x")
    it.advance()
    assert it.opened("a", 0.0) == "x"
    assert not it.wait("y")


def test_a_failed_attempt_fails_the_oldest_call() -> None:
    it = slots()
    it.wait("x")
    it.wait("y")
    it.advance()
    assert it.open_failed() == "x"
    assert it.open_failed() == "y"


def test_a_failed_attempt_that_nobody_needs_any_more_fails_nobody() -> None:
    it = slots(limit=2)
    opened(it, "a")
    it.take(0.0)
    it.wait("x")
    it.advance()
    assert it.released("a", 1.0) == "x"
    assert it.open_failed() is None


def test_a_call_that_is_repeated_comes_first_and_gets_a_new_connection() -> None:
    it = slots(limit=3)
    opened(it, "a", "b")
    it.take(0.0)
    it.take(0.0)
    it.wait("x")
    it.discarded("b")
    it.wait_again("stale")
    assert it.advance() == (1, [])
    assert it.released("a", 1.0) == "x"
    assert it.opened("c", 1.0) == "stale"


def test_stale_connections_make_room_for_a_new_one_the_oldest_first() -> None:
    it = slots(limit=2)
    opened(it, "old", at=0.0)
    opened(it, "new", at=1.0)
    assert it.take(2.0) is None
    it.wait("x")
    assert it.advance() == (0, ["old"])
    it.discarded("old")
    assert it.advance() == (0, [])
    it.gone()
    assert it.advance() == (1, [])


def test_a_connection_that_is_closing_still_counts() -> None:
    it = slots(limit=1)
    opened(it, "a")
    it.discarded("a")
    it.wait("x")
    assert it.advance() == (0, [])
    it.gone()
    assert it.advance() == (1, [])


class Schedule(RuleBasedStateMachine):
    """Any order of events; a tiny model keeps what must hold."""

    @initialize(limit=st.integers(1, 4), waiting=st.integers(0, 5))
    def begin(self, limit: int, waiting: int) -> None:
        self.limit, self.max_waiting = limit, waiting
        self.it: Slots[int, int] = Slots(limit, waiting)
        self.now = 0.0
        self.number = 0
        self.busy: dict[int, int] = {}
        self.closing: list[int] = []
        self.queue: list[int] = []
        self.again: set[int] = set()
        self.attempts = 0

    def _advance(self) -> None:
        count, evicted = self.it.advance()
        self.attempts += count
        for connection in evicted:
            assert connection in self.it.idle
            self.it.discarded(connection)
            self.closing.append(connection)

    def _serve(self, connection: int, waiter: int | None, fresh: bool) -> None:
        expected = [w for w in self.queue if fresh or w not in self.again][:1]
        assert waiter == (expected[0] if expected else None)
        if waiter is not None:
            self.queue.remove(waiter)
            self.again.discard(waiter)
            self.busy[connection] = waiter

    @rule(trusted=st.floats(0, 5))
    def call(self, trusted: float) -> None:
        self.number += 1
        connection = self.it.take(self.now - trusted)
        if connection is not None:
            assert connection not in self.busy
            self.busy[connection] = self.number
        elif self.it.wait(self.number):
            self.queue.append(self.number)
        else:
            assert len(self.queue) >= self.max_waiting
        self._advance()

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(sorted(self.busy)))
        del self.busy[connection]
        self._serve(connection, self.it.released(connection, self.now), fresh=False)
        self._advance()

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), repeat=st.booleans())
    def lose(self, data: st.DataObject, repeat: bool) -> None:
        connection = data.draw(st.sampled_from(sorted(self.busy)))
        waiter = self.busy.pop(connection)
        self.it.discarded(connection)
        self.closing.append(connection)
        if repeat:
            self.it.wait_again(waiter)
            self.queue.insert(0, waiter)
            self.again.add(waiter)
        self._advance()

    @precondition(lambda self: self.it.idle)
    @rule(data=st.data())
    def expire(self, data: st.DataObject) -> None:
        connection = data.draw(st.sampled_from(sorted(self.it.idle)))
        self.it.discarded(connection)
        self.closing.append(connection)
        self._advance()

    @precondition(lambda self: self.closing)
    @rule()
    def closed(self) -> None:
        self.closing.pop(0)
        self.it.gone()
        self._advance()

    @precondition(lambda self: self.attempts)
    @rule(works=st.booleans())
    def attempt_ends(self, works: bool) -> None:
        self.attempts -= 1
        if works:
            self.number += 1
            self._serve(self.number, self.it.opened(self.number, self.now), fresh=True)
        else:
            failed = self.it.open_failed()
            if failed is not None:
                assert failed == self.queue.pop(0)
                self.again.discard(failed)
        self._advance()

    @precondition(lambda self: self.queue)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        waiter = data.draw(st.sampled_from(self.queue))
        self.queue.remove(waiter)
        self.again.discard(waiter)
        self.it.withdraw(waiter)
        self._advance()

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def books_are_right(self) -> None:
        if not hasattr(self, "it"):
            return
        it = self.it
        assert it.open + it.opening <= self.limit
        assert it.opening == self.attempts
        assert it.open == len(self.busy) + len(it.idle) + len(self.closing)
        assert it.closing == len(self.closing)
        assert list(it.waiting) == self.queue

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        if hasattr(self, "it") and self.queue:
            assert self.it.opening or self.it.closing or self.busy


TestSchedule = Schedule.TestCase
TestSchedule.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
