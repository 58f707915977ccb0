"""What counts as too slow: the average over a whole period, while something is expected to move."""

from __future__ import annotations

from tunnel_hub.ingress.watch import _Pace

PERIOD, RATE = 120.0, 256


def looks(pace: _Pace, *rows: tuple[float, int]) -> list[bool]:
    return [pace.slow(now, total, PERIOD, RATE) for now, total in rows]


def test_judged_once_a_period_by_its_average() -> None:
    enough = int(PERIOD * RATE)
    assert looks(_Pace(), (1000, 0), (1060, 0), (1119, 0), (1120, enough)) == [False] * 4
    assert looks(_Pace(), (1000, 0), (1120, enough - 1)) == [False, True]


def test_a_late_look_asks_for_more() -> None:
    assert looks(_Pace(), (1000, 0), (1240, int(PERIOD * RATE))) == [False, True]


def test_each_period_stands_alone() -> None:
    """A quick start does not pay for a trickle afterwards."""
    assert looks(_Pace(), (1000, 0), (1120, 10**9), (1240, 10**9 + 5)) == [False, False, True]


def test_what_stopped_begins_anew() -> None:
    pace = _Pace()
    assert looks(pace, (1000, 0), (1119, 0)) == [False, False]
    pace.stop()
    assert looks(pace, (1121, 0), (1200, 0), (1241, 0)) == [False, False, True]


def test_another_count_begins_anew() -> None:
    """The next answer on the connection counts from nothing."""
    assert looks(_Pace(), (1000, 5000), (1119, 10), (1200, 10), (1239, 10)) == [False, False, False, True]
