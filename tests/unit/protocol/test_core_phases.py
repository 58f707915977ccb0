"""The agent's word for its phases, and how they are shown to callers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.phases import decode, encode, server_timing


@pytest.mark.parametrize(
    ("phases", "value"),
    [
        ((0.0, 0.0, 0.0), "000000000000000000000000"),
        ((0.000001, 0.25, 3600.0), "000000010003d090d693a400"),
        ((0.0000019, 0.0, 0.0), "000000010000000000000000"),
        ((0.0, 0.0, 1e9), "0000000000000000ee6b2800"),
    ],
)
def test_what_the_agent_says_is_what_the_hub_reads(phases: tuple[float, float, float], value: str) -> None:
    assert encode(*phases).hex() == value
    assert decode(bytes.fromhex(value)) == pytest.approx([min(part, 4000.0) for part in phases], abs=1e-6)


@pytest.mark.parametrize("value", [b"", b"1 2 3", bytes(11), bytes(13), bytes(4096)])
def test_what_has_another_length_is_nothing(value: bytes) -> None:
    assert decode(value) is None


@given(st.binary(min_size=12, max_size=12))
def test_any_other_value_is_some_time(value: bytes) -> None:
    phases = decode(value)
    assert phases is not None
    assert all(0 <= part < 2**32 / 1e6 for part in phases)


def test_server_timing_names_what_took_time() -> None:
    assert server_timing((0.001, 0.0025, 0.0, 0.0, 0.0421)) == (
        b"hub_queue;dur=1.000, tunnel;dur=2.500, upstream_first_byte;dur=42.100"
    )
    assert server_timing((0.0, 0.0, 0.0, 0.0, 0.0)) == b""
