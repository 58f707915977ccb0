"""The agent's word for its phases, and how they are shown to callers."""

from __future__ import annotations

import pytest

from protocol.phases import decode, encode, server_timing


@pytest.mark.parametrize(
    ("phases", "value"),
    [
        ((0.0, 0.0, 0.0), b"0 0 0"),
        ((0.000001, 0.25, 3600.0), b"1 250000 3600000000"),
        ((0.0000019, 0.0, 0.0), b"1 0 0"),
    ],
)
def test_what_the_agent_says_is_what_the_hub_reads(phases: tuple[float, float, float], value: bytes) -> None:
    assert encode(*phases) == value
    assert decode(value) == pytest.approx(phases, abs=1e-6)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"1",
        b"1 2",
        b"1 2 3 4",
        b"1  2 3",
        b"-1 2 3",
        b"1 -2 3",
        b"1 2 -3",
        b"1 2 x",
        b"1.5 2 3",
        b"nan 0 0",
        b"1 2 1000000000000",
        b"9" * 49,
        b"1 2 " + b"9" * 4000,
        b"\xff 0 0",
    ],
)
def test_nonsense_is_nothing(value: bytes) -> None:
    assert decode(value) is None


def test_server_timing_names_what_took_time() -> None:
    assert server_timing((0.001, 0.0025, 0.0, 0.0, 0.0421)) == (
        b"hub_queue;dur=1.000, tunnel;dur=2.500, upstream_first_byte;dur=42.100"
    )
    assert server_timing((0.0, 0.0, 0.0, 0.0, 0.0)) == b""
