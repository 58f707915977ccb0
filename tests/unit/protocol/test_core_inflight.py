"""What may be under way: held back, set free by PONGs, and following rate and round trip."""

from __future__ import annotations

import pytest

from protocol import frames
from protocol.inflight import (
    BASE_AGE,
    FLOOR,
    LEAST_MESSAGE,
    MARKS_BURST,
    MARKS_PER_SECOND,
    QUIET,
    RESERVE_PER_SECOND,
    SLACK,
    START,
    InFlight,
)
from protocol.limits import DATA_MAX, KIB, MIB, Limits
from tests.sim.pair import HEAD, Pair, frames_of

WIDE = Limits(window=64 * MIB, window_max=64 * MIB)


def kinds(messages: list[bytes]) -> list[int]:
    return [frame[0] for message in messages for frame in frames_of(message)]


class Sender:
    """A source without end; PINGs are numbered and answered by the test."""

    def __init__(self, base: float = 0.04) -> None:
        self.now = 100.0
        self.flight = InFlight(self.now)
        self.flight.quiet(base, self.now)
        self.number = 0
        self.position = 0

    def mark(self, wanted: bool) -> None:
        if wanted:
            self.number += 1
            self.flight.mark(self.number, True, self.now)

    def fill(self) -> int:
        """Send what may be sent; how much that was."""
        start = self.position
        while self.flight.room > 0 and self.position - start < 64 * MIB:
            self.flight.begin(self.position, self.now)
            self.position += self.flight.message
            self.mark(self.flight.note(self.position, True, self.now))
            self.flight.check()
        return self.position - start

    def answer(self, after: float) -> None:
        """All marks come back, `after` seconds from now."""
        self.now += after
        while self.flight.marks:
            self.mark(self.flight.pong(self.flight.marks[0].number, True, self.now))
            self.flight.check()
            if self.flight.room > 0:
                return

    def settle(self, after: float) -> None:
        """As `answer`, to the last mark."""
        self.now += after
        for mark in list(self.flight.marks):
            self.mark(self.flight.pong(mark.number, True, self.now))


def test_the_first_bytes_are_not_held_and_no_more_than_those() -> None:
    sender = Sender()
    assert START <= sender.fill() < START + LEAST_MESSAGE
    assert sender.flight.room <= 0
    assert sender.flight.marks


def test_it_doubles_once_a_round_trip_while_nothing_queues() -> None:
    sender = Sender()
    seen = []
    for _ in range(6):
        sender.fill()
        sender.settle(0.04)
        seen.append(sender.flight.allowance // START)
    assert seen == [2, 4, 8, 16, 32, 64]


def test_it_does_not_grow_for_a_source_that_does_not_need_it() -> None:
    sender = Sender()
    for _ in range(50):
        sender.flight.begin(sender.position, sender.now)
        sender.position += START // 2
        sender.mark(sender.flight.note(sender.position, False, sender.now))
        assert sender.flight.room > 0
        sender.settle(0.04)
    assert sender.flight.allowance == START


def test_it_shrinks_to_what_the_way_carries_when_a_queue_shows() -> None:
    sender = Sender()
    for _ in range(12):  # the way takes 1.25 MB/s: what was sent takes that long to arrive
        sent = sender.fill()
        sender.settle(max(0.04, sent / 1.25e6) + 0.04)
    assert sender.flight.allowance <= 1.25e6 * (0.04 + SLACK) + 2 * LEAST_MESSAGE


def test_it_never_falls_below_the_floor() -> None:
    sender = Sender()
    for _ in range(8):
        sender.settle(sender.fill() / 1e5 + 0.04)
    assert sender.flight.allowance == FLOOR
    assert sender.fill() >= LEAST_MESSAGE


def test_one_slow_round_trip_proves_nothing_to_a_fast_way() -> None:
    sender = Sender(0.001)
    for _ in range(12):
        sender.fill()
        sender.settle(0.001)
        sender.now += 0.1
    before = sender.flight.allowance
    sender.fill()
    sender.settle(0.2)
    assert sender.flight.allowance >= min(before, 16 * MIB)


def test_after_a_while_of_being_limited_it_pauses_and_measures_anew() -> None:
    sender = Sender(0.04)
    for _ in range(200):
        sender.fill()
        sender.answer(0.09)
        if any(mark.position == mark.acknowledged for mark in sender.flight.marks):
            break
    assert BASE_AGE < sender.now - 100.0 < BASE_AGE + 2
    (mark,) = sender.flight.marks
    assert mark.position == mark.acknowledged == sender.position
    assert sender.flight.room > 0, "DATA goes on behind the mark"
    sender.fill()
    sender.settle(0.07)
    assert sender.flight.base == pytest.approx(0.07), "the way has become longer"


def test_a_rest_that_was_never_marked_is_forgotten_after_a_while() -> None:
    sender = Sender()
    sender.fill()
    sender.settle(0.04)
    sender.flight.begin(sender.position, sender.now)
    sender.flight.note(sender.position + 100, False, sender.now)
    assert sender.flight.sent == sender.flight.acknowledged + 100
    sender.now += QUIET + 0.01
    sender.flight.begin(5 * sender.position, sender.now)
    assert sender.flight.sent == sender.flight.acknowledged == 5 * sender.position


def test_marks_stay_within_what_the_peer_tolerates() -> None:
    assert Limits().pings_per_second >= MARKS_PER_SECOND + RESERVE_PER_SECOND + 20
    assert 2 * Limits().pings_per_second >= MARKS_BURST + 2 * RESERVE_PER_SECOND + 40
    sender = Sender(0.0001)
    start = sender.now
    for _ in range(500):
        sender.fill()
        sender.settle(0.0001)
        sender.flight.allowance = START  # however small it is
    assert sender.number >= MARKS_BURST / 2
    rate = MARKS_PER_SECOND + RESERVE_PER_SECOND
    assert sender.number <= MARKS_BURST + 2 * RESERVE_PER_SECOND + rate * (sender.now - start) + 1


def test_a_pong_that_is_late_or_of_nobodys_changes_nothing() -> None:
    sender = Sender()
    sender.fill()
    first, *_, last = sender.flight.marks
    assert not sender.flight.pong(first.number - 1, True, sender.now)
    sender.flight.pong(last.number, True, sender.now + 0.04)
    acknowledged = sender.flight.acknowledged
    assert acknowledged == last.position
    assert not sender.flight.pong(first.number, True, sender.now + 0.05)
    assert sender.flight.acknowledged == acknowledged


def test_a_session_holds_data_until_the_pong_and_claims_no_output() -> None:
    pair = Pair(WIDE, WIDE)
    stream, _far = pair.open(chunked=True)
    pair.hub.send(stream, b"x" * MIB)
    messages = pair.take(pair.hub)
    assert START <= sum(map(len, messages)) < START + DATA_MAX + KIB
    assert not pair.hub.has_output()
    assert pair.hub.scheduler
    pair.hub.open(None, pair.now, **HEAD, end=True)
    assert kinds(pair.take(pair.hub)) == [frames.OPEN], "control frames are never held"
    pair.now += 0.01
    pair.give(pair.agent, messages)
    pair.to_hub()
    assert pair.hub.has_output()
    assert frames.DATA in kinds(pair.take(pair.hub))


def test_a_stalled_peer_is_condemned_while_data_is_held() -> None:
    pair = Pair(WIDE, WIDE)
    stream, _far = pair.open(chunked=True)
    pair.hub.send(stream, b"x" * MIB)
    pair.take(pair.hub)
    died = 0.0
    for _ in range(100):
        pair.now += 0.1
        try:
            if pair.hub.due <= pair.now:
                pair.hub.handle_timer(pair.now)
        except Exception:
            died = pair.now
            break
    assert 0 < died <= 1003.1


def test_every_byte_arrives_over_a_way_that_is_held_again_and_again() -> None:
    pair = Pair(WIDE, WIDE)
    stream, far = pair.open(chunked=True)
    total = 5 * MIB + 17
    pair.hub.send(stream, b"x" * total, True)
    for _ in range(500):
        pair.now += 0.3
        pair.to_agent()
        pair.to_hub()
        if far.received == total:
            break
    assert far.received == total
    assert pair.hub.inflight.allowance > START, "a long way is not a slow one"


def test_a_pause_marks_the_rest_first_and_nothing_is_held_without_a_mark() -> None:
    flight = InFlight(100.0)
    flight.quiet(0.04, 100.0)
    flight.begin(0, 100.0)
    flight.note(2 * START, True, 100.0)
    flight.mark(1, True, 100.0)
    flight.note(2 * START + 1000, True, 100.0)
    assert flight.pong(1, True, 100.0 + BASE_AGE + 0.1), "it pauses, and would never know that the rest arrived"
    assert flight.room == 0
    flight = InFlight(100.0)
    flight.quiet(0.04, 100.0)
    flight.begin(0, 100.0)
    flight.note(2 * START, True, 100.0)
    flight.mark(1, True, 100.0)
    flight.note(5 * START, True, 100.0)
    assert flight.pong(1, True, 100.1), "more than the allowance is under way, unmarked"
    assert flight.room <= 0
