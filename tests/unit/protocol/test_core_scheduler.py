"""The outbox's bytes and the ring's order."""

from __future__ import annotations

import pytest

from protocol import frames
from protocol.limits import DATA_FRAME, DATA_MAX, SEND_HIGH, SEND_LOW
from protocol.scheduler import Buffer, Outbox, Scheduler
from protocol.stream import BODY, ENDED, Stream
from tests.sim.pair import frames_of


def stream(number: int, queued: bytes = b"", credit: int = 1 << 20, ending: bool = False) -> Stream:
    result = Stream(number, credit, BODY, ENDED, None)
    result.outbox = Outbox()
    if queued:
        result.outbox.put(queued)
    result.outbox.ending = ending
    return result


def drain(scheduler: Scheduler) -> list[tuple[int, int, bool]]:
    """(stream, bytes, ends) of every frame, in order."""
    result = []
    while scheduler:
        parts: list[Buffer] = []
        chosen, size, ends = scheduler.next_frame(parts)
        wire = b"".join(parts)
        assert size == len(wire)
        frame = frames_of(wire)[0]
        assert frame[1] == chosen.id
        if frame[0] == frames.DATA:
            assert ends == bool(frame[2])
            result.append((chosen.id, len(frame[3]), ends))
        else:
            assert ends
            result.append((chosen.id, 0, True))
    return result


def test_exact_bytes_over_buffers_of_every_kind() -> None:
    outbox = Outbox()
    for piece in (b"abc", memoryview(b"defg"), b"h", memoryview(bytearray(b"ij"))):
        outbox.put(piece)
    assert outbox.queued == 10
    taken = [b"".join(outbox.take(size)) for size in (1, 2, 3, 0, 1, 3)]
    assert taken == [b"a", b"bc", b"def", b"", b"g", b"hij"]
    assert outbox.queued == 0
    assert not outbox.buffers


def test_the_source_pauses_above_high_and_goes_on_at_low() -> None:
    outbox = Outbox()
    assert outbox.put(b"x" * SEND_HIGH)
    assert not outbox.put(b"x")
    assert not outbox.put(b"x")
    outbox.take(outbox.queued - SEND_LOW - 1)
    assert not outbox.unblock()
    assert not outbox.put(b"")
    outbox.take(1)
    assert outbox.unblock()
    assert not outbox.unblock()
    assert outbox.put(b"x")


def test_one_frame_a_turn_in_the_order_of_entering() -> None:
    scheduler = Scheduler()
    streams = [stream(number, b"x" * (2 * DATA_FRAME)) for number in (5, 1, 3)]
    for each in streams:
        scheduler.add(each)
        scheduler.add(streams[0])
    assert [number for number, _, _ in drain(scheduler)] == [5, 1, 3, 5, 1, 3]


def test_large_frames_only_when_nobody_else_waits() -> None:
    scheduler = Scheduler()
    scheduler.add(stream(1, b"x" * (DATA_MAX + 1)))
    assert [size for _, size, _ in drain(scheduler)] == [DATA_MAX, 1]
    scheduler.add(stream(1, b"x" * DATA_MAX))
    scheduler.add(stream(3, b"x" * DATA_MAX))
    assert drain(scheduler) == [(1, DATA_FRAME, False), (3, DATA_FRAME, False)] * 2


@pytest.mark.parametrize(
    ("queued", "credit", "ending", "enters"),
    [
        (0, 100, False, False),
        (5, 0, False, False),
        (5, 0, True, False),
        (5, 1, False, True),
        (0, 0, True, True),
    ],
)
def test_who_enters_the_ring(queued: int, credit: int, ending: bool, enters: bool) -> None:
    scheduler = Scheduler()
    scheduler.add(stream(1, b"x" * queued, credit, ending))
    assert bool(scheduler) is enters


def test_a_stream_without_an_outbox_does_not_enter() -> None:
    scheduler = Scheduler()
    scheduler.add(Stream(1, 100, BODY, ENDED, None))
    assert not scheduler


def test_credit_is_used_to_the_last_byte_and_no_further() -> None:
    scheduler = Scheduler()
    each = stream(1, b"x" * 100, credit=70, ending=True)
    scheduler.add(each)
    assert drain(scheduler) == [(1, 70, False)]
    assert each.credit == 0
    each.credit = 30
    scheduler.add(each)
    assert drain(scheduler) == [(1, 30, True)]


def test_the_end_goes_with_the_last_bytes_or_alone() -> None:
    scheduler = Scheduler()
    scheduler.add(stream(1, b"x" * 10, ending=True))
    scheduler.add(stream(3, b"", credit=0, ending=True))
    assert drain(scheduler) == [(1, 10, True), (3, 0, True)]


def test_trailers_take_a_turn_of_their_own_after_the_last_bytes() -> None:
    scheduler = Scheduler()
    one, other = stream(1, b"x" * 10, credit=10, ending=True), stream(3, b"y" * 5)
    assert one.outbox is not None
    one.outbox.trailers = [b"X-Sum", b"1"]
    scheduler.add(one)
    scheduler.add(other)
    assert drain(scheduler) == [(1, 10, False), (3, 5, False), (1, 0, True)]


def test_removal() -> None:
    scheduler = Scheduler()
    one, other = stream(1, b"x"), stream(3, b"y")
    scheduler.add(one)
    scheduler.add(other)
    scheduler.remove(one)
    scheduler.remove(one)
    assert drain(scheduler) == [(3, 1, False)]
