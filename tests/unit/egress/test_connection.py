"""The timeouts of a connection to the tick, with a clock and a transport of the test's own."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

from protocol.errors import StreamCode
from tests.unit.egress.clock import Clock
from tests.unit.egress.harness import LINE, OK, SWITCH, Recorder, request
from tunnel_agent.egress.call import Call, UpstreamRequest
from tunnel_agent.egress.connection import Connection
from tunnel_agent.egress.request import prepare
from tunnel_agent.egress.timeouts import Limits, Timeouts

TIMEOUTS = Timeouts(first_byte=10.0, idle=30.0, pipe_idle=100.0, keep_idle=15.0)


class Transport:
    """Takes everything; `buffered` is what it pretends to hold."""

    def __init__(self) -> None:
        self.written = b""
        self.buffered = 0
        self.closed = ""
        self.reading = True

    def write(self, data: bytes) -> None:
        self.written += data

    def get_write_buffer_size(self) -> int:
        return self.buffered

    def is_closing(self) -> bool:
        return bool(self.closed)

    def abort(self) -> None:
        self.closed = "abort"

    def close(self) -> None:
        self.closed = "close"

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_write_buffer_limits(self, high: int) -> None:
        assert high > 0

    def get_extra_info(self, _name: str) -> None:
        return None


class Bench:
    """One connection with everything around it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.transport = Transport()
        self.events: list[str] = []
        owner: Any = self
        loop: Any = self.clock
        transport: Any = self.transport
        self.connection = Connection(owner, loop, loop, TIMEOUTS, Limits())
        self.connection.connection_made(transport)
        self.connection.adopted = True

    def released(self, connection: Connection) -> None:
        self.events.append("released")
        connection.rest()

    def discarded(self, _: Connection) -> None:
        self.events.append("discarded")

    def lost(self, _: Connection) -> None:
        self.events.append("lost")

    def begin(self, sent: UpstreamRequest | None = None, **times: float) -> Recorder:
        got = Recorder()
        got.call = call = Call(sent or request(), got)
        call.wire, call.framing = prepare(call.request)
        for name, value in times.items():
            setattr(call, name, value)
        self.connection.begin(call)
        return got

    def arrives(self, data: bytes) -> None:
        self.connection.data_received(data)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def fails_at(bench: Bench, got: Recorder, when: float, code: StreamCode) -> None:
    """The exchange ends at `when` and not before."""
    bench.clock.move(when - 0.01)
    assert got.failure is None
    bench.clock.move(when)
    assert got.code is code
    assert (bench.transport.closed, bench.events) == ("abort", ["discarded"])
    assert bench.clock.live == []


def test_the_answer_is_awaited_from_the_request_on(bench: Bench) -> None:
    fails_at(bench, bench.begin(), 110.0, StreamCode.FIRST_BYTE_TIMEOUT)


def test_a_head_that_drips_does_not_win_time(bench: Bench) -> None:
    got = bench.begin()
    for at in range(101, 110):
        bench.clock.move(at)
        bench.arrives(LINE[at - 101 : at - 100])
    fails_at(bench, got, 110.0, StreamCode.FIRST_BYTE_TIMEOUT)


def test_an_interim_answer_starts_the_wait_anew(bench: Bench) -> None:
    got = bench.begin()
    bench.clock.move(107.0)
    bench.arrives(b"HTTP/1.1 102 Processing\r\n\r\n")
    fails_at(bench, got, 117.0, StreamCode.FIRST_BYTE_TIMEOUT)


def test_the_answer_is_awaited_from_the_last_byte_of_the_body_on(bench: Bench) -> None:
    got = bench.begin(request(b"PUT", length=3, complete=False))
    assert got.call is not None
    for at, piece in ((120.0, b"a"), (145.0, b"b"), (170.0, b"c")):
        bench.clock.move(at)
        assert got.call.body(piece)
    fails_at(bench, got, 180.0, StreamCode.FIRST_BYTE_TIMEOUT)


def test_the_answer_is_awaited_from_the_end_of_a_chunked_body_on(bench: Bench) -> None:
    got = bench.begin(request(b"PUT", chunked=True, complete=False))
    assert got.call is not None
    bench.clock.move(120.0)
    got.call.body_end([])
    fails_at(bench, got, 130.0, StreamCode.FIRST_BYTE_TIMEOUT)


def test_a_body_that_does_not_go_on_is_idle(bench: Bench) -> None:
    got = bench.begin(request(b"PUT", length=3, body=b"a", complete=False))
    fails_at(bench, got, 130.0, StreamCode.IDLE_TIMEOUT)


def test_the_answer_is_not_awaited_while_the_upstream_takes_the_body(bench: Bench) -> None:
    got = bench.begin(request(b"PUT", length=1_000_000, body=b"x" * 1_000_000))
    for at in range(101, 180):
        bench.transport.buffered = 1_000_000 - at
        bench.clock.move(at)
    assert got.failure is None
    bench.transport.buffered = 0
    bench.connection.resume_writing()
    fails_at(bench, got, 189.0, StreamCode.FIRST_BYTE_TIMEOUT)


def test_an_upstream_that_stops_taking_the_body_is_idle(bench: Bench) -> None:
    got = bench.begin(request(b"PUT", length=1_000_000, body=b"x" * 1_000_000))
    bench.transport.buffered = 500_000
    bench.clock.move(139.0)  # first seen at 110, when the answer would have been due
    assert got.failure is None
    bench.clock.move(140.0)
    assert got.code is StreamCode.IDLE_TIMEOUT


def test_each_byte_of_the_answer_counts(bench: Bench) -> None:
    got = bench.begin()
    bench.arrives(LINE + b"Content-Length: 5\r\n\r\n")
    for at in (125.0, 150.0, 175.0):
        bench.clock.move(at)
        bench.arrives(b"x")
    fails_at(bench, got, 205.0, StreamCode.IDLE_TIMEOUT)


def test_bytes_towards_the_upstream_count_as_well(bench: Bench) -> None:
    got = bench.begin(request(b"PUT", length=9, complete=False))
    bench.arrives(LINE + b"Content-Length: 5\r\n\r\n")
    assert got.call is not None
    for at in (125.0, 150.0, 175.0):
        bench.clock.move(at)
        got.call.body(b"x")
    fails_at(bench, got, 205.0, StreamCode.IDLE_TIMEOUT)


def test_a_pause_of_ours_stops_the_clock_and_its_end_starts_it_anew(bench: Bench) -> None:
    got = bench.begin()
    bench.arrives(LINE + b"Content-Length: 5\r\n\r\n")
    assert got.call is not None
    got.call.pause()
    bench.clock.move(1000.0)
    assert got.failure is None
    got.call.resume()
    fails_at(bench, got, 1030.0, StreamCode.IDLE_TIMEOUT)


def test_a_pause_does_not_stop_the_total(bench: Bench) -> None:
    got = bench.begin(total_at=150.0)
    bench.arrives(LINE + b"Content-Length: 5\r\n\r\n")
    assert got.call is not None
    got.call.pause()
    fails_at(bench, got, 150.0, StreamCode.TOTAL_TIMEOUT)


def test_the_deadline_ends_with_the_head(bench: Bench) -> None:
    fails_at(bench, bench.begin(deadline_at=104.0), 104.0, StreamCode.DEADLINE)
    other = Bench()
    got = other.begin(deadline_at=104.0)
    other.arrives(LINE + b"Content-Length: 5\r\n\r\n")
    fails_at(other, got, 130.0, StreamCode.IDLE_TIMEOUT)


def test_a_pipe_has_a_clock_of_its_own_and_no_total(bench: Bench) -> None:
    got = bench.begin(request(upgrade=b"echo"), total_at=120.0, deadline_at=110.0)
    bench.arrives(SWITCH)
    bench.clock.move(150.0)
    bench.arrives(b"x")
    fails_at(bench, got, 250.0, StreamCode.IDLE_TIMEOUT)


def test_an_idle_connection_is_closed_properly(bench: Bench) -> None:
    bench.begin()
    bench.arrives(OK)
    assert bench.events == ["released"]
    bench.clock.move(114.9)
    assert bench.transport.closed == ""
    bench.clock.move(115.0)
    assert (bench.transport.closed, bench.events) == ("close", ["released", "discarded"])


def test_a_second_exchange_has_its_own_times(bench: Bench) -> None:
    bench.begin(deadline_at=105.0)
    bench.arrives(OK)
    bench.clock.move(104.0)
    got = bench.begin(deadline_at=200.0)
    bench.clock.move(113.9)
    assert got.failure is None
    bench.clock.move(114.0)
    assert got.code is StreamCode.FIRST_BYTE_TIMEOUT


def test_a_thousand_quick_exchanges_ask_the_wheel_for_one_timer(bench: Bench) -> None:
    for _ in range(1000):
        bench.begin(deadline_at=bench.clock.now + 5.0)
        bench.clock.now += 0.001
        bench.arrives(OK)
    assert len(bench.clock.pending) == 1


def test_a_call_paused_before_it_began_is_not_read(bench: Bench) -> None:
    got = Recorder()
    got.call = call = Call(request(), got)
    call.wire, call.framing = prepare(call.request)
    call.pause()
    bench.connection.begin(call)
    assert not bench.transport.reading
    call.resume()
    assert bench.transport.reading


def test_a_pause_ends_with_its_exchange(bench: Bench) -> None:
    got = bench.begin()
    bench.arrives(LINE + b"Transfer-Encoding: chunked\r\n\r\n")
    got.hook = lambda name: got.call.pause() if got.call and name == "body" else None
    bench.arrives(b"2\r\nok\r\n0\r\n\r\n")
    assert got.calls == ["answer", "body", "end"]
    assert bench.events == ["released"]
    assert bench.transport.reading


def test_a_request_that_the_upstream_has_not_taken_spoils_the_connection(bench: Bench) -> None:
    bench.transport.buffered = 1
    got = bench.begin(request(b"PUT", length=3, body=b"abc"))
    bench.arrives(OK)
    assert got.calls == ["answer"]
    assert (bench.transport.closed, bench.events) == ("abort", ["discarded"])


@pytest.mark.parametrize("answer", [OK, LINE + b"Transfer-Encoding: chunked\r\n\r\n|0\r\n\r\n"])
def test_nothing_follows_a_cancel_in_the_last_callback(bench: Bench, answer: bytes) -> None:
    got = bench.begin(request(b"PUT", length=3, complete=False))
    last = "end" if b"|" in answer else "answer"
    got.hook = lambda name: got.call.cancel() if got.call and name == last else None
    for read in answer.split(b"|"):
        bench.arrives(read)
    assert got.calls[-1] == last
    assert not got.unwanted


@pytest.mark.parametrize(
    "surplus",
    [b"2;" + b"x" * 70_000 + b"\r\nok\r\n0\r\n\r\n", b"0\r\n" + b"X-A: b\r\n" * 10_000 + b"\r\n"],
    ids=["extension", "trailers"],
)
def test_an_answer_that_is_refused_at_its_very_end_fails_the_call(surplus: bytes) -> None:
    """The bounds are checked when the last byte has come too: the caller must hear of it all the same."""
    bench = Bench()
    got = bench.begin()
    bench.connection.data_received(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + surplus)
    assert got.code is StreamCode.UPSTREAM_INVALID
    assert bench.transport.closed == "abort"


@pytest.mark.parametrize(("again", "code"), [(False, StreamCode.UPSTREAM_TLS), (True, StreamCode.UPSTREAM_CLOSED)])
def test_a_refused_handshake_says_nothing_of_an_attempt_before(
    bench: Bench, again: bool, code: StreamCode
) -> None:
    """TLS 1.3 may refuse behind the first write; on a second attempt the first may have been acted on."""
    got = bench.begin(request(b"DELETE"), again=again)
    refusal = ssl.SSLError(1, "refused")
    refusal.reason = "TLSV13_ALERT_CERTIFICATE_REQUIRED"
    bench.connection.connection_lost(refusal)
    assert got.code is code
