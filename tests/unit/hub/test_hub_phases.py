"""Phases at the hub: its own readings and the agent's word, counted by service."""

from __future__ import annotations

import pytest

from protocol.phases import FIELD, NAMES
from tunnel_hub.phases import BOUNDS, PhaseCounts, asks, take


def test_the_tunnel_is_what_is_left() -> None:
    fields = [b"Server", b"x", FIELD, b"1000 2000 30000"]
    phases = take(fields, 10.0, 10.5, 10.6)
    assert fields == [b"Server", b"x"]
    assert phases == pytest.approx((0.5, 0.067, 0.001, 0.002, 0.030))


def test_an_agent_that_says_too_much_leaves_nothing_below_zero() -> None:
    assert take([FIELD, b"0 0 5000000"], 10.0, 10.0, 11.0) == (0.0, 0.0, 0.0, 0.0, 5.0)


@pytest.mark.parametrize(
    "fields",
    [[], [b"Server", b"x"], [FIELD, b"nonsense"], [FIELD, b"1 2 3", b"Server", b"x"]],
    ids=["none", "old agent", "nonsense", "not last"],
)
def test_without_the_agents_word_only_the_hubs_own_is_known(fields: list[bytes]) -> None:
    assert take(fields, 10.0, 10.5, 11.0) == (0.5, 0.0, 0.0, 0.0, 0.0)


def test_counts() -> None:
    counts = PhaseCounts()
    counts.observe((0.0005, 0.002, 0.0, 0.0, 7.0))
    counts.observe((0.0, 0.0, 0.0, 100.0, 0.0))
    counts.observe_queue(0.3)
    found = dict(counts)
    assert tuple(found) == NAMES
    assert [sum(histogram.counts) for histogram in found.values()] == [3, 2, 2, 2, 2]
    assert found["hub_queue"].total == pytest.approx(0.3005)
    assert found["upstream_connect"].counts[-1] == 1
    assert found["upstream_first_byte"].counts[BOUNDS.index(10.0)] == 1
    assert found["agent_queue"].counts[0] == 2


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ([b"Tunnel-Server-Timing", b"1"], True),
        ([b"tunnel-server-timing", b"1"], True),
        ([b"Tunnel-Server-Timing", b"0"], False),
        ([b"Tunnel-Server-Timing", b""], False),
        ([b"Tunnel-Service", b"1"], False),
        ([], False),
    ],
)
def test_asking(fields: list[bytes], asked: bool) -> None:
    assert asks(fields) is asked
