"""Silence: when it is probed, when it is death, and when it is our own absence."""

from __future__ import annotations

import pytest

from protocol.liveness import (
    DEAD,
    DEAD_BUSY,
    DEAD_IDLE,
    LATE,
    NOTHING,
    PROBE,
    PROBE_BUSY,
    PROBE_IDLE,
    Liveness,
)


def until_verdict(liveness: Liveness, now: float) -> tuple[float, list[float]]:
    """Fire the timer when it is due until the peer is dead; when that was, and when it was probed."""
    probes = []
    for _ in range(100):
        now = max(now, liveness.due)
        verdict = liveness.check(now)
        if verdict == DEAD:
            return now, probes
        if verdict == PROBE:
            liveness.ping(now)
            probes.append(now)
        assert liveness.due > now
    raise AssertionError("never condemned")


def started(now: float = 100.0) -> Liveness:
    """As after the session's first PING was answered."""
    liveness = Liveness(now)
    assert liveness.check(now) == PROBE
    number = liveness.ping(now)
    assert liveness.pong(number, now)
    return liveness


def test_with_work_waiting_silence_is_probed_after_one_second_and_fatal_within_three() -> None:
    liveness = started()
    liveness.busy(105.0)
    died, probes = until_verdict(liveness, 105.0)
    assert probes[0] == pytest.approx(106.0)
    assert len(probes) >= 2
    assert died == pytest.approx(105.0 + DEAD_BUSY)
    assert DEAD_BUSY < 3


def test_the_silence_before_the_work_does_not_count() -> None:
    liveness = started(100.0)
    assert liveness.check(110.0) == PROBE
    liveness.ping(110.0)
    liveness.busy(112.0)
    died, probes = until_verdict(liveness, 112.0)
    assert probes[0] == pytest.approx(113.0)
    assert died == pytest.approx(112.0 + DEAD_BUSY)


def test_any_received_byte_puts_it_off() -> None:
    liveness = started(100.0)
    liveness.busy(100.0)
    now = 100.0
    while now < 130.0:
        now = max(now, liveness.due)
        liveness.heard = now - 0.5
        assert liveness.check(now) != DEAD


def test_an_idle_session_is_probed_slowly() -> None:
    liveness = started(100.0)
    died, probes = until_verdict(liveness, 100.0)
    assert probes[0] == pytest.approx(100.0 + PROBE_IDLE)
    assert died == pytest.approx(100.0 + DEAD_IDLE)


def test_an_idle_session_that_answers_is_probed_every_ten_seconds_for_ever() -> None:
    liveness = started(100.0)
    now, probes = 100.0, []
    while now < 200.0:
        now = liveness.due
        if liveness.check(now) == PROBE:
            assert liveness.pong(liveness.ping(now), now)
            liveness.heard = now
            probes.append(now)
    assert probes == [pytest.approx(100.0 + 10 * n) for n in range(1, 11)]


def test_a_busy_session_that_hears_things_is_probed_every_second_all_the_same() -> None:
    """The round-trip time must not grow old while a download runs."""
    liveness = started(100.0)
    liveness.busy(100.0)
    now, probes = 100.0, []
    while now < 109.5:
        now = liveness.due
        liveness.heard = now - 0.01
        if liveness.check(now) == PROBE:
            probes.append(now)
            liveness.pong(liveness.ping(now), now)
        assert liveness.due > now
    assert probes == [pytest.approx(101.0 + n) for n in range(10)]


@pytest.mark.parametrize("absence", [LATE + 0.01, 5.0, 3600.0])
def test_a_timer_that_fires_late_probes_and_does_not_condemn(absence: float) -> None:
    for busy in (True, False):
        liveness = started(100.0)
        if busy:
            liveness.busy(100.0)
        now = liveness.due + absence
        assert liveness.check(now) in {PROBE, NOTHING}
        died, _probes = until_verdict(liveness, now)
        dead, probe = (DEAD_BUSY, PROBE_BUSY) if busy else (DEAD_IDLE, PROBE_IDLE)
        assert died <= now - probe + dead + 1e-6 or not busy
        assert died > now


def test_a_timer_a_little_late_still_condemns_within_three_seconds() -> None:
    liveness = started(100.0)
    liveness.busy(100.0)
    now = 100.0
    while True:
        now = liveness.due + 0.05
        if liveness.check(now) == DEAD:
            break
        liveness.ping(now)
    assert now <= 103.0


def test_busy_brings_the_next_check_forward_and_idle_lets_it_be() -> None:
    liveness = started(100.0)
    assert liveness.due == pytest.approx(110.0)
    liveness.busy(103.0)
    assert liveness.due == pytest.approx(104.0)
    liveness.idle()
    assert liveness.check(104.0) == NOTHING
    assert liveness.due == pytest.approx(110.0)


def test_round_trip_falls_at_once_and_rises_slowly() -> None:
    liveness = Liveness(0.0)
    assert liveness.round_trip == 0.0
    for sent, came, expected in ((0.0, 0.2, 0.2), (1.0, 1.04, 0.04), (2.0, 2.44, 0.14), (3.0, 3.14, 0.14)):
        assert liveness.pong(liveness.ping(sent), came)
        assert liveness.round_trip == pytest.approx(expected)


def test_a_probe_that_is_repeated_keeps_its_number_and_its_time() -> None:
    liveness = Liveness(0.0)
    assert [liveness.ping(0.0), liveness.ping(1.0), liveness.ping(2.0)] == [1, 1, 1]
    assert liveness.pong(1, 2.5)
    assert liveness.round_trip == pytest.approx(2.5)
    assert liveness.pong(1, 9.0), "the answers to the repetitions are no fault"
    assert liveness.round_trip == pytest.approx(2.5)
    assert liveness.ping(10.0) == 2


@pytest.mark.parametrize("number", [-1, 0, 2, 2**62])
def test_a_pong_without_its_ping(number: int) -> None:
    liveness = Liveness(0.0)
    assert not liveness.pong(number, 0.1)
    liveness.ping(0.0)
    assert not liveness.pong(number, 0.1)


def test_marks_have_numbers_of_their_own_and_leave_the_probe_alone() -> None:
    liveness = Liveness(0.0)
    assert [liveness.ping(0.0), liveness.mark(), liveness.mark(), liveness.ping(1.0)] == [1, 2, 3, 1]
    assert liveness.pong(3, 1.5)
    assert (liveness.sample, liveness.round_trip) == (0.0, 0.0)
    assert liveness.pong(1, 2.0)
    assert (liveness.sample, liveness.round_trip) == (2.0, 2.0)
    assert liveness.ping(3.0) == 4


def test_a_probe_that_is_asked_for_leaves_now_or_in_a_moment_or_is_under_way() -> None:
    liveness = started()
    assert not liveness.want(100.01), "a PING has just left, and was answered"
    assert liveness.due == pytest.approx(100.1)
    assert liveness.check(liveness.due) == PROBE
    liveness.ping(100.1)
    due = liveness.due
    assert not liveness.want(100.15), "its answer is on the way"
    assert liveness.due == due
    assert liveness.want(100.3)


def test_it_is_known_whether_anything_was_measured() -> None:
    liveness = Liveness(0.0)
    assert not liveness.measured
    number = liveness.ping(0.0)
    assert not liveness.measured
    liveness.pong(number, 0.0)
    assert liveness.round_trip == 0.0
    assert liveness.measured
    liveness.ping(5.0)
    assert liveness.measured
