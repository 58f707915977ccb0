"""How far this machine's clock is from the hub's, in words."""

from __future__ import annotations

import pytest

from tunnel_agent.clock import in_words, judge

DATE = "Fri, 27 Nov 2026 12:00:00 GMT"
THEN = 1795780800.5


@pytest.mark.parametrize(
    ("ahead", "window", "ok", "words"),
    [
        (0.0, 300.0, True, "agrees"),
        (2.0, 300.0, True, "agrees"),
        (-2.0, 1.0, True, "agrees"),
        (2.5, 300.0, True, "2 seconds ahead of"),
        (2.5, 4.0, False, "2 seconds ahead of"),
        (-60.0, 300.0, True, "1 minute behind"),
        (-61.0, 300.0, False, "1 minute 1 second behind"),
        (86400.0 * 400, 300.0, False, "400 days ahead of"),
    ],
)
def test_judgements(ahead: float, window: float, ok: bool, words: str) -> None:
    found = judge(DATE, THEN + ahead, window)
    assert found is not None
    assert found[0] is ok
    assert words in found[1].detail
    assert bool(found[1].remedy) is not ok


@pytest.mark.parametrize("date", ["", "yesterday", "27", "Fri, 99 Nov 2026 12:00:00 GMT", "\xff"])
def test_no_time(date: str) -> None:
    assert judge(date, THEN, 300.0) is None


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "1 second"),
        (59.6, "1 minute"),
        (3661.0, "1 hour 1 minute"),
        (86400 * 2 + 3600, "2 days 1 hour"),
        (86405.0, "1 day 5 seconds"),
    ],
)
def test_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
