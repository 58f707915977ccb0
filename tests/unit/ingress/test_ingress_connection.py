"""Order, backpressure, ends and failures of one connection, without sockets."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.ingress.scripted import GET, Recorder, Rig
from tunnel_hub.ingress.limits import IngressLimits
from tunnel_hub.ingress.state import State

HOST = b"Host: visits.internal\r\n"
POST = b"POST /p HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\n\r\n"
CHUNKED = b"POST /c HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
EXPECTING = b"POST /p HTTP/1.1\r\n" + HOST + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n"
UPGRADE = b"GET /ws HTTP/1.1\r\n" + HOST + b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"


def get(path: bytes) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\n" + HOST + b"\r\n"


def echo(exchange: Recorder) -> None:
    exchange.answer(exchange.request.target)


def statuses(rig: Rig) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", rig.sent)]


def code(rig: Rig) -> str:
    """The problem code of the last answer."""
    text = json.loads(rig.sent.rpartition(b"\r\n\r\n")[2])["code"]
    assert isinstance(text, str)
    return text


def switched() -> Rig:
    rig = Rig()
    rig.feed(UPGRADE)
    rig.last.reply.head(101, b"Switching Protocols", [], None, b"", False)
    rig.take()
    return rig


# -- what the exchange is given -------------------------------------------------------------------------------


def test_head_and_whole_body_are_one_call() -> None:
    rig = Rig()
    rig.feed(POST + b"0123456789")
    assert rig.last.request.body == b"0123456789"
    assert rig.last.request.complete
    assert rig.last.events == []


def test_a_counted_body_in_pieces() -> None:
    rig = Rig()
    rig.feed(POST + b"01", b"2345", b"6789")
    assert not rig.last.request.complete
    assert rig.last.request.body == b"01"
    assert rig.last.events == [("body", b"2345"), ("body", b"6789"), ("end", [])]


def test_a_chunked_body_is_one_call_per_read() -> None:
    rig = Rig()
    rig.feed(CHUNKED + b"1\r\na\r\n1\r\nb\r\n", b"1\r\nc\r\n1\r\nd\r\n", b"1\r\n", b"e\r\n0\r\nX-T: 1\r\n\r\n")
    assert rig.last.request.body == b"ab"
    assert rig.last.events == [("body", b"cd"), ("body", b"e"), ("end", [b"X-T", b"1"])]


def test_a_whole_chunked_request_is_one_call() -> None:
    rig = Rig()
    rig.feed(CHUNKED + b"2\r\nab\r\n0\r\nX-T: 1\r\n\r\n")
    assert (rig.last.request.body, rig.last.request.complete, rig.last.request.trailers) == (
        b"ab",
        True,
        [b"X-T", b"1"],
    )
    assert rig.last.events == []


def test_the_peer_is_known() -> None:
    rig = Rig()
    rig.feed(GET)
    assert rig.last.reply.peer == "192.0.2.7"


@pytest.mark.parametrize("cut", range(1, len(POST) + 10))
def test_any_cut_gives_the_same_exchange(cut: int) -> None:
    wire = POST + b"0123456789" + get(b"/next")
    rig = Rig(answer_at_once=lambda exchange: None)
    rig.feed(wire[:cut])
    if rig.transport.reading:
        rig.feed(wire[cut:])
    first = rig.exchanges[0]
    assert (first.whole_body, first.complete) == (b"0123456789", True)
    assert len(rig.exchanges) == 1
    first.answer(b"1")
    rig.clock.turn()
    if cut == len(wire):
        rig.feed(wire[cut:])
    assert rig.last.request.target == b"/next"


KINDS = [
    (get(b"/g"), b""),
    (POST + b"0123456789", b"0123456789"),
    (CHUNKED + b"5\r\n01\r\n4\r\n0\r\nX-T: 1\r\n\r\n", b"01\r\n4"),
    (b"\r\n" + EXPECTING + b"0123456789", b"0123456789"),
    (UPGRADE, b""),
]


@given(
    kinds=st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=8),
    cuts=st.lists(st.integers(1, 900), max_size=12),
    at_once=st.lists(st.booleans(), min_size=8, max_size=8),
)
def test_any_requests_in_any_cut_with_any_delay(kinds: list[int], cuts: list[int], at_once: list[bool]) -> None:
    def perhaps(exchange: Recorder) -> None:
        if exchange.complete and at_once[len(rig.exchanges) - 1]:
            exchange.answer(b"%d" % len(rig.exchanges))

    rig = Rig(answer_at_once=perhaps)
    wire = b"".join(KINDS[kind][0] for kind in kinds)
    places = sorted({min(cut, len(wire)) for cut in cuts} - {0})
    reads = [wire[a:b] for a, b in zip([0, *places], [*places, len(wire)], strict=True) if a != b]
    for _ in range(2 * len(wire)):
        if rig.transport.reading and reads:
            rig.feed(reads.pop(0))
        elif rig.connection.state is State.EARLY:
            rig.last.answer(b"%d" % len(rig.exchanges))
            rig.clock.turn()
    assert reads == []
    assert [exchange.whole_body for exchange in rig.exchanges] == [KINDS[kind][1] for kind in kinds]
    assert all(exchange.complete for exchange in rig.exchanges)
    bodies = re.findall(rb"\r\n\r\n(\d+)", rig.sent)
    assert bodies == [b"%d" % (n + 1) for n in range(len(kinds))]
    assert rig.connection.state is State.HEAD
    assert not rig.transport.ended


# -- pipelining -----------------------------------------------------------------------------------------------


def test_pipelined_requests_start_one_at_a_time_and_are_answered_in_order() -> None:
    rig = Rig()
    rig.feed(get(b"/1") + POST + b"0123456789" + get(b"/3"))
    assert [exchange.request.target for exchange in rig.exchanges] == [b"/1"]
    rig.exchanges[0].answer(b"one")
    rig.clock.turn()
    assert [exchange.request.target for exchange in rig.exchanges] == [b"/1", b"/p"]
    assert rig.exchanges[1].request.body == b"0123456789"
    rig.exchanges[1].answer(b"two")
    rig.clock.turn()
    rig.exchanges[2].answer(b"three")
    answers = rig.sent.split(b"HTTP/1.1 200 OK\r\n")
    assert [answer.rpartition(b"\r\n\r\n")[2] for answer in answers] == [b"", b"one", b"two", b"three"]


def test_pipelined_requests_that_are_answered_at_once() -> None:
    rig = Rig(answer_at_once=echo)
    rig.feed(b"".join(get(b"/%d" % n) for n in range(500)) + GET[:20])
    assert [exchange.request.target for exchange in rig.exchanges] == [b"/%d" % n for n in range(500)]
    assert rig.sent.count(b"HTTP/1.1 200 OK") == 500
    assert rig.transport.reading
    rig.feed(GET[20:])
    assert rig.last.request.target == b"/a"


def test_a_pipelined_head_that_arrived_in_part() -> None:
    rig = Rig()
    rig.feed(get(b"/1") + GET[:20])
    rig.last.answer()
    rig.clock.turn()
    assert rig.transport.reading
    rig.feed(GET[20:])
    assert rig.last.request.target == b"/a"


def test_the_next_request_does_not_start_inside_the_end_of_the_last() -> None:
    rig = Rig()
    rig.feed(get(b"/1") + get(b"/2"))
    rig.last.answer()
    assert len(rig.exchanges) == 1
    rig.clock.turn()
    assert len(rig.exchanges) == 2


def test_a_refusal_comes_after_the_answers_before_it() -> None:
    rig = Rig()
    rig.feed(get(b"/1") + b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n" + get(b"/3"))
    assert rig.sent == b""
    rig.last.answer(b"one")
    rig.clock.turn()
    assert statuses(rig) == [200, 405]
    assert len(rig.exchanges) == 1
    assert rig.transport.eof_written


def test_nothing_starts_while_the_caller_does_not_read() -> None:
    rig = Rig(answer_at_once=echo)
    rig.connection.pause_writing()
    rig.feed(get(b"/1") + get(b"/2"))
    assert rig.exchanges == []
    rig.connection.resume_writing()
    assert len(rig.exchanges) == 2


def test_nothing_more_starts_when_an_answer_fills_the_buffer() -> None:
    rig = Rig()

    def fill(exchange: Recorder) -> None:
        exchange.answer()
        rig.connection.pause_writing()

    rig.answer_at_once = fill
    rig.feed(get(b"/1") + get(b"/2"))
    assert len(rig.exchanges) == 1
    rig.connection.resume_writing()
    assert len(rig.exchanges) == 2


@pytest.mark.parametrize("unwritable", [False, True])
def test_what_is_held_of_later_requests_is_bounded(unwritable: bool) -> None:
    rig = Rig(IngressLimits(early=100), answer_at_once=echo if unwritable else None)
    if unwritable:
        rig.connection.pause_writing()
    else:
        rig.feed(get(b"/0"))
    later = b"".join(get(b"/%d" % n) for n in range(1, 20))
    rig.feed(later[:100])
    assert rig.transport.reading
    rig.feed(later[100:101])
    assert not rig.transport.reading
    if unwritable:
        rig.connection.resume_writing()
    else:
        rig.answer_at_once = echo
        rig.last.answer()
        rig.clock.turn()
    assert rig.transport.reading
    rig.feed(later[101:])
    assert [exchange.request.target for exchange in rig.exchanges][-19:] == [b"/%d" % n for n in range(1, 20)]


def test_pipelined_requests_of_a_caller_that_left_are_dropped() -> None:
    rig = Rig()
    rig.feed(get(b"/1") + get(b"/2"))
    rig.eof()
    assert rig.last.told == ["gone"]
    assert len(rig.exchanges) == 1
    rig = Rig()
    rig.feed(get(b"/1") + get(b"/2"))
    rig.last.answer()
    rig.connection.eof_received()  # before the loop has turned
    rig.clock.turn()
    assert len(rig.exchanges) == 1


def test_after_close_nothing_is_served() -> None:
    rig = Rig(answer_at_once=echo)
    rig.feed(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + get(b"/2"), get(b"/3"))
    assert len(rig.exchanges) == 1
    assert rig.transport.eof_written


# -- refusals -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire", "status", "problem"),
    [
        (b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n", 400, "malformed_request"),
        (b"CONNECT a:1 HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method_not_allowed"),
        (b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n", 405, "method_not_allowed"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9223372036854775807\r\n\r\n", 413, "content_too_large"),
        (b"GET /" + b"a" * 20_000, 414, "target_too_long"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Expect: x\r\nContent-Length: 1\r\n\r\n", 417, "expectation_failed"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n" * 20_000, 431, "fields_too_large"),
        (b"FROB / HTTP/1.1\r\n" + HOST + b"\r\n", 501, "not_implemented"),
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: br, chunked\r\n\r\n0\r\n\r\n",
            501,
            "not_implemented",
        ),
        (b"GET / HTTP/2.0\r\n" + HOST + b"\r\n", 505, "version_not_supported"),
        (CHUNKED + b"zz\r\n", 400, "malformed_request"),
    ],
)
def test_a_refusal_is_a_problem_that_closes_and_never_starts_an_exchange(
    wire: bytes, status: int, problem: str
) -> None:
    rig = Rig()
    rig.feed(wire)
    head, _, body = rig.sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    for line in (
        b"Connection: close",
        b"Tunnel-Delivered: no",
        b"Content-Type: application/problem+json",
        b"Date: ",
    ):
        assert b"\r\n" + line in head
    assert b"\r\nContent-Length: %d\r\n" % len(body) in head + b"\r\n"
    assert (b"\r\nAllow: " in head) == (status == 405)
    assert json.loads(body)["code"] == problem
    assert json.loads(body)["request_id"] == "0123456789abcdef"
    assert rig.exchanges == []
    assert rig.refused == [("192.0.2.7", status, problem, "no", "0123456789abcdef")]
    assert rig.transport.eof_written
    rig.feed(GET)
    assert rig.exchanges == []


def test_a_refused_head_request_has_no_body() -> None:
    rig = Rig()
    rig.feed(b"HEAD / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n")
    assert rig.sent.endswith(b"\r\n\r\n")
    assert b"Content-Length: 0" not in rig.sent


def test_an_exchange_that_cannot_start_is_a_502() -> None:
    def fail(_exchange: Recorder) -> None:
        raise ZeroDivisionError

    rig = Rig(answer_at_once=fail)
    rig.feed(GET)
    assert statuses(rig) == [502]
    assert code(rig) == "internal_error"
    assert isinstance(rig.clock.faults[0]["exception"], ZeroDivisionError)


# -- OPTIONS --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wire",
    [
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"OPTIONS http://a.example HTTP/1.1\r\n" + HOST + b"\r\n",
        b"OPTIONS /a HTTP/1.1\r\n" + HOST + b"max-forwards: 0\r\n\r\n",
        b"OPTIONS /a HTTP/1.1\r\n" + HOST + b"Max-Forwards: 000\r\n\r\n",
    ],
)
def test_options_for_the_hub(wire: bytes) -> None:
    rig = Rig()
    rig.feed(wire)
    assert rig.exchanges == []
    assert rig.sent.startswith(b"HTTP/1.1 204 No Content\r\nAllow: GET, ")
    rig.feed(GET)
    assert len(rig.exchanges) == 1


@pytest.mark.parametrize(
    ("lines", "passed"),
    [
        (b"", []),
        (b"A: b\r\nMax-Forwards: 10\r\n", [b"A", b"b", b"Max-Forwards", b"9"]),
        (b"Max-Forwards: some\r\n", [b"Max-Forwards", b"some"]),
        (b"Max-Forwards: -1\r\n", [b"Max-Forwards", b"-1"]),
    ],
)
def test_options_for_a_service(lines: bytes, passed: list[bytes]) -> None:
    rig = Rig()
    rig.feed(b"OPTIONS /a HTTP/1.1\r\n" + HOST + lines + b"\r\n")
    assert rig.last.request.fields == passed


def test_max_forwards_means_nothing_elsewhere() -> None:
    rig = Rig()
    rig.feed(GET.replace(b"\r\n\r\n", b"\r\nMax-Forwards: 0\r\n\r\n"))
    assert rig.last.request.fields == [b"Max-Forwards", b"0"]


# -- 100 (Continue) and early answers -------------------------------------------------------------------------


def test_continue_is_sent_by_the_exchange() -> None:
    rig = Rig()
    rig.feed(EXPECTING)
    assert rig.last.request.expect_continue
    assert rig.sent == b""
    rig.last.reply.interim(100, [])
    assert rig.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    rig.feed(b"0123456789")
    rig.last.answer(b"ok")
    assert not rig.transport.eof_written


@pytest.mark.parametrize("wire", [EXPECTING, POST + b"01", CHUNKED])
def test_an_answer_before_the_body_was_read_closes_and_lingers(wire: bytes) -> None:
    rig = Rig()
    rig.feed(wire)
    rig.last.answer(b"no", 403)
    assert b"\r\nConnection: close\r\n" in rig.sent
    assert rig.transport.eof_written
    assert not rig.transport.ended
    rig.feed(b"the rest of the body")
    assert rig.last.events == []
    assert len(rig.exchanges) == 1
    rig.eof()
    assert rig.transport.ended == "close"


def test_both_directions_at_once() -> None:
    rig = Rig()
    rig.feed(CHUNKED)
    rig.last.reply.head(200, b"OK", [], None, b"a", False)
    rig.feed(b"1\r\nx\r\n")
    rig.last.reply.body(b"b")
    rig.feed(b"0\r\n\r\n")
    rig.last.reply.end([])
    assert rig.last.told == ["body", "end"]
    assert b"\r\nConnection: close\r\n" in rig.sent
    assert rig.sent.endswith(b"1\r\nb\r\n0\r\n\r\n")


def test_an_answer_from_inside_the_last_piece_of_the_body() -> None:
    rig = Rig()
    rig.feed(POST)
    exchange = rig.last
    original = exchange.on_body

    def answering(data: bytes) -> None:
        original(data)
        exchange.answer(b"done")

    exchange.on_body = answering  # type: ignore[method-assign]
    rig.feed(b"0123456789" + get(b"/next"))
    assert exchange.told == ["body"]
    assert rig.last.request.target == b"/next"
    assert not rig.transport.eof_written


# -- backpressure ---------------------------------------------------------------------------------------------


def test_a_slow_caller_stops_the_exchange() -> None:
    rig = Rig()
    rig.feed(GET)
    reply = rig.last.reply
    assert reply.head(200, b"OK", [], None, b"a", False)
    rig.connection.pause_writing()
    assert not reply.body(b"b")
    assert rig.last.events == []
    rig.connection.resume_writing()
    assert rig.last.events == [("writable", None)]
    assert reply.body(b"c")


def test_pausing_the_body_is_idempotent_and_ends_with_the_request() -> None:
    rig = Rig()
    rig.feed(POST)
    reply = rig.last.reply
    reply.resume_body()
    reply.pause_body()
    reply.pause_body()
    assert not rig.transport.reading
    reply.resume_body()
    reply.resume_body()
    assert rig.transport.reading
    reply.pause_body()
    rig.connection.data_received(b"0123456789")  # TLS may still deliver what it had decrypted
    assert rig.last.told == ["body", "end"]
    assert rig.transport.reading
    rig.last.answer()
    rig.feed(GET)
    assert len(rig.exchanges) == 2


def test_a_paused_body_does_not_stop_the_lingering_close() -> None:
    rig = Rig()
    rig.feed(POST)
    rig.last.reply.pause_body()
    rig.last.answer(b"no", 403)
    assert rig.transport.reading


def test_what_is_discarded_is_bounded() -> None:
    rig = Rig(IngressLimits(linger_bytes=100))
    rig.feed(POST)
    rig.last.answer(b"no", 403)
    rig.feed(b"x" * 100)
    assert not rig.transport.ended
    rig.feed(b"x")
    assert rig.transport.ended == "abort"


# -- the caller's end -----------------------------------------------------------------------------------------


def test_a_lost_connection_is_told_once() -> None:
    for wire in (GET, POST, CHUNKED + b"1\r\n"):
        rig = Rig()
        rig.feed(wire)
        rig.lose()
        assert rig.last.told == ["gone"]
        rig.last.reply.abort()
        assert rig.last.reply.head(200, b"OK", [], 0, b"", True)
        assert rig.sent == b""
        assert rig.context.connections == set()


def test_a_lost_connection_after_the_answer_is_not_told() -> None:
    rig = Rig()
    rig.feed(GET)
    rig.last.answer()
    rig.lose()
    assert rig.last.events == []


def test_a_caller_that_closes_its_direction_while_waiting_is_gone() -> None:
    rig = Rig()
    rig.feed(GET)
    assert not rig.eof()
    assert rig.last.told == ["gone"]
    assert rig.transport.ended == "close"


def test_a_caller_that_closes_its_direction_during_the_answer_sees_no_clean_end() -> None:
    rig = Rig()
    rig.feed(b"GET /a HTTP/1.0\r\n\r\n")
    rig.last.reply.head(200, b"OK", [], None, b"half of it", False)
    rig.eof()
    assert rig.last.told == ["gone"]
    assert rig.transport.ended == "reset"


def test_the_end_of_an_idle_connection_or_of_half_a_head() -> None:
    for wire in (b"", GET[:10]):
        rig = Rig()
        if wire:
            rig.feed(wire)
        assert not rig.eof()
        assert rig.sent == b""
        assert rig.transport.ended == "close"


def test_broken_framing_of_a_body_ends_the_exchange() -> None:
    rig = Rig()
    rig.feed(CHUNKED + b"1\r\na\r\n", b"zz\r\n")
    assert rig.last.told == ["gone"]
    assert statuses(rig) == [400]
    assert rig.transport.eof_written


def test_broken_framing_after_the_answer_began_aborts_it() -> None:
    rig = Rig()
    rig.feed(CHUNKED)
    rig.last.reply.head(200, b"OK", [], None, b"a", False)
    rig.take()
    rig.feed(b"zz\r\n")
    assert rig.last.told == ["gone"]
    assert rig.sent == b""
    assert rig.transport.ended == "reset"


# -- upgraded connections -------------------------------------------------------------------------------------


def test_a_pipe_carries_bytes_both_ways() -> None:
    rig = switched()
    rig.feed(b"to the upstream", GET)
    assert rig.last.events == [("body", b"to the upstream"), ("body", GET)]
    rig.last.reply.body(b"to the caller")
    assert rig.take() == b"to the caller"


def test_early_bytes_belong_to_the_pipe() -> None:
    for at_once in (True, False):
        rig = Rig()
        if at_once:
            rig.answer_at_once = lambda exchange: exchange.reply.head(101, b"", [], None, b"", False)
        rig.feed(UPGRADE + b"early")
        if not at_once:
            assert rig.last.events == []
            rig.last.reply.head(101, b"", [], None, b"", False)
            rig.clock.turn()
        assert rig.last.events == [("body", b"early")]
        assert rig.transport.reading
        rig.feed(b"later")
        assert rig.last.events[1:] == [("body", b"later")]


def test_early_bytes_keep_their_place_in_the_pipe() -> None:
    for half_close in (False, True):
        rig = Rig()
        rig.feed(UPGRADE + b"early")
        rig.last.reply.head(101, b"", [], None, b"", False)
        if half_close:
            rig.connection.eof_received()
        else:
            rig.connection.data_received(b"later")  # before the loop has turned
        rig.clock.turn()
        assert rig.last.events == [("body", b"early"), ("end", []) if half_close else ("body", b"later")]


def test_early_bytes_are_requests_when_the_upgrade_is_declined() -> None:
    rig = Rig()
    rig.feed(UPGRADE + GET)
    rig.last.answer(b"no", 400)
    rig.clock.turn()
    assert rig.last.request.target == b"/a"


def test_the_caller_half_closes_a_pipe() -> None:
    rig = switched()
    assert rig.eof()
    assert rig.last.told == ["end"]
    rig.last.reply.body(b"still coming")
    assert rig.take() == b"still coming"
    rig.last.reply.end([])
    assert rig.transport.ended == "close"
    rig.clock.turn()
    assert rig.last.told == ["end"]


def test_the_upstream_half_closes_a_pipe() -> None:
    rig = switched()
    rig.last.reply.end([])
    assert rig.transport.eof_written
    rig.last.reply.body(b"too late")
    rig.feed(b"still coming")
    rig.last.reply.pause_body()
    assert not rig.transport.reading
    rig.last.reply.resume_body()
    assert not rig.eof()
    assert rig.last.told == ["body", "end"]
    assert rig.sent == b""


def test_a_half_closed_pipe_can_be_aborted() -> None:
    rig = switched()
    rig.last.reply.end([])
    rig.last.reply.abort()
    assert rig.transport.ended == "reset"


def test_a_lost_pipe_is_told() -> None:
    rig = switched()
    rig.lose()
    assert rig.last.told == ["gone"]


# -- TLS, which cannot be half-closed -------------------------------------------------------------------------


def test_a_tls_connection_closes_at_once_after_the_last_answer() -> None:
    rig = Rig(tls=True)
    rig.feed(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    rig.last.answer(b"bye")
    assert rig.sent.endswith(b"bye")
    assert rig.transport.ended == "close"


def test_the_end_of_a_tls_pipe_is_the_end_of_both_directions() -> None:
    for ours in (True, False):
        rig = Rig(tls=True)
        rig.feed(UPGRADE)
        rig.last.reply.head(101, b"", [], None, b"", False)
        if ours:
            rig.last.reply.end([])
        else:
            assert not rig.eof()
        assert rig.transport.ended == "close"
        rig.clock.turn()
        assert rig.last.told == (["gone"] if ours else ["end", "gone"])


# -- limits and drain -----------------------------------------------------------------------------------------


def test_connections_beyond_the_limit_are_told_so() -> None:
    rig = Rig(IngressLimits(connections=1))
    connection, transport = rig.connect()
    assert transport.written == []
    connection.data_received(GET)
    answer = b"".join(transport.written)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: " in answer
    assert b"\r\nConnection: close" in answer
    assert transport.eof_written
    assert rig.exchanges == []
    assert rig.refused[0][2] == "too_many_connections"


def test_connections_far_beyond_the_limit_are_cut() -> None:
    rig = Rig(IngressLimits(connections=1))
    kept = [rig.connect() for _ in range(16)]
    assert not any(transport.ended for _, transport in kept)
    connection, transport = rig.connect()
    assert transport.ended == "reset"
    rig.clock.turn()
    assert connection.state is State.CLOSED
    assert len(rig.context.connections) == 17
    rig.lose()
    assert len(rig.context.connections) == 16


def test_a_connection_counts_until_it_is_lost() -> None:
    rig = Rig(IngressLimits(connections=1))
    rig.lose()
    assert rig.context.empty.is_set()
    connection, _ = rig.connect()
    assert not rig.context.empty.is_set()
    assert not connection.refuse_all


def test_closing_says_so() -> None:
    rig = Rig()
    rig.feed(GET)
    rig.context.closing = True
    rig.last.answer(b"bye")
    assert b"\r\nConnection: close\r\n" in rig.sent
    assert rig.transport.eof_written


def test_only_idle_connections_close_when_asked() -> None:
    rig = Rig()
    rig.feed(GET)
    rig.connection.close_if_idle()
    assert not rig.transport.ended
    rig.last.answer()
    rig.feed(GET[:10])
    rig.connection.close_if_idle()
    assert not rig.transport.ended
    rig.feed(GET[10:])
    rig.last.answer()
    rig.connection.close_if_idle()
    assert rig.transport.ended == "close"
