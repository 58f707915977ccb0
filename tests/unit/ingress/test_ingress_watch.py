"""Timeouts, by a clock that the test moves."""

from __future__ import annotations

import json

import pytest

from tests.unit.ingress.scripted import GET, Rig
from tunnel_hub.ingress.limits import IngressLimits

LIMITS = IngressLimits(
    header_timeout=10,
    idle_timeout=100,
    body_idle_timeout=20,
    send_idle_timeout=30,
    linger_time=2,
    linger_bytes=1000,
)
LATE = 0.1
"""More than the wheel may be late."""
POST = b"POST /p HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\n"


def started(wire: bytes = b"") -> Rig:
    rig = Rig(LIMITS)
    if wire:
        rig.feed(wire)
    return rig


def code(rig: Rig) -> str:
    return str(json.loads(rig.sent.rpartition(b"\r\n\r\n")[2])["code"])


def test_limits_must_be_positive() -> None:
    with pytest.raises(ValueError, match="linger_time"):
        IngressLimits(linger_time=0)


@pytest.mark.parametrize("served", [0, 3])
def test_an_idle_connection_is_closed(served: int) -> None:
    rig = started()
    for _ in range(served):
        rig.feed(GET)
        rig.clock.advance(50)
        rig.last.answer()
        rig.clock.advance(99)
        assert not rig.transport.ended
    rig.take()
    rig.clock.advance(1 + LATE if served else 100 + LATE)
    assert rig.transport.ended == "close"
    assert rig.sent == b""
    assert len(rig.wheel) == 0


def test_a_slow_head_is_answered_408() -> None:
    rig = started()
    rig.clock.advance(55)
    rig.feed(GET[:1])
    for byte in GET[1:10]:
        rig.clock.advance(1)
        rig.feed(bytes([byte]))
    rig.clock.advance(1 - 2 * LATE)
    assert rig.sent == b""
    rig.clock.advance(3 * LATE)
    assert rig.sent.startswith(b"HTTP/1.1 408 ")
    assert b"\r\nConnection: close" in rig.sent
    assert code(rig) == "request_timeout"
    assert rig.exchanges == []


def test_the_time_for_a_head_begins_with_its_first_byte() -> None:
    rig = started(GET[:5])
    rig.clock.advance(9)
    rig.feed(GET[5:])
    rig.last.answer()
    rig.take()
    rig.feed(GET[:5])
    rig.clock.advance(9)
    assert rig.sent == b""
    rig.feed(GET[5:])
    assert len(rig.exchanges) == 2


def test_a_pipelined_partial_head_has_its_time_from_its_turn_on() -> None:
    rig = started(GET + GET[:5])
    rig.clock.advance(60)
    rig.last.answer()
    rig.take()
    rig.clock.advance(9)
    assert rig.sent == b""
    rig.clock.advance(1 + LATE)
    assert rig.sent.startswith(b"HTTP/1.1 408 ")


def test_a_stalled_body_is_answered_408() -> None:
    rig = started(POST.replace(b"100", b"99999") + b"1")
    for _ in range(5):
        rig.clock.advance(19)
        rig.feed(b"2" * 6000)
    assert rig.sent == b""
    rig.clock.advance(20 + LATE)
    assert rig.sent.startswith(b"HTTP/1.1 408 ")
    assert rig.last.told[-1] == "gone"
    assert rig.transport.eof_written


def test_the_time_for_a_body_begins_with_the_end_of_its_head() -> None:
    rig = started(POST[:5])
    rig.clock.advance(9)
    rig.feed(POST[5:])
    rig.clock.advance(19)
    assert rig.last.events == []
    rig.clock.advance(1 + LATE)
    assert rig.last.told == ["gone"]


def test_a_pause_of_one_body_does_not_excuse_the_next() -> None:
    rig = started(POST)
    rig.last.reply.pause_body()
    rig.connection.data_received(b"x" * 100)
    rig.last.answer()
    rig.feed(POST)
    rig.clock.advance(20 + LATE)
    assert rig.last.told == ["gone"]


def test_a_stalled_body_after_the_answer_began_is_aborted() -> None:
    rig = started(POST)
    rig.last.reply.head(200, b"OK", [], None, b"a", False)
    rig.take()
    rig.clock.advance(20 + LATE)
    assert rig.sent == b""
    assert rig.last.told == ["gone"]
    assert rig.transport.ended == "reset"


def test_a_body_that_we_do_not_read_may_take_its_time() -> None:
    rig = started(POST)
    rig.last.reply.pause_body()
    rig.clock.advance(500)
    assert rig.last.events == []
    rig.last.reply.resume_body()
    rig.clock.advance(19)
    assert rig.last.events == []
    rig.clock.advance(1 + LATE)
    assert rig.last.told == ["gone"]


def test_a_caller_that_waits_for_continue_may_take_its_time() -> None:
    rig = started(POST.replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n"))
    rig.clock.advance(500)
    assert rig.last.events == []
    rig.last.reply.interim(100, [])
    rig.clock.advance(20 + LATE)
    assert rig.last.told == ["gone"]


def test_waiting_for_an_answer_is_the_exchange_s_business() -> None:
    rig = started(GET)
    rig.clock.advance(10_000)
    assert rig.last.events == []
    assert not rig.transport.ended


def test_a_pipe_may_be_quiet() -> None:
    rig = started(GET.replace(b"\r\n\r\n", b"\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"))
    rig.last.reply.head(101, b"", [], None, b"", False)
    rig.clock.advance(10_000)
    assert rig.last.events == []


def test_a_caller_that_takes_nothing_is_cut_off() -> None:
    rig = started(GET)
    rig.last.reply.head(200, b"OK", [], None, b"a", False)
    rig.transport.stuck = 5000
    rig.connection.pause_writing()
    rig.clock.advance(30)
    assert rig.last.events == []
    rig.clock.advance(2 * LIMITS.shortest)
    assert rig.last.told == ["gone"]
    assert rig.transport.ended == "reset"


def test_a_caller_that_takes_a_little_is_kept() -> None:
    rig = started(GET)
    rig.last.reply.head(200, b"OK", [], None, b"a", False)
    for left in range(120_000, 20_000, -10_000):
        rig.transport.stuck = left
        rig.clock.advance(29)
    assert rig.last.events == []


def test_a_caller_that_trickles_its_body_is_answered_408() -> None:
    rig = started(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n1")
    for _ in range(4):
        rig.clock.advance(19)
        rig.feed(b"2")
    assert b"too slowly" in rig.sent
    assert rig.last.told[-1] == "gone"


def test_a_caller_that_trickles_its_answer_is_cut_off() -> None:
    rig = started(GET)
    rig.last.reply.head(200, b"OK", [], None, b"a", False)
    for left in range(5000, 4000, -100):
        rig.transport.stuck = left
        rig.clock.advance(29)
    assert rig.last.told[-1] == "gone"
    assert rig.transport.ended == "reset"


def test_a_full_buffer_that_moves_is_not_taken_for_a_stall() -> None:
    rig = started(GET)
    rig.last.reply.head(200, b"OK", [], None, b"a", False)
    for _ in range(20):
        rig.transport.stuck = 5000
        rig.last.reply.body(b"x" * 10_000)
        rig.clock.advance(25)
    assert rig.last.events == []


def test_a_stall_is_not_counted_over_a_time_when_nothing_waited() -> None:
    rig = started()
    for _ in range(10):
        rig.feed(GET)
        rig.transport.stuck = 5000
        rig.last.answer(b"same")
        rig.clock.advance(20)
        rig.transport.stuck = 0
        rig.clock.advance(20)
    assert not rig.transport.ended


def test_a_complete_answer_that_is_never_taken_does_not_hold_the_connection() -> None:
    rig = started(GET)
    rig.transport.stuck = 5000
    rig.last.answer(b"a")
    rig.clock.advance(30 + 2 * LIMITS.shortest)
    assert rig.transport.ended == "reset"
    assert rig.last.events == []


def test_lingering_is_bounded_in_time() -> None:
    rig = started(POST)
    rig.last.answer(b"no", 403)
    rig.clock.advance(1.9)
    assert not rig.transport.ended
    rig.clock.advance(0.1 + LATE)
    assert rig.transport.ended == "abort"


def test_lingering_waits_for_the_answer_to_be_taken() -> None:
    rig = started(POST)
    rig.transport.stuck = 5000
    rig.last.answer(b"no", 403)
    rig.clock.advance(25)
    assert not rig.transport.ended
    rig.transport.stuck = 0
    rig.clock.advance(LIMITS.shortest + LATE)
    assert rig.transport.ended == "abort"


def test_a_connection_too_many_is_not_kept_when_it_says_nothing() -> None:
    rig = Rig(IngressLimits(connections=1, linger_time=2))
    _, transport = rig.connect()
    rig.clock.advance(2 + LATE)
    assert transport.ended == "close"
    assert not rig.transport.ended


def test_a_lost_connection_leaves_no_timer() -> None:
    rig = started(GET)
    rig.lose()
    assert len(rig.wheel) == 0
