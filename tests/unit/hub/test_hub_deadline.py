"""Tunnel-Deadline as callers write it, and as nobody should."""

from __future__ import annotations

import pytest

from tunnel_hub.deadline import BadDeadline, stated_deadline


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"1800ms", 1.8), (b"2s", 2.0), (b"1ms", 0.001), (b"007s", 7.0), (b"999999999s", 999_999_999.0)],
)
@pytest.mark.parametrize("name", [b"Tunnel-Deadline", b"tunnel-deadline", b"TUNNEL-DEADLINE"])
def test_understood(name: bytes, value: bytes, seconds: float) -> None:
    assert stated_deadline([b"Accept", b"1s", name, value, b"Tunnel-Service", b"2s"]) == seconds


def test_not_there() -> None:
    assert stated_deadline([]) is None
    assert stated_deadline([b"X-Tunnel-Deadline", b"1s", b"Tunnel-Deadlines", b"1s"]) is None
    assert stated_deadline([b"Accept", b"Tunnel-Deadline"]) is None, "a value is not a name"


HOSTILE = [
    *b"|0s|0ms|000ms|5|s|ms|1.5s|-1s|+1s|1 s| 1s|1s |1s\n|1S|1MS|1m|1h|1us|1s, 2s|1s;2s|1e3ms|0x1s|nan".split(
        b"|"
    ),
    *(b"9" * 10 + b"s", b"9" * 100_000 + b"ms", "\u0661s".encode(), "1\u017f".encode(), b"\xff\xffs", b"1s\x00"),
]


@pytest.mark.parametrize("value", HOSTILE)
def test_malformed(value: bytes) -> None:
    with pytest.raises(BadDeadline, match="1800ms or 2s"):
        stated_deadline([b"Tunnel-Deadline", value])


@pytest.mark.parametrize("second", [b"1s", b"2s", b"x"])
def test_repeated(second: bytes) -> None:
    with pytest.raises(BadDeadline):
        stated_deadline([b"Tunnel-Deadline", b"1s", b"tunnel-deadline", second])
