from __future__ import annotations

import pytest

from protocol.ops.console import words
from protocol.ops.console.charts import HEIGHT, WIDTH, spark


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (words.duration(None), "–"),
        (words.duration(-0.2), "0.0 s"),
        (words.duration(4.24), "4.2 s"),
        (words.duration(59.9), "59 s"),
        (words.duration(60), "1 min"),
        (words.duration(125), "2 min 5 s"),
        (words.duration(3600), "1 h"),
        (words.duration(90_000), "1 d 1 h"),
        (words.latency(0.00084), "0.8 ms"),
        (words.latency(0.0432), "43 ms"),
        (words.latency(1.25), "1.25 s"),
        (words.latency(0.0), "<1 ms"),
        (words.latency(None), "–"),
        (words.size(0), "0 B"),
        (words.size(999), "999 B"),
        (words.size(1400), "1.4 KiB"),
        (words.size(250 * 1024), "250 KiB"),
        (words.size(3 * 2**40), "3.0 TiB"),
        (words.number(1234567), "1\u202f234\u202f567"),
        (words.rate(0), "0"),
        (words.rate(0.01), "<0.1"),
        (words.rate(12.44), "12.4"),
        (words.rate(1250), "1\u202f250"),
        (words.percent(0), "0 %"),
        (words.percent(0.00001), "<0.01 %"),
        (words.percent(0.0123), "1.2 %"),
        (words.percent(0.5), "50 %"),
        (words.percent(1), "100 %"),
        (words.clock(0), "00:00:00"),
        (words.moment(0), "1970-01-01T00:00:00Z"),
    ],
)
def test_words(said: str, expected: str) -> None:
    assert said == expected


def test_a_chart_has_its_last_value_at_the_right() -> None:
    made = spark([0, 5, 10], 60)
    assert made.top == 10
    assert made.line.endswith(f"{WIDTH:.1f} 1.0")
    assert made.area.startswith(made.line)
    assert all(0 <= float(mark.split()[1]) <= HEIGHT for mark in made.line[1:].split("L"))


def test_a_chart_of_nothing_is_empty() -> None:
    assert spark([], 60).line == spark([1], 60).line == spark([None, 0.0], 60).line == ""


def test_two_lines_can_have_one_scale() -> None:
    assert spark([0, 1], 60, top=10).line.endswith(f" {HEIGHT - 1 - (HEIGHT - 2) * 0.1:.1f}")
