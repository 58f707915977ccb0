"""Where a websocket's frames end, however the bytes are cut, and the goodbye behind one of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunnel_hub.farewell import GOING_AWAY, Farewell, Frames


def frame(size: int, *, masked: bool = False, opcode: int = 2) -> bytes:
    mask = 0x80 if masked else 0
    if size < 126:
        head = bytes((0x80 | opcode, mask | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, mask | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, mask | 127)) + size.to_bytes(8, "big")
    return head + (b"\x01\x02\x03\x04" if masked else b"") + b"\x81" * size


SIZES = st.lists(st.sampled_from([0, 1, 2, 125, 126, 127, 300, 65535, 65536, 70_000]), max_size=6)


@given(SIZES, st.booleans(), st.lists(st.integers(0, 200_000), max_size=12))
def test_a_boundary_is_seen_in_any_cut(sizes: list[int], masked: bool, cuts: list[int]) -> None:
    frames = [frame(size, masked=masked) for size in sizes]
    wire = b"".join(frames)
    ends = {0}
    for each in frames:
        ends.add(max(ends) + len(each))
    tracker = Frames()
    at = 0
    for cut in [*sorted(cut for cut in cuts if cut <= len(wire)), len(wire)]:
        assert tracker.advance(wire[at:cut]) == cut - at
        at = cut
        assert tracker.between == (at in ends)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536])
@pytest.mark.parametrize("masked", [False, True])
def test_it_stops_at_the_first_boundary(size: int, masked: bool) -> None:
    first, second = frame(size, masked=masked), frame(9)
    for begun in range(1, min(len(first), 16)):
        tracker = Frames()
        tracker.advance(first[:begun])
        if tracker.between:
            continue
        assert tracker.advance(first[begun:] + second, to_boundary=True) == len(first) - begun
        assert tracker.between


def test_between_frames_the_goodbye_comes_at_once_and_once() -> None:
    farewell = Farewell()
    assert farewell.passing(frame(5)) == frame(5)
    assert farewell.say() == GOING_AWAY
    assert farewell.say() == b""
    assert farewell.passing(frame(7)) == b""


def test_inside_a_frame_the_goodbye_waits_for_its_end() -> None:
    farewell = Farewell()
    whole = frame(300)
    assert farewell.passing(whole[:100]) == whole[:100]
    assert farewell.say() == b""
    assert farewell.passing(whole[100:200]) == whole[100:200]
    assert not farewell.said
    assert farewell.passing(whole[200:] + frame(4)) == whole[200:] + GOING_AWAY
    assert farewell.passing(frame(1)) == b""
