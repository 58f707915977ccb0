"""The agent's word for its phases, and how they are shown to callers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.phases import decode, encode, server_timing


@pytest.mark.parametrize(
    ("own", "value"),
    [
        ((0, 0, 0), "000000000000000000000000"),
        ((1, 250_000, 3_600_000_000), "000000010003d090d693a400"),
        ((0, 0, 2**40), "0000000000000000ffffffff"),
        ((-1, 0, 7), "000000000000000000000007"),
    ],
)
def test_what_the_agent_says_is_what_the_hub_reads(own: tuple[int, int, int], value: str) -> None:
    assert encode(own).hex() == value
    assert decode(bytes.fromhex(value)) == tuple(min(max(part, 0), 2**32 - 1) for part in own)


@pytest.mark.parametrize("value", [b"", b"1 2 3", bytes(11), bytes(13), bytes(4096)])
def test_what_has_another_length_is_nothing(value: bytes) -> None:
    assert decode(value) is None


@given(st.binary(min_size=12, max_size=12))
def test_any_other_value_is_some_time(value: bytes) -> None:
    own = decode(value)
    assert own is not None
    assert all(0 <= part < 2**32 for part in own)
    assert encode(own) == value


def test_server_timing_names_what_took_time() -> None:
    assert server_timing((1000, 2500, 0, 0, 42_100)) == (
        b"hub_queue;dur=1.000, tunnel;dur=2.500, upstream_first_byte;dur=42.100"
    )
    assert server_timing((0, 0, 0, 0, 0)) == b""
