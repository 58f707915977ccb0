"""Phases at the hub: its own readings and the agent's word, counted by service."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.ops.metrics import Histogram
from protocol.phases import FIELD, NAMES, encode
from tunnel_hub.phases import BOUNDS, TOGETHER, PhaseCounts, asks, take


def test_the_tunnel_is_what_is_left() -> None:
    fields = [b"Server", b"x", FIELD, encode((1000, 2000, 30_000))]
    phases = take(fields, 10.0, 10.5, 10.625)
    assert fields == [b"Server", b"x"]
    assert phases == (500_000, 92_000, 1000, 2000, 30_000)


def test_clocks_of_different_pace_leave_nothing_below_zero() -> None:
    assert take([FIELD, encode((0, 0, 1_000_500))], 10.0, 10.0, 11.0) == (0, 0, 0, 0, 1_000_500)


def test_an_agent_that_claims_more_time_than_there_was_is_not_believed() -> None:
    fields = [FIELD, encode((0, 0, 5_000_000))]
    assert take(fields, 10.0, 10.5, 11.0) == (500_000, 0, 0, 0, 0)
    assert fields == []


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ([], []),
        ([b"Server", b"x"], [b"Server", b"x"]),
        ([FIELD, b"nonsense"], []),
        ([FIELD, encode((1, 2, 3)), b"Server", b"x"], [FIELD, encode((1, 2, 3)), b"Server", b"x"]),
    ],
    ids=["none", "old agent", "nonsense", "not last"],
)
def test_without_the_agents_word_only_the_hubs_own_is_known(fields: list[bytes], left: list[bytes]) -> None:
    assert take(fields, 10.0, 10.5, 11.0) == (500_000, 0, 0, 0, 0)
    assert fields == left


@given(
    st.lists(
        st.tuples(*[st.sampled_from([0, 1, 99, 100, 101, 2500, 10_000_000]) | st.integers(0, 2**33)] * 5),
        max_size=2 * TOGETHER + 9,
    ),
    st.lists(st.floats(0, 100), max_size=5),
)
def test_many_counted_together_are_as_many_counted_one_by_one(
    many: list[tuple[int, int, int, int, int]], unanswered: list[float]
) -> None:
    counts = PhaseCounts()
    expected = [Histogram(BOUNDS) for _ in NAMES]
    for phases in many:
        counts.observe(phases)
        for histogram, part in zip(expected, phases, strict=True):
            histogram.observe(part / 1e6)
    for seconds in unanswered:
        counts.observe_queue(seconds)
        expected[0].observe(seconds)
    for _ in range(2):  # looking changes nothing
        found = dict(counts)
        assert tuple(found) == NAMES
        for histogram, other in zip(found.values(), expected, strict=True):
            assert histogram.counts == other.counts
            assert histogram.total == pytest.approx(other.total)


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
