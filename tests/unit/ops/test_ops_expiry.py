"""When certificates end, and how far apart clocks are."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from cryptography import x509

from protocol.ops import clock
from protocol.ops.expiry import DAY, Reminder, ends, in_words, soon
from tests.support.logs import Logged, kept
from tests.support.tls import PrivateCA

NOW = 1_700_000_000.25


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> PrivateCA:
    return PrivateCA(tmp_path_factory.mktemp("ca"))


def test_the_first_of_a_file_to_end_counts(ca: PrivateCA, tmp_path: Path) -> None:
    short, long = ca.issue(days=3), ca.issue(days=300)
    both = tmp_path / "both.pem"
    both.write_bytes(long.certificate.read_bytes() + short.certificate.read_bytes())
    found = ends({"one": long.certificate, "two": both, "none": None})
    assert found.keys() == {"one", "two"}
    assert found["two"] == pytest.approx(time.time() + 3 * 86400, abs=300)
    [read] = x509.load_pem_x509_certificates(long.certificate.read_bytes())[:1]
    assert found["one"] == read.not_valid_after_utc.timestamp()


def test_what_cannot_be_read_is_left_out(ca: PrivateCA, tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("hello")
    assert ends({"gone": tmp_path / "gone", "text": text, "key": ca.issue().key}) == {}


def test_a_date_shows_the_difference() -> None:
    assert clock.behind(clock.date(NOW), NOW) == pytest.approx(0.0, abs=0.5)
    assert clock.behind(clock.date(NOW + 120), NOW) == pytest.approx(120, abs=0.5)
    assert clock.behind(clock.date(NOW - 3600), NOW) == pytest.approx(-3600, abs=0.5)


@pytest.mark.parametrize("text", ["", "now", "Mon, 99 Nov 2026 00:00:00 GMT", "Tue, 01 Jan 2026"])
def test_what_is_no_date_shows_none(text: str) -> None:
    assert clock.behind(text, NOW) is None


def test_what_ends_within_30_days_is_told_the_next_one_first() -> None:
    found = {"far": NOW + 31 * DAY, "near": NOW + 12.5 * DAY, "over": NOW - 1, "today": NOW + 5}
    assert [in_words(what, end, NOW) for what, end in soon(found, NOW)] == [
        "over has ended",
        "today ends within a day",
        "near ends in 12 days",
    ]
    assert in_words("x", NOW + 1.5 * DAY, NOW) == "x ends in 1 day"


def test_the_log_is_reminded_at_each_start_and_daily() -> None:
    found = {"far": time.time() + 99 * DAY, "near": time.time() + 9 * DAY, "over": time.time() - 9 * DAY}
    loop = asyncio.new_event_loop()
    reminder = Reminder(loop, lambda: found)
    try:
        with kept():
            logged = Logged()
            reminder.start()
            assert [(line["event"], line["what"]) for line in logged.events] == [
                ("has ended", "over"),
                ("ends soon", "near"),
            ]
            assert reminder._timer is not None
            first = reminder._timer
            assert first.when() - loop.time() == pytest.approx(DAY, abs=60)
            del found["over"]
            reminder.start()
            assert first.cancelled(), "one timer at a time"
            assert [line["what"] for line in logged.events[2:]] == ["near"]
            second = reminder._timer
            reminder.stop()
            assert second.cancelled()
    finally:
        loop.close()
